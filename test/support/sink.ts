import { Writable } from 'node:stream';

/** A stream that keeps what is written to it as text, or fails each write with this code. */
export class Sink extends Writable {
  text = '';
  /** As of a terminal. */
  isTTY = false;
  readonly failure: string | undefined;
  constructor(failure?: string) {
    super();
    this.failure = failure;
  }
  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    if (this.failure !== undefined) {
      done(Object.assign(new Error(this.failure), { code: this.failure }));
      return;
    }
    this.text += chunk.toString();
    done();
  }
}
