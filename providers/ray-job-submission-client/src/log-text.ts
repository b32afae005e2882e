const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const HEAD = /^\s*\{\s*"logs"\s*:\s*"/;
/** `{"logs":"` with some spaces; a head still unmatched after this is another kind of reply. */
const HEAD_LIMIT = 64;

/**
 * Takes the text out of `{"logs": "…"}` while it streams in: Ray has no ranges and sends the whole log each time, so a log is
 * never held whole. Skips `fromByte` bytes of the text's UTF-8, keeps at most `maxBytes`.
 */
export class LogText {
  /** True once enough was kept or the text ended: the rest of the reply need not be read. */
  done = false;
  /** Set when the reply is not of this form. */
  problem: string | undefined;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  readonly #kept: Buffer[] = [];
  #rest = '';
  #inText = false;
  #skip: number;
  #room: number;

  constructor(fromByte: number, maxBytes: number) {
    this.#skip = fromByte;
    this.#room = maxBytes;
  }

  push(chunk: Uint8Array): void {
    if (this.done || this.problem !== undefined) return;
    try {
      this.#rest += this.#decoder.decode(chunk, { stream: true });
    } catch {
      this.problem = 'the log reply is not UTF-8';
      return;
    }
    if (!this.#inText && !this.#takeHead()) return;
    this.#takeText();
  }

  /** The kept bytes once the reply ended; a reply that ended inside the text is a torn one. */
  result(): Buffer {
    if (!this.done) this.problem ??= 'the log reply was cut short';
    return Buffer.concat(this.#kept);
  }

  #takeHead(): boolean {
    const head = HEAD.exec(this.#rest);
    if (head === null) {
      if (this.#rest.length > HEAD_LIMIT) this.problem = 'the log reply has no logs';
      return false;
    }
    this.#rest = this.#rest.slice(head[0].length);
    this.#inText = true;
    return true;
  }

  #takeText(): void {
    const text = this.#rest;
    let at = 0;
    let ended = false;
    while (at < text.length) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        ended = true;
        break;
      }
      const size = code === BACKSLASH ? escapeSize(text, at) : 1;
      if (at + size > text.length) break;
      at += size;
    }
    try {
      this.#keep(Buffer.from(JSON.parse(`"${text.slice(0, at)}"`) as string, 'utf8'));
    } catch {
      this.problem = 'the log reply has a malformed escape';
      return;
    }
    this.#rest = text.slice(at);
    if (ended || this.#room === 0) this.done = true;
  }

  #keep(bytes: Buffer): void {
    const skipped = Math.min(this.#skip, bytes.length);
    this.#skip -= skipped;
    const part = bytes.subarray(skipped, skipped + this.#room);
    this.#room -= part.length;
    if (part.length > 0) this.#kept.push(part);
  }
}

/** Characters of the escape at `at`. A high surrogate's escape counts with its partner, so that no pair is cut in two. */
function escapeSize(text: string, at: number): number {
  if (text[at + 1] !== 'u') return 2;
  return /^[dD][89abAB]/.test(text.slice(at + 2, at + 4)) || at + 4 > text.length ? 12 : 6;
}
