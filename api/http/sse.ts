import type { ServerResponse } from 'node:http';

/** Server-sent events (WHATWG HTML, 9.2) on one raw answer: whole blocks, one at a time, never more waiting than the last one. */

export interface SseEvent {
  readonly id: string;
  /** Of [a-z_.]: a type of ours. */
  readonly type: string;
  readonly data: unknown;
}

export function eventBlock({ id, type, data }: SseEvent): string {
  // JSON has no raw line break, so one data line holds all of it.
  return `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Moves the reader's last id on without an event. */
export function idBlock(id: string): string {
  return `id: ${id}\n\n`;
}

export class SseStream {
  readonly #answer: ServerResponse;
  readonly #slowReaderMs: number;
  readonly #gone = new AbortController();
  /** It did not take what was sent within its time. */
  slow = false;
  /** Its reader may not read it any more. */
  denied = false;

  constructor(answer: ServerResponse, headers: Readonly<Record<string, string>>, slowReaderMs: number) {
    this.#answer = answer;
    this.#slowReaderMs = slowReaderMs;
    answer.once('close', () => this.#gone.abort());
    answer.on('error', () => this.#gone.abort());
    answer.writeHead(200, {
      ...headers,
      'content-type': 'text/event-stream; charset=utf-8',
      // For proxies that would gather an answer before they pass it on.
      'x-accel-buffering': 'no',
    });
    answer.flushHeaders();
  }

  /** Aborts when the reader is gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Sends blocks and waits until the socket has taken them; false: the reader is gone, or was cut off for being slow. */
  async send(blocks: string): Promise<boolean> {
    if (this.gone.aborted || this.#answer.writableEnded) return false;
    if (this.#answer.write(blocks)) return true;
    return new Promise((resolve) => {
      const settle = (taken: boolean) => {
        clearTimeout(timer);
        this.#answer.off('drain', onDrain);
        this.gone.removeEventListener('abort', onGone);
        resolve(taken);
      };
      const onDrain = () => settle(true);
      const onGone = () => settle(false);
      const timer = setTimeout(() => {
        this.slow = true;
        this.#answer.destroy();
      }, this.#slowReaderMs);
      this.#answer.once('drain', onDrain);
      this.gone.addEventListener('abort', onGone, { once: true });
    });
  }

  /** The reader sees a whole answer that ended, and comes again. */
  end(): void {
    if (!this.#answer.writableEnded && !this.gone.aborted) this.#answer.end();
  }
}
