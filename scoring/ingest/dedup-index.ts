import { assert } from '../../core/assert.ts';
import { type EvalReport, REPORT_KEY_BYTES, reportDigest, reportKey } from '../../core/eval-report.ts';
import { OperatingError } from '../../core/operating-error.ts';

/**
 * Which reports are known: reportKey, with the full SHA-256 of the content.
 * It lives in the packed blocks of `dedup_blocks`, which commit with the effects; this is their index in memory, an open
 * hash table in one buffer: 32 bytes a slot instead of the several hundred that a Map of strings takes.
 */

/** Fixed: raising the partition count later must not move a report to another shard. */
export const DEDUP_SHARDS = 32;

/** Event time behind the suite's watermark beyond which a report touches no score, and is forgotten. */
export const DEDUP_HORIZON_MS = 8 * 86_400_000;

/** 2^23 reports take 512 MiB at most; beyond it a consumer stops with a clear error rather than swap. */
export const MAX_DEDUP_ENTRIES = 2 ** 23;

const KEY_BYTES = REPORT_KEY_BYTES;
const DIGEST_BYTES = 32;
export const ENTRY_BYTES = KEY_BYTES + DIGEST_BYTES + 8;

/** Keys and digests are looked at as 32-bit words: a report costs no object. */
export const KEY_WORDS = REPORT_KEY_BYTES / 4;
export const DIGEST_WORDS = 8;

export interface DedupEntry {
  /** 16 bytes. */
  readonly key: Buffer;
  /** 32 bytes. */
  readonly digest: Buffer;
  readonly observedAtMs: number;
}

export type Known = 'new' | 'same' | 'other';

export function dedupEntry(tenant: string, report: EvalReport): DedupEntry {
  return { key: reportKey(tenant, report), digest: reportDigest(report), observedAtMs: report.observedAtMs };
}

/** Copied: a Buffer may begin anywhere. */
export function wordsOfBytes(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(Uint8Array.from(bytes).buffer);
}

export function shardOf(key: Uint8Array): number {
  return key[0]! % DEDUP_SHARDS;
}

/** Entries of one shard and suite as one block: sorted by key, so that equal sets give equal bytes. */
export function packBlock(entries: readonly DedupEntry[]): Buffer {
  const sorted = [...entries].sort((a, b) => Buffer.compare(a.key, b.key));
  const block = Buffer.alloc(sorted.length * ENTRY_BYTES);
  sorted.forEach((entry, i) => {
    const at = i * ENTRY_BYTES;
    entry.key.copy(block, at);
    entry.digest.copy(block, at + KEY_BYTES);
    block.writeBigInt64BE(BigInt(entry.observedAtMs), at + KEY_BYTES + DIGEST_BYTES);
  });
  return block;
}

/** Entries of one shard and suite, as they are stored. */
export interface DedupBlock {
  readonly tenant: string;
  readonly suite: string;
  readonly shard: number;
  readonly newestObservedMs: number;
  readonly entries: number;
  readonly block: Uint8Array;
}

/** One block a shard and suite. */
export function packBlocks(
  entries: Iterable<DedupEntry & { readonly tenant: string; readonly suite: string }>,
): readonly DedupBlock[] {
  const groups = Map.groupBy(entries, ({ tenant, suite, key }) => `${tenant}/${suite}/${shardOf(key)}`);
  return Array.from(groups.values(), (group) => ({
    tenant: group[0]!.tenant,
    suite: group[0]!.suite,
    shard: shardOf(group[0]!.key),
    newestObservedMs: group.reduce(
      (newest, { observedAtMs }) => Math.max(newest, observedAtMs),
      Number.NEGATIVE_INFINITY,
    ),
    entries: group.length,
    block: packBlock(group),
  }));
}

export function* unpackBlock(block: Buffer): Generator<DedupEntry> {
  assert(block.length % ENTRY_BYTES === 0, 'a dedup block is whole entries');
  for (let at = 0; at < block.length; at += ENTRY_BYTES) {
    yield {
      key: block.subarray(at, at + KEY_BYTES),
      digest: block.subarray(at + KEY_BYTES, at + KEY_BYTES + DIGEST_BYTES),
      observedAtMs: Number(block.readBigInt64BE(at + KEY_BYTES + DIGEST_BYTES)),
    };
  }
}

/** Of the content 16 bytes are enough in memory: that two under one id agree in them by chance has odds of 2^-128. */
const DIGEST_KEPT_WORDS = 4;
const SLOT_WORDS = KEY_WORDS + DIGEST_KEPT_WORDS;

export function tooManyReports(maxEntries: number): OperatingError {
  return new OperatingError('capacity', 'never', `remembering more than ${maxEntries} reports of the last 8 days`, {
    mend: 'read more partitions in more processes, or spread the tenants over several installations',
  });
}
const FIRST_CAPACITY = 1024;
/** Grown when half full: probes stay short. */
const MAX_LOAD = 0.5;

export class DedupIndex {
  readonly #maxEntries: number;
  #slots = new Uint32Array(FIRST_CAPACITY * SLOT_WORDS);
  #used = new Uint8Array(FIRST_CAPACITY);
  #size = 0;

  constructor(maxEntries = MAX_DEDUP_ENTRIES) {
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#size;
  }

  clear(): void {
    this.#slots = new Uint32Array(FIRST_CAPACITY * SLOT_WORDS);
    this.#used = new Uint8Array(FIRST_CAPACITY);
    this.#size = 0;
  }

  get isFull(): boolean {
    return this.#size >= this.#maxEntries;
  }

  /** `same`: known with this content; `other`: known with another. */
  find(key: Buffer, digest: Buffer): Known {
    return this.findWords(wordsOfBytes(key), 0, wordsOfBytes(digest), 0);
  }

  /** As find, of the key at a word of `keys` and the digest at one of `digests`. */
  findWords(keys: Uint32Array, keyAt: number, digests: Uint32Array, digestAt: number): Known {
    const slot = this.#slotOf(keys, keyAt);
    if (this.#used[slot] === 0) return 'new';
    const slots = this.#slots;
    const at = slot * SLOT_WORDS + KEY_WORDS;
    for (let i = 0; i < DIGEST_KEPT_WORDS; i++) if (slots[at + i] !== digests[digestAt + i]) return 'other';
    return 'same';
  }

  /** Adds a new key; a known one keeps what it has. */
  add(key: Buffer, digest: Buffer): void {
    this.addWords(wordsOfBytes(key), 0, wordsOfBytes(digest), 0);
  }

  /** As add, of the key at a word of `keys` and the digest at one of `digests`. */
  addWords(keys: Uint32Array, keyAt: number, digests: Uint32Array, digestAt: number): void {
    if ((this.#size + 1) / this.#used.length > MAX_LOAD) this.#grow();
    const slot = this.#slotOf(keys, keyAt);
    if (this.#used[slot] === 1) return;
    if (this.isFull) throw tooManyReports(this.#maxEntries);
    this.#used[slot] = 1;
    this.#size++;
    const at = slot * SLOT_WORDS;
    for (let i = 0; i < KEY_WORDS; i++) this.#slots[at + i] = keys[keyAt + i]!;
    for (let i = 0; i < DIGEST_KEPT_WORDS; i++) this.#slots[at + KEY_WORDS + i] = digests[digestAt + i]!;
  }

  /** The slot that holds the key, or the free one where it would go. Keys are hashes: their own bytes place them. */
  #slotOf(keys: Uint32Array, at: number): number {
    const slots = this.#slots;
    const used = this.#used;
    const mask = used.length - 1;
    const [a, b, c, d] = [keys[at]!, keys[at + 1]!, keys[at + 2]!, keys[at + 3]!];
    // Without the first byte: it says the shard.
    let slot = ((a >>> 8) | (b << 24)) & mask;
    while (used[slot] === 1) {
      const i = slot * SLOT_WORDS;
      if (slots[i] === a && slots[i + 1] === b && slots[i + 2] === c && slots[i + 3] === d) return slot;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const oldSlots = this.#slots;
    const oldUsed = this.#used;
    this.#slots = new Uint32Array(oldSlots.length * 2);
    this.#used = new Uint8Array(oldUsed.length * 2);
    for (let i = 0; i < oldUsed.length; i++) {
      if (oldUsed[i] === 0) continue;
      const from = i * SLOT_WORDS;
      const slot = this.#slotOf(oldSlots, from);
      this.#used[slot] = 1;
      for (let word = 0; word < SLOT_WORDS; word++) this.#slots[slot * SLOT_WORDS + word] = oldSlots[from + word]!;
    }
  }
}

/** Four words of each. */
export function sameWords(a: Uint32Array, atA: number, b: Uint32Array, atB: number): boolean {
  return a[atA] === b[atB] && a[atA + 1] === b[atB + 1] && a[atA + 2] === b[atB + 2] && a[atA + 3] === b[atB + 3];
}
