import {
  blanks,
  byte,
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  MINUS,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
  same,
  ZERO,
} from './bytes';
import { DEPTH, DUPLICATE_KEY, fault, JSON_SYNTAX, NUMBER } from './fault';
import { createInterner, find, intern, internedCount, internedRecord, NO_ID, OWN_LONG, OWN_WORD } from './intern';
import {
  addName,
  closeObject,
  forbiddenName,
  isConstructor,
  isConstructorText,
  keyCount,
  nameAt,
  nameLength,
  openObject,
  readName,
} from './keys';
import { depthLimit } from './limits';
import { readNumber } from './number';
import { textEnd } from './text';

/**
 * Keys of objects that nothing describes are mostly those of the line before, in the same order. So a few are known, at each depth by
 * themselves: of one depth only one object is open at a time, and a key that bears its number stands in it already. What is not known
 * goes the longer way through keys.ts.
 */
const KNOWN_DEPTHS: u32 = 16;
const KNOWN_KEYS: u32 = 256;
const KNOWN_KEY_BYTES: usize = 64;
/** For each depth the table and the id + 1 of the first key expected; those of depth 0, and of all that are too deep, stay empty. */
const KNOWN: usize = memory.data(<i32>(KNOWN_DEPTHS + 1) << 3, 16);

/** The table of known keys of objects at that depth; 0 where there is none. */
// @ts-ignore: decorator
@inline
function knownKeys(depth: u32): usize {
  const table = load<usize>(firstLink(depth), 4);
  return table == 0 && depth <= KNOWN_DEPTHS ? createKnown(depth) : table;
}

function createKnown(depth: u32): usize {
  const table = createInterner(KNOWN_KEYS);
  store<usize>(firstLink(depth), table, 4);
  return table;
}

// @ts-ignore: decorator
@inline
function firstLink(depth: u32): usize {
  return KNOWN + ((depth <= KNOWN_DEPTHS ? <usize>depth : 0) << 3);
}

function isWorthKnowing(table: usize): bool {
  return nameLength <= KNOWN_KEY_BYTES && internedCount(table) < KNOWN_KEYS;
}

/**
 * Past the value at p, every byte of which is checked. `depth` counts the objects and arrays around it; `underConstructor` says that it
 * stands under the key `constructor`, where `prototype` is refused.
 */
export function skipValue(p: usize, depth: u32, underConstructor: bool): usize {
  const c = byte(p);
  if (c == QUOTE) {
    const end = textEnd(p + 1);
    return end == 0 ? 0 : end + 1;
  }
  if (c - ZERO <= 9 || c == MINUS) return readNumber(p);
  if (c == OPEN_BRACE) return skipObject(p, depth + 1, underConstructor);
  if (c == OPEN_BRACKET) return skipArray(p, depth + 1);
  return skipWord(p);
}

/** Past `true`, `false` or `null`; a fault for anything else. */
export function skipWord(p: usize): usize {
  const word = load<u32>(p);
  if (word == 0x65757274 || word == 0x6c6c756e) return p + 4;
  if (word == 0x736c6166 && byte(p + 4) == 0x65) return p + 5;
  // "NaN", "Infinit" "y"
  const notFinite = (word & 0xffffff) == 0x4e614e || load<u64>(p) == 0x7974696e69666e49;
  return fault(notFinite ? NUMBER : JSON_SYNTAX, p);
}

/** Past the object at p, which is at `depth` (the outermost is at 1). */
export function skipObject(p: usize, depth: u32, underConstructor: bool): usize {
  if (depth > depthLimit) return fault(DEPTH, p);
  p = blanks(p + 1);
  if (byte(p) == CLOSE_BRACE) return p + 1;
  const object = openObject();
  const base = keyCount;
  const table: usize = underConstructor ? 0 : knownKeys(depth);
  // Where the id + 1 of the key that is expected next is kept.
  let link = firstLink(depth);
  let more = true;
  while (more) {
    const at = p;
    const id = load<u32>(link) - 1;
    let record: usize = 0;
    if (table != 0 && id != NO_ID) {
      const expected = internedRecord(table, id);
      const length = load<usize>(expected, 4) + 3;
      if (same(p, load<usize>(expected) - 1, length)) {
        record = expected;
        p = blanks(p + length);
      }
    }
    let below = false;
    if (record == 0) {
      p = otherKey(p, table, object, base, underConstructor);
      if (p == 0) return 0;
      below = isConstructor();
      if (keyId != NO_ID) {
        store<u32>(link, keyId + 1);
        record = internedRecord(table, keyId);
      }
    } else if (load<usize>(record, 4) == 11) below = isConstructorText(load<usize>(record), 11);
    if (record != 0) {
      if (load<u64>(record, OWN_LONG) == object) return fault(DUPLICATE_KEY, at);
      store<u64>(record, object, OWN_LONG);
      link = record + OWN_WORD;
    }
    p = skipValue(p, depth, below);
    if (p == 0) return 0;
    p = blanks(p);
    more = byte(p) == COMMA;
    if (more) p = blanks(p + 1);
  }
  if (byte(p) != CLOSE_BRACE) return fault(JSON_SYNTAX, p);
  closeObject(base);
  return p + 1;
}

/** The id of the key that otherKey read; NO_ID where it is not among the known. */
let keyId: u32 = 0;

/** Reads a key that is not the expected one, and the colon behind it. */
function otherKey(at: usize, table: usize, object: u64, base: u32, underConstructor: bool): usize {
  if (byte(at) != QUOTE) return fault(JSON_SYNTAX, at);
  let p = readName(at + 1);
  if (p == 0) return 0;
  keyId = table == 0 ? NO_ID : find(table, nameAt, nameLength);
  if (keyId == NO_ID) {
    if (table != 0 && isWorthKnowing(table) && !forbiddenName(false)) keyId = intern(table, nameAt, nameLength, at);
    if (keyId == NO_ID && !addName(object, base, at, underConstructor)) return 0;
  } else if (load<u64>(internedRecord(table, keyId), OWN_LONG) == object) return fault(DUPLICATE_KEY, at);
  p = blanks(p);
  return byte(p) == COLON ? blanks(p + 1) : fault(JSON_SYNTAX, p);
}

function skipArray(p: usize, depth: u32): usize {
  if (depth > depthLimit) return fault(DEPTH, p);
  p = blanks(p + 1);
  if (byte(p) == CLOSE_BRACKET) return p + 1;
  let more = true;
  while (more) {
    p = skipValue(p, depth, false);
    if (p == 0) return 0;
    p = blanks(p);
    more = byte(p) == COMMA;
    if (more) p = blanks(p + 1);
  }
  if (byte(p) != CLOSE_BRACKET) return fault(JSON_SYNTAX, p);
  return p + 1;
}
