/** Takes bytes out of a stream of chunks, as many at a time as asked for. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #held: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Exactly so many; undefined: the stream ends before. */
  async exactly(count: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = [this.#held];
    let have = this.#held.length;
    while (have < count) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return undefined;
      parts.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      have += value.length;
    }
    const all = parts.length === 1 ? this.#held : Buffer.concat(parts);
    this.#held = all.subarray(count);
    return all.subarray(0, count);
  }

  /** Up to the next line feed, which is taken and left out; undefined: there is none within `most` bytes. */
  async line(most: number): Promise<Buffer | undefined> {
    for (;;) {
      const feed = this.#held.indexOf(0x0a);
      if (feed !== -1) {
        const line = this.#held.subarray(0, feed);
        this.#held = this.#held.subarray(feed + 1);
        return line;
      }
      const { value, done } = this.#held.length > most ? { value: undefined, done: true } : await this.#chunks.next();
      if (done === true || value === undefined) return undefined;
      this.#held = Buffer.concat([this.#held, value]);
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
