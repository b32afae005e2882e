import { hashOf, keepQuoted, same } from './bytes';
import { fault, IDS, MEMORY } from './fault';
import { take } from './heap';

/**
 * Byte strings to dense ids, 0, 1, 2 … in the order in which they first appear. Open addressing with linear probing; a slot is the hash
 * above the id + 1, so that a probe touches one cache line. A text is kept as a key stands in the input, by keepQuoted.
 */

export const NO_ID: u32 = 0xffffffff;

const FIRST_SLOTS: u32 = 256;
const BLOCK_BYTES: usize = 1 << 16;

/** The table: */
const SLOTS: usize = 0;
const MASK: usize = 4;
const COUNT: usize = 8;
const LIMIT: usize = 12;
const RECORDS: usize = 16;
const CAPACITY: usize = 20;
const NEXT: usize = 24;
const END: usize = 28;
/** Where the block begins that NEXT and END are in. */
const BLOCK: usize = 32;
const TABLE_BYTES: usize = 48;

/** A record: place, length, hash; the words at OWN_WORD and OWN_LONG are its owner's, 0 at first. */
export const RECORD_BYTES: usize = 24;
export const OWN_WORD: usize = 12;
export const OWN_LONG: usize = 16;

/** A table of at most `limit` ids; 0 where there is no memory. */
export function createInterner(limit: u32): usize {
  const table = take(TABLE_BYTES);
  const slots = take(<usize>FIRST_SLOTS << 3);
  const records = take(<usize>(FIRST_SLOTS >> 1) * RECORD_BYTES);
  if (table == 0 || slots == 0 || records == 0) return 0;
  store<usize>(table, slots, SLOTS);
  store<u32>(table, FIRST_SLOTS - 1, MASK);
  store<u32>(table, limit, LIMIT);
  store<usize>(table, records, RECORDS);
  store<u32>(table, FIRST_SLOTS >> 1, CAPACITY);
  return table;
}

// @ts-ignore: decorator
@inline
export function internedCount(table: usize): u32 {
  return load<u32>(table, COUNT);
}

/** The record of an id; records move when the table grows. */
// @ts-ignore: decorator
@inline
export function internedRecord(table: usize, id: u32): usize {
  return load<usize>(table, RECORDS) + <usize>id * RECORD_BYTES;
}

/** The id of the text, a new one where it is new; NO_ID and a fault at `at` where there is no room. Reads up to 15 bytes past the text. */
// @ts-ignore: decorator
@inline
export function intern(table: usize, p: usize, length: usize, at: usize): u32 {
  const hash = hashOf(p, length);
  const id = seek(table, p, length, hash);
  return id == NO_ID ? add(table, p, length, hash, at) : id;
}

/** The id of the text, NO_ID where it has none. Reads up to 15 bytes past it. */
export function find(table: usize, p: usize, length: usize): u32 {
  return seek(table, p, length, hashOf(p, length));
}

// @ts-ignore: decorator
@inline
function seek(table: usize, p: usize, length: usize, hash: u32): u32 {
  const slots = load<usize>(table, SLOTS);
  const mask = load<u32>(table, MASK);
  let index = hash & mask;
  let slot = load<u64>(slots + (<usize>index << 3));
  let id = NO_ID;
  while (slot != 0 && id == NO_ID) {
    if (<u32>(slot >> 32) == hash) {
      const record = internedRecord(table, <u32>slot - 1);
      if (load<usize>(record, 4) == length && same(load<usize>(record), p, length)) id = <u32>slot - 1;
    }
    index = (index + 1) & mask;
    slot = load<u64>(slots + (<usize>index << 3));
  }
  return id;
}

function add(table: usize, p: usize, length: usize, hash: u32, at: usize): u32 {
  const id = load<u32>(table, COUNT);
  if (id >= load<u32>(table, LIMIT)) {
    fault(IDS, at);
    return NO_ID;
  }
  const text = keep(table, p, length);
  if (text == 0 || (id == load<u32>(table, CAPACITY) && !grow(table))) {
    fault(MEMORY, at);
    return NO_ID;
  }
  const record = internedRecord(table, id);
  store<usize>(record, text);
  store<usize>(record, length, 4);
  store<u32>(record, hash, 8);
  store<u32>(record, 0, OWN_WORD);
  store<u64>(record, 0, OWN_LONG);
  put(table, hash, id);
  store<u32>(table, id + 1, COUNT);
  return id;
}

function keep(table: usize, p: usize, length: usize): usize {
  const bytes = (length + 3 + 7) & ~7;
  let text = load<usize>(table, NEXT);
  if (text + bytes > load<usize>(table, END)) {
    const block = max<usize>(bytes, BLOCK_BYTES);
    text = take(block);
    if (text == 0) return 0;
    store<usize>(table, text, BLOCK);
    store<usize>(table, text + block, END);
  }
  store<usize>(table, text + bytes, NEXT);
  return keepQuoted(p, length, text);
}

function put(table: usize, hash: u32, id: u32): void {
  const slots = load<usize>(table, SLOTS);
  const mask = load<u32>(table, MASK);
  let index = hash & mask;
  while (load<u64>(slots + (<usize>index << 3)) != 0) index = (index + 1) & mask;
  store<u64>(slots + (<usize>index << 3), (<u64>hash << 32) | (id + 1));
}

/** Twice the records and slots. Ids are put in order again, as if they had all been put there in the first place. */
function grow(table: usize): bool {
  const count = load<u32>(table, COUNT);
  const capacity = load<u32>(table, CAPACITY);
  // Both or none: half of it would be lost.
  const records = take(<usize>capacity * (2 * RECORD_BYTES + (4 << 3)));
  if (records == 0) return false;
  const slots = records + <usize>capacity * 2 * RECORD_BYTES;
  memory.copy(records, load<usize>(table, RECORDS), <usize>capacity * RECORD_BYTES);
  store<usize>(table, records, RECORDS);
  store<usize>(table, slots, SLOTS);
  store<u32>(table, capacity * 4 - 1, MASK);
  store<u32>(table, capacity * 2, CAPACITY);
  for (let id: u32 = 0; id < count; id++) put(table, load<u32>(internedRecord(table, id), 8), id);
  return true;
}

/**
 * Takes the ids from `count` on away again, the last first: with linear probing each removal is then exactly the undoing of its put.
 */
export function forgetFrom(table: usize, count: u32): void {
  const slots = load<usize>(table, SLOTS);
  const mask = load<u32>(table, MASK);
  let id = load<u32>(table, COUNT);
  while (id > count) {
    id--;
    const record = internedRecord(table, id);
    let index = load<u32>(record, 8) & mask;
    while (<u32>load<u64>(slots + (<usize>index << 3)) != id + 1) index = (index + 1) & mask;
    store<u64>(slots + (<usize>index << 3), 0);
    const text = load<usize>(record) - 1;
    // Within the block that is being filled; the rest of an earlier one is not worth remembering.
    if (text >= load<usize>(table, BLOCK) && text < load<usize>(table, NEXT)) store<usize>(table, text, NEXT);
  }
  store<u32>(table, count, COUNT);
}
