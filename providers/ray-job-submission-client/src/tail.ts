import { WebSocket } from 'ws';
import { RayJobError } from './errors.ts';
import {
  ERROR_TEXT_LIMIT_BYTES,
  HEADER_LIMIT_BYTES,
  TAIL_MESSAGE_LIMIT_BYTES,
  TAIL_PING_MS,
  TAIL_QUEUE_LIMIT,
} from './limits.ts';
import { errorOfReply } from './reason.ts';
import type { TlsFiles } from './transport.ts';

export interface TailRequest {
  readonly url: string;
  readonly authorization: string | undefined;
  readonly tls: TlsFiles;
  /** Ray always starts at byte 0; what comes before this is dropped here. */
  readonly fromByte: number;
  readonly connectTimeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

type End = { readonly error: unknown } | undefined;

/**
 * A job's log as it grows; ends when the job has ended and all was read. Throws RayJobError, or the signal's reason. Stopping the loop
 * closes the socket. `ws` and not Node's own WebSocket: that one always offers permessage-deflate, and Ray then sends nothing.
 */
export async function* tailLog(request: TailRequest): AsyncGenerator<Uint8Array> {
  request.signal?.throwIfAborted();
  const inbox = new Inbox(request);
  let skip = request.fromByte;
  try {
    for (;;) {
      const message = await inbox.next();
      if (message === undefined) return;
      const skipped = Math.min(skip, message.length);
      skip -= skipped;
      if (skipped < message.length) yield message.subarray(skipped);
    }
  } finally {
    inbox.close();
  }
}

/** Socket events turned into a queue with back-pressure: a slow reader pauses the socket. */
class Inbox {
  readonly #request: TailRequest;
  readonly #socket: WebSocket;
  readonly #queue: Buffer[] = [];
  readonly #ping: NodeJS.Timeout;
  #ended = false;
  #end: End;
  #wake: () => void = () => {};
  #alive = true;
  readonly #onAbort = () => this.#finish({ error: this.#request.signal?.reason });

  constructor(request: TailRequest) {
    this.#request = request;
    this.#socket = new WebSocket(request.url, {
      perMessageDeflate: false,
      followRedirects: false,
      handshakeTimeout: request.connectTimeoutMs,
      maxPayload: TAIL_MESSAGE_LIMIT_BYTES,
      maxHeaderSize: HEADER_LIMIT_BYTES,
      headers: {
        'user-agent': 'ray-job-submission-client',
        ...(request.authorization === undefined ? {} : { authorization: request.authorization }),
      },
      ...request.tls,
    });
    this.#listen();
    this.#ping = setInterval(() => this.#checkAlive(), TAIL_PING_MS);
    request.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on('message', (data, isBinary) => this.#take(isBinary ? undefined : (data as Buffer)));
    socket.on('pong', () => {
      this.#alive = true;
    });
    socket.on('close', (code) => {
      // 1000: the job ended and all was sent. Anything else tore.
      this.#finish(code === 1000 ? undefined : { error: this.#broken(`the connection closed (${code})`) });
    });
    socket.on('error', (error) => this.#finish({ error: this.#broken(error.message, error) }));
    socket.on('unexpected-response', (_request, response) => {
      const parts: Buffer[] = [];
      let size = 0;
      const done = () => {
        const text = Buffer.concat(parts).toString('utf8');
        const options = { mutates: false, retryAfterMs: undefined };
        this.#finish({ error: errorOfReply('following a log', response.statusCode ?? 0, text, options) });
      };
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size <= ERROR_TEXT_LIMIT_BYTES) parts.push(chunk);
        else response.destroy();
      });
      response.on('close', done);
      response.on('error', () => {});
    });
  }

  #broken(problem: string, cause?: unknown): RayJobError {
    return new RayJobError('unreachable', `${problem} while following a log`, { cause });
  }

  #take(data: Buffer | undefined): void {
    if (data === undefined) {
      this.#finish({ error: new RayJobError('bad_reply', 'a binary message came while following a log') });
      return;
    }
    this.#alive = true;
    this.#queue.push(data);
    if (this.#queue.length >= TAIL_QUEUE_LIMIT) this.#socket.pause();
    this.#wake();
  }

  #checkAlive(): void {
    if (this.#socket.isPaused) return;
    if (!this.#alive) {
      this.#finish({ error: this.#broken(`no answer to a ping for ${TAIL_PING_MS} ms`) });
      return;
    }
    this.#alive = false;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.ping();
  }

  #finish(end: End): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#end = end;
    this.#wake();
  }

  /** The next message; undefined once the log ended. What came before an error is delivered first. */
  async next(): Promise<Buffer | undefined> {
    while (this.#queue.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const message = this.#queue.shift();
    if (message !== undefined) {
      if (this.#socket.isPaused && this.#queue.length < TAIL_QUEUE_LIMIT / 2) this.#socket.resume();
      return message;
    }
    if (this.#end !== undefined) throw this.#end.error;
    return undefined;
  }

  close(): void {
    clearInterval(this.#ping);
    this.#request.signal?.removeEventListener('abort', this.#onAbort);
    this.#ended = true;
    this.#socket.terminate();
  }
}
