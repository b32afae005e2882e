import { byte, MINUS, QUOTE, same, ZERO } from './bytes';
import { allIn, endOfSet } from './characters';
import {
  CHARACTERS,
  ENDS,
  ESCAPED,
  IDS_TABLE,
  INDEX,
  KEPT,
  LINK,
  MAX,
  MAX_LENGTH,
  MIN,
  MIN_LENGTH,
  noteNewId,
  NULLABLE,
  PLAIN,
  PRESENT,
  row,
  VALUES,
} from './columns';
import { faultCode, NOT_WHOLE, RANGE, TEXT_CHARACTERS, TEXT_SIZE, TIME_FORMAT, TYPE_MISMATCH } from './fault';
import { intern, internedRecord, NO_ID, OWN_WORD } from './intern';
import { nameAt, nameLength, readName } from './keys';
import { inputStart } from './input';
import { numberValue, readNumber } from './number';
import { misfit } from './refusal';
import { skipValue, skipWord } from './skip';
import { TEXT_ESCAPED, textKind } from './text';
import { timeEnd, timeMs } from './time';

/** Readers of one value each into the row of a column. All go past the value, also where it does not fit. */

// @ts-ignore: decorator
@inline
function present(column: usize): void {
  store<u8>(load<usize>(column, PRESENT) + row, 1);
}

/** A value of another type: no fault where it is a null that may stand there. */
export function otherType(column: usize, p: usize, depth: u32, underConstructor: bool): usize {
  const isNull = load<u32>(p) == 0x6c6c756e;
  if (!isNull || load<u32>(column, NULLABLE) == 0) misfit(load<u32>(column, INDEX), TYPE_MISMATCH, p);
  return skipValue(p, depth, underConstructor);
}

// @ts-ignore: decorator
@inline
export function isNumber(p: usize): bool {
  const c = byte(p);
  return c - ZERO <= 9 || c == MINUS;
}

// @ts-ignore: decorator
@inline
export function numberInto(column: usize, p: usize, whole: bool): usize {
  const end = readNumber(p);
  if (end == 0) return 0;
  const value = numberValue;
  store<f64>(load<usize>(column, VALUES) + (<usize>row << 3), value);
  present(column);
  const within = value >= load<f64>(column, MIN) && value <= load<f64>(column, MAX);
  if (whole && nearest(value) != value) misfit(load<u32>(column, INDEX), NOT_WHOLE, p);
  else if (!within) misfit(load<u32>(column, INDEX), RANGE, p);
  return end;
}

/** The word at p, which begins like `true` or `false`. */
export function booleanInto(column: usize, p: usize): usize {
  const end = skipWord(p);
  if (end == 0) return 0;
  store<u8>(load<usize>(column, VALUES) + row, end == p + 4);
  present(column);
  return end;
}

/** Do the texts of a column look like the one at p? */
// @ts-ignore: decorator
@inline
export function checkText(column: usize, text: usize, length: usize, p: usize): bool {
  if (length < load<u32>(column, MIN_LENGTH) || length > load<u32>(column, MAX_LENGTH)) {
    misfit(load<u32>(column, INDEX), TEXT_SIZE, p);
    return false;
  }
  const characters = load<usize>(column, CHARACTERS);
  if (characters == 0 || allIn(characters, text, length)) return true;
  misfit(load<u32>(column, INDEX), TEXT_CHARACTERS, p);
  return false;
}

/**
 * The string at p as an id. Expected is the one that followed the last one before: values that stay, or take turns, need no look-up.
 */
// @ts-ignore: decorator
@inline
export function idInto(column: usize, p: usize): usize {
  const id = load<u32>(load<usize>(column, LINK)) - 1;
  if (id < load<u32>(column, KEPT)) {
    const record = internedRecord(load<usize>(column, IDS_TABLE), id);
    const length = load<usize>(record, 4) + 2;
    if (same(p, load<usize>(record) - 1, length)) {
      storeId(column, id, record);
      return p + length;
    }
  }
  return otherIdInto(column, p);
}

// @ts-ignore: decorator
@inline
function storeId(column: usize, id: u32, record: usize): void {
  store<u32>(load<usize>(column, VALUES) + (<usize>row << 2), id);
  store<usize>(column, record + OWN_WORD, LINK);
  present(column);
}

/** Any string. A text is checked when it is new: what is known has passed. */
function otherIdInto(column: usize, p: usize): usize {
  const end = readName(p + 1);
  if (end == 0) return 0;
  const id = intern(load<usize>(column, IDS_TABLE), nameAt, nameLength, p);
  if (id >= load<u32>(column, KEPT)) newId(column, id, p);
  if (id == NO_ID) return end;
  store<u32>(load<usize>(column, LINK), id + 1);
  storeId(column, id, internedRecord(load<usize>(column, IDS_TABLE), id));
  return end;
}

function newId(column: usize, id: u32, p: usize): void {
  if (id == NO_ID) misfit(load<u32>(column, INDEX), faultCode, p);
  else {
    noteNewId();
    checkText(column, nameAt, nameLength, p);
  }
}

/** The string at p as the span of its bytes. */
// @ts-ignore: decorator
@inline
export function textInto(column: usize, p: usize): usize {
  const end = endOfSet(load<usize>(column, PLAIN), p + 1);
  const length = end - p - 1;
  const fits = length >= load<u32>(column, MIN_LENGTH) && length <= load<u32>(column, MAX_LENGTH);
  if (byte(end) != QUOTE || !fits) return otherTextInto(column, p);
  storeText(column, p + 1, end, 0);
  return end + 1;
}

// @ts-ignore: decorator
@inline
function storeText(column: usize, p: usize, end: usize, escaped: u32): void {
  const at = <usize>row << 2;
  store<u32>(load<usize>(column, VALUES) + at, <u32>(p - inputStart));
  store<u32>(load<usize>(column, ENDS) + at, <u32>(end - inputStart));
  store<u8>(load<usize>(column, ESCAPED) + row, <u8>escaped);
  present(column);
}

/** A text with escapes or characters beyond ASCII, or one that does not fit. */
function otherTextInto(column: usize, p: usize): usize {
  const end = readName(p + 1);
  if (end == 0) return 0;
  checkText(column, nameAt, nameLength, p);
  storeText(column, p + 1, end - 1, textKind & TEXT_ESCAPED);
  return end;
}

/** The string at p as a time. */
// @ts-ignore: decorator
@inline
export function timeInto(column: usize, p: usize): usize {
  let end = timeEnd(p + 1);
  if (end == 0 || byte(end) != QUOTE) return slowTimeInto(column, p);
  storeTime(column);
  return end + 1;
}

// @ts-ignore: decorator
@inline
function storeTime(column: usize): void {
  store<f64>(load<usize>(column, VALUES) + (<usize>row << 3), <f64>timeMs);
  present(column);
}

/** A time with escapes in it, or none. */
function slowTimeInto(column: usize, p: usize): usize {
  const end = readName(p + 1);
  if (end == 0) return 0;
  if (timeEnd(nameAt) == nameAt + nameLength) storeTime(column);
  else misfit(load<u32>(column, INDEX), TIME_FORMAT, p);
  return end;
}
