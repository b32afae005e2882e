/**
 * The memory of deduplication: 16 bytes of the id's hash and 16 of the content's a report, in typed arrays with an
 * open-addressing index, about 45 bytes a report where a Map of strings takes 200. 128 bits of SHA-256 each: a chance
 * collision needs 2^64 reports.
 */

const WORDS = 8;
/** Records a chunk: chunks are never copied when the memory grows. */
const CHUNK_RECORDS = 65_536;
const FIRST_SLOTS = 1024;
/** The index doubles above this share of used slots. */
const MAX_LOAD = 0.6;

export class FirstWins {
  readonly #chunks: Uint32Array[] = [];
  #size = 0;
  /** Record number + 1; 0 is empty. */
  #slots = new Uint32Array(FIRST_SLOTS);

  get size(): number {
    return this.#size;
  }

  /**
   * Remembers the first content of each key. Only the first 16 bytes of both count; they must be uniform hashes, since
   * their first word is the place in the index.
   */
  offer(key: Uint8Array, digest: Uint8Array): 'new' | 'duplicate' | 'conflict' {
    const k0 = word(key, 0);
    const k1 = word(key, 4);
    const k2 = word(key, 8);
    const k3 = word(key, 12);
    const mask = this.#slots.length - 1;
    let slot = k0 & mask;
    let record = this.#slots[slot]!;
    while (record !== 0) {
      const chunk = this.#chunks[Math.floor((record - 1) / CHUNK_RECORDS)]!;
      const at = ((record - 1) % CHUNK_RECORDS) * WORDS;
      if (chunk[at] === k0 && chunk[at + 1] === k1 && chunk[at + 2] === k2 && chunk[at + 3] === k3) {
        return sameContent(chunk, at + 4, digest) ? 'duplicate' : 'conflict';
      }
      slot = (slot + 1) & mask;
      record = this.#slots[slot]!;
    }
    this.#slots[slot] = this.#append(key, digest);
    if (this.#size > this.#slots.length * MAX_LOAD) this.#grow();
    return 'new';
  }

  #append(key: Uint8Array, digest: Uint8Array): number {
    const within = this.#size % CHUNK_RECORDS;
    if (within === 0) this.#chunks.push(new Uint32Array(CHUNK_RECORDS * WORDS));
    const chunk = this.#chunks.at(-1)!;
    const at = within * WORDS;
    for (let i = 0; i < 4; i++) {
      chunk[at + i] = word(key, 4 * i);
      chunk[at + 4 + i] = word(digest, 4 * i);
    }
    this.#size++;
    return this.#size;
  }

  #grow(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let record = 1; record <= this.#size; record++) {
      const chunk = this.#chunks[Math.floor((record - 1) / CHUNK_RECORDS)]!;
      let slot = chunk[((record - 1) % CHUNK_RECORDS) * WORDS]! & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = record;
    }
    this.#slots = slots;
  }
}

function sameContent(chunk: Uint32Array, at: number, digest: Uint8Array): boolean {
  for (let i = 0; i < 4; i++) if (chunk[at + i] !== word(digest, 4 * i)) return false;
  return true;
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
