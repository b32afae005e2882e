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

/** 2^23 reports take 512 MiB at most; beyond it the consumer stops with a clear error rather than swap. */
export const MAX_DEDUP_ENTRIES = 2 ** 23;

const KEY_BYTES = REPORT_KEY_BYTES;
const DIGEST_BYTES = 32;
export const ENTRY_BYTES = KEY_BYTES + DIGEST_BYTES + 8;

export interface DedupEntry {
  /** 16 bytes. */
  readonly key: Buffer;
  /** 32 bytes. */
  readonly digest: Buffer;
  readonly observedAtMs: number;
}

export function dedupEntry(tenant: string, report: EvalReport): DedupEntry {
  return { key: reportKey(tenant, report), digest: reportDigest(report), observedAtMs: report.observedAtMs };
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
const DIGEST_KEPT_BYTES = 16;
const SLOT_BYTES = KEY_BYTES + DIGEST_KEPT_BYTES;
const FIRST_CAPACITY = 1024;
/** Grown when half full: probes stay short. */
const MAX_LOAD = 0.5;

export class DedupIndex {
  readonly #maxEntries: number;
  #slots = Buffer.alloc(FIRST_CAPACITY * SLOT_BYTES);
  #used = new Uint8Array(FIRST_CAPACITY);
  #size = 0;

  constructor(maxEntries = MAX_DEDUP_ENTRIES) {
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#size;
  }

  clear(): void {
    this.#slots = Buffer.alloc(FIRST_CAPACITY * SLOT_BYTES);
    this.#used = new Uint8Array(FIRST_CAPACITY);
    this.#size = 0;
  }

  get isFull(): boolean {
    return this.#size >= this.#maxEntries;
  }

  /** `same`: known with this content; `other`: known with another. */
  find(key: Buffer, digest: Buffer): 'new' | 'same' | 'other' {
    const slot = this.#slotOf(key);
    if (this.#used[slot] === 0) return 'new';
    const at = slot * SLOT_BYTES + KEY_BYTES;
    return this.#slots.compare(digest, 0, DIGEST_KEPT_BYTES, at, at + DIGEST_KEPT_BYTES) === 0 ? 'same' : 'other';
  }

  /** Adds a new key; a known one keeps what it has. */
  add(key: Buffer, digest: Buffer): void {
    if ((this.#size + 1) / this.#used.length > MAX_LOAD) this.#grow();
    const slot = this.#slotOf(key);
    if (this.#used[slot] === 1) return;
    if (this.isFull) {
      throw new OperatingError(
        'capacity',
        'never',
        `remembering more than ${this.#maxEntries} reports of the last 8 days`,
        {
          mend: 'spread the tenants over several installations',
        },
      );
    }
    this.#used[slot] = 1;
    this.#size++;
    key.copy(this.#slots, slot * SLOT_BYTES, 0, KEY_BYTES);
    digest.copy(this.#slots, slot * SLOT_BYTES + KEY_BYTES, 0, DIGEST_KEPT_BYTES);
  }

  /** The slot that holds the key, or the free one where it would go. Keys are hashes: their own bytes place them. */
  #slotOf(key: Buffer): number {
    const mask = this.#used.length - 1;
    let slot = key.readUInt32LE(1) & mask;
    while (this.#used[slot] === 1) {
      const at = slot * SLOT_BYTES;
      if (this.#slots.compare(key, 0, KEY_BYTES, at, at + KEY_BYTES) === 0) return slot;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const oldSlots = this.#slots;
    const oldUsed = this.#used;
    this.#slots = Buffer.alloc(oldSlots.length * 2);
    this.#used = new Uint8Array(oldUsed.length * 2);
    for (let i = 0; i < oldUsed.length; i++) {
      if (oldUsed[i] === 0) continue;
      const slot = this.#slotOf(oldSlots.subarray(i * SLOT_BYTES, i * SLOT_BYTES + KEY_BYTES));
      this.#used[slot] = 1;
      oldSlots.copy(this.#slots, slot * SLOT_BYTES, i * SLOT_BYTES, (i + 1) * SLOT_BYTES);
    }
  }
}
