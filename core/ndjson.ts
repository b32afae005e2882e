/** Splits a stream of bytes into lines, whatever the chunking, holding at most one line of bounded length. */

/** A report line longer than this is refused unread (bad-input rule H11). */
export const MAX_LINE_BYTES = 1024 * 1024;

export type Line =
  /** `bytes` may lie inside the chunk that was given: copy what outlives the callback. */
  | { readonly kind: 'line'; readonly number: number; readonly bytes: Uint8Array }
  /** Longer than the limit; its bytes were dropped. */
  | { readonly kind: 'too_long'; readonly number: number };

const NEWLINE = 0x0a;

export class LineSplitter {
  readonly #maxBytes: number;
  readonly #onLine: (line: Line) => void;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #tooLong = false;
  #number = 1;

  /** `onLine` gets every non-blank line once, with its 1-based number in the stream, blank ones counted. */
  constructor(onLine: (line: Line) => void, maxBytes = MAX_LINE_BYTES) {
    this.#onLine = onLine;
    this.#maxBytes = maxBytes;
  }

  /** So far, blank ones and one that has only begun too. */
  get lines(): number {
    return this.#number - (this.#pendingBytes > 0 ? 0 : 1);
  }

  push(chunk: Uint8Array): void {
    let from = 0;
    for (;;) {
      const at = chunk.indexOf(NEWLINE, from);
      if (at === -1) break;
      this.#end(chunk.subarray(from, at));
      from = at + 1;
    }
    if (from < chunk.length) this.#hold(chunk.subarray(from));
  }

  /** The last line may lack its newline. */
  finish(): void {
    if (this.#pendingBytes > 0 || this.#tooLong) this.#end(new Uint8Array(0));
  }

  #hold(part: Uint8Array): void {
    if (this.#tooLong) return;
    this.#pendingBytes += part.length;
    if (this.#pendingBytes > this.#maxBytes) {
      this.#tooLong = true;
      this.#pending = [];
      return;
    }
    // Buffer.from copies (Buffer.slice would not): the caller may reuse its chunk.
    this.#pending.push(Buffer.from(part));
  }

  #end(rest: Uint8Array): void {
    const number = this.#number++;
    const tooLong = this.#tooLong || this.#pendingBytes + rest.length > this.#maxBytes;
    const bytes = tooLong || this.#pendingBytes === 0 ? rest : Buffer.concat([...this.#pending, rest]);
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#tooLong = false;
    if (tooLong) this.#onLine({ kind: 'too_long', number });
    else if (!isBlank(bytes)) this.#onLine({ kind: 'line', number, bytes });
  }
}

/** Only spaces, tabs and carriage returns: a line that holds no report. */
export function isBlank(bytes: Uint8Array): boolean {
  for (const byte of bytes) {
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false;
  }
  return true;
}
