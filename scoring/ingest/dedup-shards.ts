import { DEDUP_SHARDS, DedupIndex, type Known, MAX_DEDUP_ENTRIES, tooManyReports } from './dedup-index.ts';

/** Which reports are known, by shard: a shard comes and goes with the partition that serves it. */
export class DedupShards {
  readonly #maxEntries: number;
  readonly #shards = new Map<number, DedupIndex>();
  #size = 0;

  constructor(maxEntries = MAX_DEDUP_ENTRIES) {
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#size;
  }

  findWords(keys: Uint32Array, keyAt: number, digests: Uint32Array, digestAt: number): Known {
    return this.#shards.get(shardAt(keys, keyAt))?.findWords(keys, keyAt, digests, digestAt) ?? 'new';
  }

  addWords(keys: Uint32Array, keyAt: number, digests: Uint32Array, digestAt: number): void {
    const shard = shardAt(keys, keyAt);
    let index = this.#shards.get(shard);
    if (index === undefined) {
      index = new DedupIndex(this.#maxEntries);
      this.#shards.set(shard, index);
    }
    const before = index.size;
    index.addWords(keys, keyAt, digests, digestAt);
    this.#size += index.size - before;
    if (this.#size > this.#maxEntries) throw tooManyReports(this.#maxEntries);
  }

  forget(shards: readonly number[]): void {
    for (const shard of shards) {
      this.#size -= this.#shards.get(shard)?.size ?? 0;
      this.#shards.delete(shard);
    }
  }
}

/** shardOf: the key's first byte, which is the lowest of its first word. */
function shardAt(keys: Uint32Array, keyAt: number): number {
  return (keys[keyAt]! & 0xff) % DEDUP_SHARDS;
}
