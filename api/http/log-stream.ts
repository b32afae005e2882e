import { isUtf8 } from 'node:buffer';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { found } from './answer.ts';
import type { RouteContext } from './context.ts';
import { callerOf } from './guard.ts';
import type { LogPiece } from './jobs-service.ts';
import * as limits from './limits.ts';
import { OpenStreams } from './open-streams.ts';
import { eventBlock, type SseStream } from './sse.ts';

export interface LogStart {
  readonly attempt: number | undefined;
  readonly fromByte: number;
}

/** Follows logs as server-sent events. A stream holds one piece of a log; the next is read when its reader has taken that. */
export function logStreams(context: RouteContext) {
  const { services } = context;
  const streams = new OpenStreams(context, limits.MAX_LOG_STREAMS);
  return (
    request: FastifyRequest,
    reply: FastifyReply,
    id: string,
    start: LogStart,
    only: number | undefined,
  ): Promise<void> => {
    const log = new FollowedLog(context, request, id, start, only);
    return streams.open(
      request,
      reply,
      () => log.look(AbortSignal.timeout(limits.SLOW_READER_MS)),
      (stream, _first, until) =>
        log.run(stream, until).catch((error: unknown) => {
          if (until.aborted) return;
          services.log.warn(
            { trace: request.id, error: String(error) },
            'a log’s stream ended; its reader comes again',
          );
        }),
    );
  };
}

class FollowedLog {
  readonly #context: RouteContext;
  readonly #request: FastifyRequest;
  readonly #id: string;
  readonly #only: number | undefined;
  #attempt: number | undefined;
  #byte: number;
  #shown = '';
  #away: string | undefined;
  #begun = false;
  #next: LogPiece | undefined;

  constructor(context: RouteContext, request: FastifyRequest, id: string, start: LogStart, only: number | undefined) {
    this.#context = context;
    this.#request = request;
    this.#id = id;
    this.#only = only;
    this.#attempt = start.attempt;
    this.#byte = start.fromByte;
  }

  async look(signal: AbortSignal): Promise<LogPiece> {
    const { services } = this.#context;
    const query = { attempt: this.#attempt, fromByte: this.#byte, maxBytes: limits.MAX_LOG_PIECE_BYTES };
    const caller = callerOf(services, this.#request);
    this.#next = found(await services.jobs.logs(caller, this.#id, query, signal), 'job');
    return this.#next;
  }

  async run(stream: SseStream, until: AbortSignal): Promise<void> {
    const { clock } = this.#context.services;
    const endMs = clock.now() + limits.MAX_STREAM_MS;
    let quietSinceMs = clock.now();
    if (!(await stream.send(`retry: ${limits.STREAM_RETRY_MS}\n\n`))) return;
    while (!until.aborted && clock.now() < endMs) {
      const piece = this.#next ?? (await this.look(until));
      this.#next = undefined;
      const before = clock.now();
      const sent = await this.#send(stream, piece);
      if (sent === 'gone' || sent === 'end') return;
      if (sent === 'sent') {
        quietSinceMs = before;
        continue;
      }
      if (clock.now() - quietSinceMs >= limits.HEARTBEAT_MS) {
        if (!(await stream.send(': alive\n\n'))) return;
        quietSinceMs = clock.now();
      }
      await clock.sleep(limits.LOG_POLL_MS, until);
    }
  }

  async #send(stream: SseStream, piece: LogPiece): Promise<'sent' | 'nothing' | 'gone' | 'end'> {
    let told = await this.#tellState(stream, piece);
    const { newestAttempt } = piece.job;
    if (
      piece.attempt === null &&
      this.#attempt !== undefined &&
      this.#only === undefined &&
      (newestAttempt ?? 0) > this.#attempt
    ) {
      // An attempt that never was: its number is passed over.
      this.#attempt++;
      return 'sent';
    }
    if (piece.fault?.message !== this.#away) {
      this.#away = piece.fault?.message;
      if (this.#away !== undefined) {
        told = true;
        if (!(await this.#event(stream, 'away', { text: `the provider of this job is away: ${this.#away}` })))
          return 'gone';
      }
    }
    if (piece.attempt !== null && (!this.#begun || piece.attempt !== this.#attempt)) {
      this.#begun = true;
      this.#attempt = piece.attempt;
      told = true;
      if (!(await this.#event(stream, 'attempt', { attempt: piece.attempt, from: this.#byte }))) return 'gone';
    }
    for (let at = 0; at < piece.bytes.length; ) {
      const bytes = wholeCharacters(piece.bytes.subarray(at, at + limits.LOG_EVENT_BYTES));
      // The beginning of a character whose rest is not written yet.
      if (bytes.length === 0 && !piece.done) break;
      const sent = bytes.length === 0 ? piece.bytes.subarray(at, at + limits.LOG_EVENT_BYTES) : bytes;
      at += sent.length;
      this.#byte += sent.length;
      told = true;
      if (!(await this.#event(stream, 'log', dataOf(sent)))) return 'gone';
    }
    if (piece.done && this.#byte >= piece.nextByte) {
      if (
        this.#only === undefined &&
        piece.attempt !== null &&
        newestAttempt !== null &&
        newestAttempt > piece.attempt
      ) {
        this.#attempt = piece.attempt + 1;
        this.#byte = 0;
        this.#begun = false;
        return 'sent';
      }
      if (this.#only !== undefined || piece.job.ended) {
        const { state, reasons } = piece.job;
        const end = { state, attempt: piece.attempt, log: piece.end, bytes: piece.size, reasons };
        return (await this.#event(stream, 'end', end)) ? 'end' : 'gone';
      }
    }
    return told ? 'sent' : 'nothing';
  }

  async #tellState(stream: SseStream, { job }: LogPiece): Promise<boolean> {
    const now = JSON.stringify([job.state, job.reasons[0]]);
    if (now === this.#shown) return false;
    this.#shown = now;
    await this.#event(stream, 'state', { state: job.state, reasons: job.reasons });
    return true;
  }

  #event(stream: SseStream, type: string, data: object): Promise<boolean> {
    const attempt = this.#attempt ?? 1;
    return stream.send(eventBlock({ id: attempt === 1 ? String(this.#byte) : `${attempt}:${this.#byte}`, type, data }));
  }
}

/** Without a last character of UTF-8 whose rest is missing. */
function wholeCharacters(bytes: Uint8Array): Uint8Array {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? bytes.subarray(0, bytes.length - back) : bytes;
  }
  return bytes;
}

function dataOf(bytes: Uint8Array): object {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return isUtf8(buffer) ? { text: buffer.toString('utf8') } : { base64: buffer.toString('base64') };
}
