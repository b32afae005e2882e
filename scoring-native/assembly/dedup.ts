import { allocate, release } from './blocks';
import { hostReached, LIMIT_REPORTS } from './host';
import { ACCEPTED, CHECKED, CONFLICT, digests, DIGEST_BYTES, DUPLICATE, KEY_BYTES, keys, setStatus, statusOf } from './rows';

/**
 * Which reports are known: the 16 bytes of the key and the first 16 of the digest a report, in the order in which they came, with an
 * open-addressing index. A slot is 26 bits of the record's number and 6 of the key, so that a stranger's record is looked at in one of 64
 * cases. About 45 bytes a report.
 */
const RECORD: usize = 32;
/** Records a chunk: chunks are never moved. */
const CHUNK_SHIFT: u32 = 15;
const CHUNK: u32 = 1 << CHUNK_SHIFT;
const NUMBER_BITS: u32 = 26;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;
/** What the numbers of records allow. */
export const MOST_REPORTS: u32 = NUMBER_MASK - 1;
const CHUNKS: usize = (<usize>MOST_REPORTS >> CHUNK_SHIFT) + 1;
const FIRST_SLOTS: u32 = 4096;

let limit: u32 = 0;
let chunks: usize = 0;
let chunkCount: u32 = 0;
let count: u32 = 0;
let slots: usize = 0;
let slotCount: u32 = 0;

export function startDedup(reports: u32): void {
  limit = min(reports, MOST_REPORTS);
  chunks = allocate(CHUNKS << 2);
  slots = allocate(<usize>FIRST_SLOTS << 2);
  slotCount = FIRST_SLOTS;
  forgetReports();
}

/** Reports known. */
export function reportCount(): u32 {
  return count;
}

export function forgetReports(): void {
  count = 0;
  memory.fill(slots, 0, <usize>slotCount << 2);
}

// @ts-ignore: decorator
@inline
function recordAt(number: u32): usize {
  return load<usize>(chunks + (<usize>(number >> CHUNK_SHIFT) << 2)) + <usize>(number & (CHUNK - 1)) * RECORD;
}

/** The slot of a record, by the first word of its key for the place and the second for the 6 bits. */
// @ts-ignore: decorator
@inline
function marked(number: u32, key: v128): u32 {
  return (number + 1) | (v128.extract_lane<u32>(key, 1) << NUMBER_BITS);
}

// @ts-ignore: decorator
@inline
function equal(a: v128, b: v128): bool {
  return !v128.any_true(v128.xor(a, b));
}

/** ACCEPTED where the key is new, and from then on known; DUPLICATE or CONFLICT as the content is the same or not. */
// @ts-ignore: decorator
@inline
export function offer(key: v128, content: v128): u32 {
  const mask = slotCount - 1;
  const mark = v128.extract_lane<u32>(key, 1) << NUMBER_BITS;
  let index = v128.extract_lane<u32>(key, 0) & mask;
  let slot = load<u32>(slots + (<usize>index << 2));
  while (slot != 0) {
    if ((slot & ~NUMBER_MASK) == mark) {
      const record = recordAt((slot & NUMBER_MASK) - 1);
      if (equal(v128.load(record), key)) return equal(v128.load(record, 16), content) ? DUPLICATE : CONFLICT;
    }
    index = (index + 1) & mask;
    slot = load<u32>(slots + (<usize>index << 2));
  }
  append(key, content, index);
  return ACCEPTED;
}

function append(key: v128, content: v128, index: u32): void {
  if (count == limit) hostReached(LIMIT_REPORTS);
  if (count >> CHUNK_SHIFT == chunkCount) {
    store<usize>(chunks + (<usize>chunkCount << 2), allocate(<usize>CHUNK * RECORD));
    chunkCount++;
  }
  const record = recordAt(count);
  v128.store(record, key);
  v128.store(record, content, 16);
  store<u32>(slots + (<usize>index << 2), marked(count, key));
  count++;
  if (count > slotCount - (slotCount >> 2) - (slotCount >> 3)) grow();
}

function grow(): void {
  const next = allocate(<usize>slotCount << 3);
  release(slots, <usize>slotCount << 2);
  slots = next;
  slotCount *= 2;
  memory.fill(slots, 0, <usize>slotCount << 2);
  for (let number: u32 = 0; number < count; number++) {
    const key = v128.load(recordAt(number));
    let index = v128.extract_lane<u32>(key, 0) & (slotCount - 1);
    while (load<u32>(slots + (<usize>index << 2)) != 0) index = (index + 1) & (slotCount - 1);
    store<u32>(slots + (<usize>index << 2), marked(number, key));
  }
}

/**
 * Forgets the reports from number `to` on, the last first: with linear probing, and records in the order in which they were put, each
 * removal is then exactly the undoing of its put.
 */
export function rollback(to: u32): void {
  const mask = slotCount - 1;
  while (count > to) {
    count--;
    const key = v128.load(recordAt(count));
    const slot = marked(count, key);
    let index = v128.extract_lane<u32>(key, 0) & mask;
    while (load<u32>(slots + (<usize>index << 2)) != slot) index = (index + 1) & mask;
    store<u32>(slots + (<usize>index << 2), 0);
  }
}

/** What the slots of some rows hold, loaded ahead: the loads miss the caches, but do not wait for each other. */
const AHEAD: u32 = 32;
const LOADED: usize = memory.data(<i32>AHEAD << 2, 16);

/** Offers the rows [from, to) that are checked. */
export function offerRows(from: u32, to: u32): void {
  let row = from;
  while (row < to) {
    const next = min(row + AHEAD, to);
    for (let i = row; i < next; i++) {
      const index = load<u32>(keys + <usize>i * KEY_BYTES) & (slotCount - 1);
      store<u32>(LOADED + (<usize>(i - row) << 2), load<u32>(slots + (<usize>index << 2)));
    }
    while (row < next) {
      if (statusOf(row) == CHECKED) {
        const key = v128.load(keys + <usize>row * KEY_BYTES);
        const content = v128.load(digests + <usize>row * DIGEST_BYTES);
        setStatus(row, offer(key, content));
      }
      row++;
    }
  }
}

/** Makes a report known that was accepted before: 16 bytes of key at p, 16 of content. */
export function remember(key: usize, content: usize): void {
  offer(v128.load(key), v128.load(content));
}
