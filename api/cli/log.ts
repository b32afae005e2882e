import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { followEvents } from './event-stream.ts';
import { CliError, EXIT } from './exit.ts';
import type { Io } from './io.ts';
import type { Row } from './render.ts';
import { plainText } from './text.ts';

/** Which log, and from where. */
export interface LogOptions {
  readonly attempt?: number | undefined;
  readonly fromByte?: number | undefined;
  /** The last so many lines. */
  readonly tail?: number | undefined;
}

const COME_AGAIN_MS = 1_000;
/** Cuts in a row, without a byte in between, after which a copy is given up. */
const MAX_FRUITLESS_CUTS = 10;

function pathOf(jobId: string, { attempt, fromByte, tail }: LogOptions): string {
  const query = new URLSearchParams();
  if (attempt !== undefined) query.set('attempt', String(attempt));
  if (fromByte !== undefined) query.set('from', String(fromByte));
  if (tail !== undefined) query.set('tail', String(tail));
  return `/v1/jobs/${jobId}/logs?${query}`;
}

/** The log's bytes as they are; on a terminal without escape sequences and control characters. */
class LogOutput {
  readonly #io: Io;
  readonly #decoder = new TextDecoder();

  constructor(io: Io) {
    this.#io = io;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#io.stdoutIsTerminal) return this.#io.out(bytes);
    await this.#io.out(plainText(this.#decoder.decode(bytes, { stream: true })));
  }
}

/** Copies what there is of a log to stdout, going on where a connection broke. False: it has none yet; an attempt that was asked for and is not there is told as such. */
export async function copyLog(
  client: Client,
  io: Io,
  jobId: string,
  options: LogOptions,
  signal: AbortSignal,
): Promise<boolean> {
  const output = new LogOutput(io);
  let at = options;
  for (let cuts = 0; ; cuts++) {
    try {
      const log = await client.stream(pathOf(jobId, at), { accept: 'text/plain, application/problem+json' });
      let byte = Number(log.headers.get('merit-log-from'));
      const attempt = Number(log.headers.get('merit-log-attempt'));
      at = { attempt, fromByte: byte };
      for await (const chunk of log) {
        await output.write(chunk);
        byte += chunk.length;
        at = { attempt, fromByte: byte };
        cuts = 0;
      }
      const end = log.headers.get('merit-log-end');
      if (end === 'lost') io.note(LOST);
      return byte > 0;
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      if (error.exitCode === EXIT.notFound && options.attempt === undefined) return false;
      const begun = at !== options;
      if (error.exitCode !== EXIT.unreachable || !begun || cuts >= MAX_FRUITLESS_CUTS) throw error;
      io.progress(`the connection broke; going on at byte ${at.fromByte} …`);
      await sleep(COME_AGAIN_MS, undefined, { signal });
    }
  }
}

const LOST = 'the log ends here: its provider had gone before the rest of it was copied';

/** Follows a job's log, attempt after attempt, and tells each change of state on stderr, until the job ended. Returns the job's last state. */
export async function followLog(
  client: Client,
  io: Io,
  job: { readonly jobId: string; readonly name: string },
  options: LogOptions,
  signal: AbortSignal,
): Promise<string> {
  const output = new LogOutput(io);
  let attempt: unknown;
  for await (const { type, data } of followEvents(client, io, pathOf(job.jobId, options), undefined, signal)) {
    switch (type) {
      case 'state': {
        const [reason] = Array.isArray(data.reasons) ? (data.reasons as readonly Row[]) : [];
        io.note(`${job.name} is ${String(data.state)}${reason?.text === undefined ? '' : `: ${String(reason.text)}`}`);
        break;
      }
      case 'attempt':
        if (attempt !== undefined && attempt !== data.attempt) io.note(`attempt ${String(data.attempt)}`);
        attempt = data.attempt;
        break;
      case 'log':
        await output.write(
          data.text === undefined ? Buffer.from(String(data.base64), 'base64') : Buffer.from(String(data.text)),
        );
        break;
      case 'away':
        io.note(String(data.text));
        break;
      case 'end':
        if (data.log === 'lost') io.note(LOST);
        return String(data.state);
      // What later servers may say.
    }
  }
  throw new CliError(EXIT.internal, 'bad_reply', 'the stream of the log has no end');
}
