import { blanks, byte, CLOSE_BRACE, COLON, COMMA, OPEN_BRACE, QUOTE, same } from './bytes';
import {
  ENTRIES,
  ENTRY_KEYS,
  FIRST_KEY,
  IDS_TABLE,
  INDEX,
  KEPT,
  MAX_ENTRIES,
  MIN_ENTRIES,
  noteNewId,
  PRESENT,
  row,
  VALUES,
} from './columns';
import { DEPTH, DUPLICATE_KEY, ENTRY_COUNT, fault, faultCode, FORBIDDEN_KEY, JSON_SYNTAX, TYPE_MISMATCH } from './fault';
import { intern, internedCount, internedRecord, NO_ID, OWN_LONG, OWN_WORD } from './intern';
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
import { numberValue, readNumber } from './number';
import { misfit } from './refusal';
import {
  addSkipped,
  BOOLEAN_TYPE,
  EXPECTED,
  FIRST_COLUMN,
  ID_TYPE,
  IS_CONSTRUCTOR,
  INTEGER_TYPE,
  memberNamed,
  NEXT,
  NODE_AT,
  NODE_LINE,
  NODE_NULL,
  NODE_TYPE,
  NUMBERS_TYPE,
  NUMBER_TYPE,
  REQUIRED,
  SEEN,
  SKIPPED_TYPE,
  TARGET,
  TEXT,
  TEXT_LENGTH,
  TEXT_TYPE,
  TIME_TYPE,
  TYPE,
  UNDER_CONSTRUCTOR,
} from './schema';
import { skipValue } from './skip';
import { booleanInto, checkText, idInto, isNumber, numberInto, otherType, textInto, timeInto } from './value';

/** The number of the line being read, counted over the life of the instance: what bears it was seen in this line. */
export let stamp: u64 = 0;
/** Required members seen in the line. */
export let requiredSeen: u32 = 0;

export function nextStamp(): void {
  stamp++;
  requiredSeen = 0;
}

/** The member whose key otherKey read, 0 for one that the schema does not know. */
let keyMember: usize = 0;
/** Is that one `constructor`? */
let keyIsConstructor: bool = false;
/** The object of the schema that is open, for the keys that the schema does not know. */
let openNumber: u64 = 0;

/** Past the object at p, which a node of the schema describes; it is at `depth`. */
export function readObject(node: usize, p: usize, depth: u32): usize {
  if (depth > depthLimit) return fault(DEPTH, p);
  store<usize>(node, p, NODE_AT);
  store<u64>(node, stamp, NODE_LINE);
  p = blanks(p + 1);
  if (byte(p) == CLOSE_BRACE) return p + 1;
  const base = keyCount;
  let number: u64 = 0;
  // Where the member that is expected next is kept.
  let link = node + EXPECTED;
  let more = true;
  while (more) {
    const at = p;
    const expected = load<usize>(link);
    const length = load<usize>(expected, TEXT_LENGTH);
    let member = expected;
    if (same(p, load<usize>(expected, TEXT), length)) {
      p += length;
      if (byte(p) <= 0x20) p = blanks(p);
    } else {
      if (number == 0) number = openObject();
      openNumber = number;
      p = otherKey(node, p, base);
      if (p == 0) return 0;
      member = keyMember;
    }
    if (member != 0) {
      if (load<u64>(member, SEEN) == stamp) return fault(DUPLICATE_KEY, at);
      store<u64>(member, stamp, SEEN);
      requiredSeen += load<u32>(member, REQUIRED);
      if (member != expected) store<usize>(link, member);
      link = member + NEXT;
      p = readMember(member, p, depth);
    } else {
      p = skipValue(p, depth, keyIsConstructor);
    }
    if (p == 0) return 0;
    if (byte(p) <= 0x20) p = blanks(p);
    more = byte(p) == COMMA;
    if (more) {
      p++;
      if (byte(p) <= 0x20) p = blanks(p);
    }
  }
  if (byte(p) != CLOSE_BRACE) return fault(JSON_SYNTAX, p);
  closeObject(base);
  return p + 1;
}

/** Reads a key that is not the expected one, and the colon behind it. */
function otherKey(node: usize, at: usize, base: u32): usize {
  if (byte(at) != QUOTE) return fault(JSON_SYNTAX, at);
  let p = readName(at + 1);
  if (p == 0) return 0;
  keyMember = memberNamed(node, nameAt, nameLength);
  if (keyMember == 0 && !forbiddenName(load<u32>(node, UNDER_CONSTRUCTOR) != 0)) {
    keyMember = addSkipped(node, nameAt, nameLength);
  }
  if (keyMember == 0) {
    if (!addName(openNumber, base, at, load<u32>(node, UNDER_CONSTRUCTOR) != 0)) return 0;
    keyIsConstructor = isConstructor();
  } else if (load<u64>(keyMember, SEEN) == stamp) return fault(DUPLICATE_KEY, at);
  p = blanks(p);
  return byte(p) == COLON ? blanks(p + 1) : fault(JSON_SYNTAX, p);
}

/** Reads the value of a member, which is in an object at `depth`. */
// @ts-ignore: decorator
@inline
function readMember(member: usize, p: usize, depth: u32): usize {
  const column = load<usize>(member, TARGET);
  const c = byte(p);
  const underConstructor = load<u32>(member, IS_CONSTRUCTOR) != 0;
  switch (load<u32>(member, TYPE)) {
    case NUMBER_TYPE:
      if (isNumber(p)) return numberInto(column, p, false);
      break;
    case INTEGER_TYPE:
      if (isNumber(p)) return numberInto(column, p, true);
      break;
    case BOOLEAN_TYPE:
      if (c == 0x74 || c == 0x66) return booleanInto(column, p);
      break;
    case ID_TYPE:
      if (c == QUOTE) return idInto(column, p);
      break;
    case TEXT_TYPE:
      if (c == QUOTE) return textInto(column, p);
      break;
    case TIME_TYPE:
      if (c == QUOTE) return timeInto(column, p);
      break;
    case NUMBERS_TYPE:
      if (c == OPEN_BRACE) return numbersInto(column, p, depth + 1, underConstructor);
      break;
    case NODE_TYPE:
      // Here `column` is a node.
      if (c == OPEN_BRACE) return readObject(column, p, depth + 1);
      return noObject(column, p, depth);
    case SKIPPED_TYPE:
      return skipValue(p, depth, underConstructor);
  }
  return otherType(column, p, depth, underConstructor);
}

/** Something else than an object where paths go on. An array below `constructor` is no matter, and what is no array holds no keys. */
function noObject(node: usize, p: usize, depth: u32): usize {
  const isNull = load<u32>(p) == 0x6c6c756e;
  if (!isNull || load<u32>(node, NODE_NULL) == 0) misfit(load<u32>(node, FIRST_COLUMN), TYPE_MISMATCH, p);
  return skipValue(p, depth, false);
}

/** Is the key at p, quotes and colon included, the one with that id? */
// @ts-ignore: decorator
@inline
function isEntry(table: usize, id: u32, p: usize): bool {
  if (id >= internedCount(table)) return false;
  const record = internedRecord(table, id);
  return same(p, load<usize>(record) - 1, load<usize>(record, 4) + 3);
}

/** Reads the dictionary of numbers at p, which is at `depth`. */
function numbersInto(column: usize, p: usize, depth: u32, underConstructor: bool): usize {
  if (depth > depthLimit) return fault(DEPTH, p);
  const at = p;
  const table = load<usize>(column, IDS_TABLE);
  const limit = load<u32>(column, MAX_ENTRIES);
  const keys = load<usize>(column, ENTRY_KEYS) + (<usize>load<u32>(column, ENTRIES) << 2);
  const values = load<usize>(column, VALUES) + (<usize>load<u32>(column, ENTRIES) << 3);
  const base = keyCount;
  let count: u32 = 0;
  openNumber = 0;
  // Where the id + 1 of the next key was kept when the dictionary was last seen. Once its table has moved it is an old place: no matter.
  let link = column + FIRST_KEY;
  p = blanks(p + 1);
  let more = byte(p) != CLOSE_BRACE;
  while (more) {
    const keyAt = p;
    // A branch and no selection: what follows goes on with the expected id while the comparison is still under way.
    let id = load<u32>(link) - 1;
    if (isEntry(table, id, p)) {
      p = blanks(p + load<usize>(internedRecord(table, id), 4) + 3);
    } else {
      p = otherEntry(column, p, base, underConstructor);
      if (p == 0) return 0;
      id = entryId;
      if (id != NO_ID) store<u32>(link, id + 1);
    }
    if (id != NO_ID) {
      const record = internedRecord(table, id);
      if (load<u64>(record, OWN_LONG) == stamp) return fault(DUPLICATE_KEY, keyAt);
      store<u64>(record, stamp, OWN_LONG);
      link = record + OWN_WORD;
    }
    p = isNumber(p) ? readNumber(p) : otherEntryType(column, id, p, depth);
    if (p == 0) return 0;
    // What is beyond the most that a row may have is read only.
    if (count < limit) {
      store<u32>(keys + (<usize>count << 2), id);
      store<f64>(values + (<usize>count << 3), numberValue);
    }
    count++;
    if (byte(p) <= 0x20) p = blanks(p);
    more = byte(p) == COMMA;
    if (more) p = blanks(p + 1);
  }
  if (byte(p) != CLOSE_BRACE) return fault(JSON_SYNTAX, p);
  closeObject(base);
  endEntries(column, count, at);
  return p + 1;
}

/** An entry that is no number. */
function otherEntryType(column: usize, id: u32, p: usize, depth: u32): usize {
  misfit(load<u32>(column, INDEX), TYPE_MISMATCH, p);
  if (id == NO_ID) return skipValue(p, depth, keyIsConstructor);
  const record = internedRecord(load<usize>(column, IDS_TABLE), id);
  return skipValue(p, depth, isConstructorText(load<usize>(record), load<usize>(record, 4)));
}

/** Counts the entries of the dictionary that began at `at`. */
// @ts-ignore: decorator
@inline
function endEntries(column: usize, count: u32, at: usize): void {
  const limit = load<u32>(column, MAX_ENTRIES);
  if (count < load<u32>(column, MIN_ENTRIES) || count > limit) misfit(load<u32>(column, INDEX), ENTRY_COUNT, at);
  store<u32>(column, load<u32>(column, ENTRIES) + min(count, limit), ENTRIES);
  store<u8>(load<usize>(column, PRESENT) + row, 1);
}

/** The id of the key that otherEntry read; NO_ID where it has none. */
let entryId: u32 = 0;

/** Reads a key of a dictionary that is not the expected one, and the colon behind it. */
function otherEntry(column: usize, at: usize, base: u32, underConstructor: bool): usize {
  if (byte(at) != QUOTE) return fault(JSON_SYNTAX, at);
  let p = readName(at + 1);
  if (p == 0) return 0;
  entryId = intern(load<usize>(column, IDS_TABLE), nameAt, nameLength, at);
  if (entryId >= load<u32>(column, KEPT) && !newKey(column, at, base, underConstructor)) return 0;
  if (entryId != NO_ID && load<u64>(internedRecord(load<usize>(column, IDS_TABLE), entryId), OWN_LONG) == stamp)
    return fault(DUPLICATE_KEY, at);
  p = blanks(p);
  return byte(p) == COLON ? blanks(p + 1) : fault(JSON_SYNTAX, p);
}

/** A key that no line before had is checked; one for which there is no id stands in for itself, so that it stands once. */
function newKey(column: usize, at: usize, base: u32, underConstructor: bool): bool {
  // Before anything else: whatever becomes of the line, the id is forgotten with it.
  noteNewId();
  if (forbiddenName(underConstructor)) return fault(FORBIDDEN_KEY, at) != 0;
  if (entryId != NO_ID) {
    checkText(column, nameAt, nameLength, at);
    return true;
  }
  misfit(load<u32>(column, INDEX), faultCode, at);
  if (openNumber == 0) openNumber = openObject();
  keyIsConstructor = isConstructor();
  return addName(openNumber, base, at, underConstructor);
}
