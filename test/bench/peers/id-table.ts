const FIRST_SLOTS = 1024;
const MAX_LOAD = 0.5;
const WORDS = 4;

/** The first content of each (producer, id): 64 bits of a hash of either, in an open table of words, no string kept. */
export class IdTable {
  #words = new Int32Array(FIRST_SLOTS * WORDS);
  #used = new Uint8Array(FIRST_SLOTS);
  #size = 0;

  offer(producer: number, id: string, contentLow: number, contentHigh: number): 'new' | 'duplicate' | 'conflict' {
    let low = 0x9e3779b1 ^ producer;
    let high = 0x85ebca6b + producer;
    for (let i = 0; i < id.length; i++) {
      const c = id.charCodeAt(i);
      low = Math.imul(low ^ c, 0x01000193);
      high = Math.imul(high + c, 0x27d4eb2f);
    }
    low = (low ^ (high >>> 15)) | 0;
    const words = this.#words;
    const mask = this.#used.length - 1;
    let slot = (low ^ (low >>> 15)) & mask;
    while (this.#used[slot] === 1) {
      const at = slot * WORDS;
      if (words[at] === low && words[at + 1] === high) {
        return words[at + 2] === contentLow && words[at + 3] === contentHigh ? 'duplicate' : 'conflict';
      }
      slot = (slot + 1) & mask;
    }
    this.#used[slot] = 1;
    const at = slot * WORDS;
    words[at] = low;
    words[at + 1] = high;
    words[at + 2] = contentLow;
    words[at + 3] = contentHigh;
    if (++this.#size > this.#used.length * MAX_LOAD) this.#grow();
    return 'new';
  }

  #grow(): void {
    const [words, used] = [this.#words, this.#used];
    this.#words = new Int32Array(words.length * 2);
    this.#used = new Uint8Array(used.length * 2);
    const mask = this.#used.length - 1;
    for (let i = 0; i < used.length; i++) {
      if (used[i] === 0) continue;
      const low = words[i * WORDS]!;
      let slot = (low ^ (low >>> 15)) & mask;
      while (this.#used[slot] === 1) slot = (slot + 1) & mask;
      this.#used[slot] = 1;
      this.#words.set(words.subarray(i * WORDS, (i + 1) * WORDS), slot * WORDS);
    }
  }
}
