import { assert } from '../../core/assert.ts';
import {
  DEDUP_SHARDS,
  type DedupBlock,
  type DedupEntry,
  DIGEST_WORDS,
  ENTRY_BYTES,
  KEY_WORDS,
  type Known,
  sameWords,
} from './dedup-index.ts';
import type { DedupShards } from './dedup-shards.ts';

const ENTRY_WORDS = KEY_WORDS + DIGEST_WORDS;
const FIRST_ROOM = 256;
/** A slot holds the number of an entry and 1; at most half of them are used. */
const SLOTS_AN_ENTRY = 2;
/** A sort key is the first 33 bits of an entry's key and its place in its block: 53 bits together. */
const PLACE_BITS = 20;
const PREFIX_SHIFT = 31;

/** Whose reports an entry belongs to. */
export interface DedupOwner {
  readonly tenant: string;
  readonly suite: string;
}

/** The reports that one flush accepted, in columns: found by key, and packed as blocks without an object each. */
export class DedupEntries {
  #words: Uint32Array;
  #observedAtMs: Float64Array;
  #ownerOf: Uint32Array;
  #slots: Uint32Array;
  readonly #owners: DedupOwner[] = [];
  readonly #scratch = new Uint32Array(ENTRY_WORDS);
  readonly #scratchBytes = new Uint8Array(this.#scratch.buffer);
  #size = 0;

  /** `expected`: how many there may be; it grows beyond. */
  constructor(expected = FIRST_ROOM) {
    const room = 2 ** Math.ceil(Math.log2(Math.max(1, expected)));
    this.#words = new Uint32Array(room * ENTRY_WORDS);
    this.#observedAtMs = new Float64Array(room);
    this.#ownerOf = new Uint32Array(room);
    this.#slots = new Uint32Array(room * SLOTS_AN_ENTRY);
  }

  get size(): number {
    return this.#size;
  }

  /** A number for `add`, one an owner. */
  owner(owner: DedupOwner): number {
    return this.#owners.push(owner) - 1;
  }

  /** `same`: here with this content; `other`: here with another. */
  find(key: Uint32Array, keyAt: number, digest: Uint32Array, digestAt: number): Known {
    const entry = this.#slots[this.#slotOf(key, keyAt)]!;
    if (entry === 0) return 'new';
    const at = (entry - 1) * ENTRY_WORDS + KEY_WORDS;
    const same =
      sameWords(this.#words, at, digest, digestAt) &&
      sameWords(this.#words, at + KEY_WORDS, digest, digestAt + KEY_WORDS);
    return same ? 'same' : 'other';
  }

  /** One that `find` called new. */
  add(
    key: Uint32Array,
    keyAt: number,
    digest: Uint32Array,
    digestAt: number,
    observedAtMs: number,
    owner: number,
  ): void {
    if (this.#size === this.#ownerOf.length) this.#grow();
    const at = this.#size * ENTRY_WORDS;
    const words = this.#words;
    for (let i = 0; i < KEY_WORDS; i++) words[at + i] = key[keyAt + i]!;
    for (let i = 0; i < DIGEST_WORDS; i++) words[at + KEY_WORDS + i] = digest[digestAt + i]!;
    this.#observedAtMs[this.#size] = observedAtMs;
    this.#ownerOf[this.#size] = owner;
    this.#slots[this.#slotOf(key, keyAt)] = ++this.#size;
  }

  /** An entry's words where `find` and `add` take them: key at 0, digest behind it. Valid until the next. */
  wordsOf(entry: DedupEntry): Uint32Array {
    this.#scratchBytes.set(entry.key, 0);
    this.#scratchBytes.set(entry.digest, KEY_WORDS * 4);
    return this.#scratch;
  }

  /** Key and digest of every entry, in order. */
  addTo(known: Pick<DedupShards, 'addWords'>): void {
    const words = this.#words;
    for (let i = 0; i < this.#size; i++) known.addWords(words, i * ENTRY_WORDS, words, i * ENTRY_WORDS + KEY_WORDS);
  }

  /** As objects, for those who look at a few. */
  *entries(): Generator<DedupEntry & DedupOwner> {
    for (let i = 0; i < this.#size; i++) {
      const bytes = Buffer.from(this.#words.slice(i * ENTRY_WORDS, (i + 1) * ENTRY_WORDS).buffer);
      yield {
        key: bytes.subarray(0, KEY_WORDS * 4),
        digest: bytes.subarray(KEY_WORDS * 4),
        observedAtMs: this.#observedAtMs[i]!,
        ...this.#owners[this.#ownerOf[i]!]!,
      };
    }
  }

  /** One block a shard and suite, as packBlocks makes them; they share one buffer. */
  blocks(): readonly DedupBlock[] {
    const packed = new Packed(this.#words, this.#observedAtMs, this.#size);
    return Array.from(this.#groups(), ([group, members]) => {
      const { tenant, suite } = this.#owners[Math.floor(group / DEDUP_SHARDS)]!;
      return { tenant, suite, shard: group % DEDUP_SHARDS, ...packed.blockOf(members) };
    });
  }

  /** Entries by owner and shard, in the order of each one's first. */
  #groups(): ReadonlyMap<number, readonly number[]> {
    const groups = new Map<number, number[]>();
    for (let i = 0; i < this.#size; i++) {
      // shardOf: the key's first byte, which is the lowest of its first word.
      const group = this.#ownerOf[i]! * DEDUP_SHARDS + ((this.#words[i * ENTRY_WORDS]! & 0xff) % DEDUP_SHARDS);
      const members = groups.get(group);
      if (members === undefined) groups.set(group, [i]);
      else members.push(i);
    }
    return groups;
  }

  #slotOf(key: Uint32Array, at: number): number {
    const mask = this.#slots.length - 1;
    let slot = key[at + 1]! & mask;
    for (let entry = this.#slots[slot]!; entry !== 0; entry = this.#slots[slot]!) {
      if (sameWords(this.#words, (entry - 1) * ENTRY_WORDS, key, at)) break;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const room = this.#ownerOf.length * 2;
    this.#words = grown(this.#words, new Uint32Array(room * ENTRY_WORDS));
    this.#observedAtMs = grown(this.#observedAtMs, new Float64Array(room));
    this.#ownerOf = grown(this.#ownerOf, new Uint32Array(room));
    this.#slots = new Uint32Array(room * SLOTS_AN_ENTRY);
    for (let i = 0; i < this.#size; i++) this.#slots[this.#slotOf(this.#words, i * ENTRY_WORDS)] = i + 1;
  }
}

function grown<T extends Uint32Array | Float64Array>(from: T, into: T): T {
  into.set(from);
  return into;
}

/** Blocks one behind another in a buffer of their own. */
class Packed {
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #observedAtMs: Float64Array;
  readonly #out: Buffer;
  #at = 0;

  constructor(words: Uint32Array, observedAtMs: Float64Array, size: number) {
    this.#words = words;
    this.#bytes = new Uint8Array(words.buffer);
    this.#observedAtMs = observedAtMs;
    this.#out = Buffer.from(new ArrayBuffer(size * ENTRY_BYTES));
  }

  blockOf(members: readonly number[]): Pick<DedupBlock, 'newestObservedMs' | 'entries' | 'block'> {
    const from = this.#at;
    let newestObservedMs = Number.NEGATIVE_INFINITY;
    for (const entry of this.#sorted(members)) {
      const observedAtMs = this.#observedAtMs[entry]!;
      if (observedAtMs > newestObservedMs) newestObservedMs = observedAtMs;
      this.#put(entry, observedAtMs);
    }
    return { newestObservedMs, entries: members.length, block: this.#out.subarray(from, this.#at) };
  }

  /** By key, as packBlock sorts: first by its leading bits, as numbers, then those that agree in them by all bytes. */
  #sorted(members: readonly number[]): readonly number[] {
    assert(members.length < 2 ** PLACE_BITS, 'a dedup block has a place number for each entry');
    const sortable = new Float64Array(members.length);
    for (let i = 0; i < members.length; i++) {
      const at = members[i]! * ENTRY_WORDS;
      const prefix = bigEndian(this.#words[at]!) * 2 + (bigEndian(this.#words[at + 1]!) >>> PREFIX_SHIFT);
      sortable[i] = prefix * 2 ** PLACE_BITS + i;
    }
    sortable.sort();
    const sorted: number[] = [];
    for (let i = 0; i < sortable.length; i++) sorted.push(members[sortable[i]! % 2 ** PLACE_BITS]!);
    for (let i = 1; i < sorted.length; i++) {
      for (let j = i; j > 0 && this.#isBefore(sorted[j]!, sorted[j - 1]!); j--) {
        [sorted[j], sorted[j - 1]] = [sorted[j - 1]!, sorted[j]!];
      }
    }
    return sorted;
  }

  #isBefore(a: number, b: number): boolean {
    for (let i = 0; i < KEY_WORDS; i++) {
      const one = this.#words[a * ENTRY_WORDS + i]!;
      const other = this.#words[b * ENTRY_WORDS + i]!;
      if (one !== other) return bigEndian(one) < bigEndian(other);
    }
    return false;
  }

  #put(entry: number, observedAtMs: number): void {
    const from = entry * ENTRY_WORDS * 4;
    this.#out.set(this.#bytes.subarray(from, from + ENTRY_WORDS * 4), this.#at);
    const high = Math.floor(observedAtMs / 2 ** 32);
    this.#out.writeInt32BE(high, this.#at + ENTRY_WORDS * 4);
    this.#out.writeUInt32BE(observedAtMs - high * 2 ** 32, this.#at + ENTRY_WORDS * 4 + 4);
    this.#at += ENTRY_BYTES;
  }
}

function bigEndian(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}
