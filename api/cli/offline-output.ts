import type { Writable } from 'node:stream';

/** Lines between two updates of the progress line. */
const PROGRESS_LINES = 20_000;

/** The reader of stdout or stderr went away: nothing more to tell anybody. */
export class OutputGone extends Error {}
/** The output could not be written: a full disk, for one. */
export class OutputFailed extends Error {}

/** Writes with back-pressure; a stream's error becomes OutputGone or OutputFailed, and never an unhandled event. */
export class Output {
  readonly #stream: Writable;
  readonly #tolerant: boolean;
  #error: Error | undefined;
  readonly #onError = (error: Error) => {
    this.#error ??= error;
  };

  constructor(stream: Writable, tolerant = false) {
    this.#stream = stream;
    this.#tolerant = tolerant;
    stream.on('error', this.#onError);
  }

  async write(text: string): Promise<void> {
    this.#check();
    if (this.#error !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#stream.write(text, (error) => {
        if (error != null) this.#error ??= error;
        resolve();
      });
    });
    this.#check();
  }

  /** Some errors arrive as events after the last write was called back. */
  async flushed(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#check();
  }

  #check(): void {
    const error = this.#error;
    if (error === undefined || this.#tolerant) return;
    const code = errorCode(error);
    throw code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED'
      ? new OutputGone('the reader went away')
      : new OutputFailed(code ?? error.message);
  }

  release(): void {
    // Without a fault the listener goes; with one it stays, since a late event must not end the process.
    if (this.#error === undefined) this.#stream.removeListener('error', this.#onError);
  }
}

/** A line that counts up, on a terminal only. */
export class Progress {
  readonly #visible: boolean;
  readonly #err: Output;
  #shown = 0;

  constructor(stream: Writable, err: Output) {
    this.#visible = 'isTTY' in stream && stream.isTTY === true;
    this.#err = err;
  }

  async show(lines: number): Promise<void> {
    if (!this.#visible || lines - this.#shown < PROGRESS_LINES) return;
    this.#shown = lines;
    await this.#err.write(`\r${lines} lines`);
  }

  async clear(): Promise<void> {
    if (this.#shown > 0) await this.#err.write('\r\u001b[K');
  }
}

export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
