import { take } from './heap';
import { createInterner, forgetFrom, internedCount } from './intern';
import { BOOLEAN_TYPE, ID_TYPE, INTEGER_TYPE, NUMBERS_TYPE, NUMBER_TYPE, TEXT_TYPE, TIME_TYPE } from './schema';

/** Where values go: one block a column with room for a batch of rows. The row of the line being read is written in place. */

/** A column. */
export const VALUES: usize = 0;
/** One byte a row, 1 where there is a value. */
export const PRESENT: usize = 4;
export const INDEX: usize = 8;
export const NULLABLE: usize = 12;
export const MIN: usize = 16;
export const MAX: usize = 24;
/** Where a text ends, and whether it holds escapes; its start is in VALUES. */
export const ENDS: usize = 32;
export const ESCAPED: usize = 36;
/** Ids of texts or of a dictionary's keys; those from KEPT on belong to the line being read. */
export const IDS_TABLE: usize = 40;
export const KEPT: usize = 44;
/** What texts and keys are made of. */
export const CHARACTERS: usize = 48;
export const MIN_LENGTH: usize = 52;
export const MAX_LENGTH: usize = 56;
/** A dictionary: its entries are ENTRY_KEYS and VALUES from OFFSETS[row] to OFFSETS[row + 1]. */
export const ENTRY_KEYS: usize = 60;
export const OFFSETS: usize = 64;
export const MIN_ENTRIES: usize = 68;
export const MAX_ENTRIES: usize = 72;
const ENTRY_ROOM: usize = 76;
/** Entries of the batch so far. */
export const ENTRIES: usize = 80;
/** The member that leads to it and the node that holds that. */
export const MEMBER: usize = 84;
export const NODE: usize = 88;
const KIND: usize = 92;
/** The next column of all, of those that may be absent, of the dictionaries, of those with ids. */
export const AFTER: usize = 96;
const AFTER_OPTIONAL: usize = 100;
const AFTER_DICTIONARY: usize = 104;
const AFTER_IDS: usize = 108;
/** The id + 1 of the key that the dictionary, or the text that the column, began with when last seen. */
export const FIRST_KEY: usize = 112;
/** Where the id + 1 of the text is kept that followed the column's last one when last seen. */
export const LINK: usize = 116;
/** Those of CHARACTERS that a string may hold as they are. */
export const PLAIN: usize = 120;
const COLUMN_BYTES: usize = 128;

export let firstColumn: usize = 0;
let lastColumn: usize = 0;
let columnCount: u32 = 0;
let firstOptional: usize = 0;
let firstDictionary: usize = 0;
let firstIds: usize = 0;

export let rowLimit: u32 = 0;
/** Rows of the batch so far; the row that is being written. */
export let row: u32 = 0;
/** The number of each row's line, 1-based, and its bytes. */
export let rowLines: usize = 0;
export let rowStarts: usize = 0;
export let rowEnds: usize = 0;
/** Has the line being read brought a new id? */
export let newIds: bool = false;

export function noteNewId(): void {
  newIds = true;
}

export function createRows(limit: u32): bool {
  rowLimit = limit;
  rowLines = take(<usize>limit << 3);
  rowStarts = take(<usize>limit << 2);
  rowEnds = take(<usize>limit << 2);
  return rowLines != 0 && rowStarts != 0 && rowEnds != 0;
}

function valueBytes(type: u32): u32 {
  if (type == BOOLEAN_TYPE) return 1;
  return type == ID_TYPE || type == TEXT_TYPE ? 4 : 8;
}

/**
 * The next column. `optional` says that a row may lack it. Dictionaries get room for `entryRoom` entries a batch, columns with ids for
 * `idLimit` ids.
 */
export function createColumn(type: u32, optional: bool, nullable: bool, idLimit: u32, entryRoom: u32): usize {
  const column = take(COLUMN_BYTES);
  if (column == 0) return 0;
  store<u32>(column, type, KIND);
  store<u32>(column, columnCount++, INDEX);
  store<u32>(column, nullable, NULLABLE);
  store<f64>(column, -Infinity, MIN);
  store<f64>(column, Infinity, MAX);
  store<u32>(column, 0xffffffff, MAX_LENGTH);
  if (lastColumn == 0) firstColumn = column;
  else store<usize>(lastColumn, column, AFTER);
  lastColumn = column;
  if (optional) {
    store<usize>(column, firstOptional, AFTER_OPTIONAL);
    firstOptional = column;
  }
  if (!takeBlock(column, PRESENT, rowLimit)) return 0;
  memory.fill(load<usize>(column, PRESENT), optional ? 0 : 1, rowLimit);
  if (type == NUMBERS_TYPE) return dictionaryBlocks(column, idLimit, entryRoom) ? column : 0;
  if (type == ID_TYPE && !idsBlocks(column, idLimit)) return 0;
  if (type == TEXT_TYPE && !(takeBlock(column, ENDS, rowLimit << 2) && takeBlock(column, ESCAPED, rowLimit))) return 0;
  return takeBlock(column, VALUES, rowLimit * valueBytes(type)) ? column : 0;
}

function takeBlock(column: usize, field: usize, bytes: u32): bool {
  const block = take(bytes);
  store<usize>(column + field, block);
  return block != 0;
}

function idsBlocks(column: usize, idLimit: u32): bool {
  const ids = createInterner(idLimit);
  store<usize>(column, ids, IDS_TABLE);
  store<usize>(column, column + FIRST_KEY, LINK);
  store<usize>(column, firstIds, AFTER_IDS);
  firstIds = column;
  return ids != 0;
}

function dictionaryBlocks(column: usize, idLimit: u32, entryRoom: u32): bool {
  store<u32>(column, entryRoom, ENTRY_ROOM);
  store<usize>(column, firstDictionary, AFTER_DICTIONARY);
  firstDictionary = column;
  return (
    idsBlocks(column, idLimit) &&
    takeBlock(column, ENTRY_KEYS, entryRoom << 2) &&
    takeBlock(column, VALUES, entryRoom << 3) &&
    takeBlock(column, OFFSETS, (rowLimit + 1) << 2)
  );
}

export function setRange(column: usize, min: f64, max: f64): void {
  store<f64>(column, min, MIN);
  store<f64>(column, max, MAX);
}

/**
 * Limits of a text, or of a dictionary's keys, in bytes; `characters` is 0 for any, or a set as characters.ts reads it, `plain` always a
 * set.
 */
export function setTexts(column: usize, min: u32, max: u32, characters: usize, plain: usize): void {
  store<usize>(column, plain, PLAIN);
  store<u32>(column, min, MIN_LENGTH);
  store<u32>(column, max, MAX_LENGTH);
  store<usize>(column, characters, CHARACTERS);
}

export function setEntries(column: usize, min: u32, max: u32): void {
  store<u32>(column, min, MIN_ENTRIES);
  store<u32>(column, max, MAX_ENTRIES);
}

export function setMember(column: usize, member: usize, node: usize): void {
  store<usize>(column, member, MEMBER);
  store<usize>(column, node, NODE);
}

/** Is there room for one line more? */
// @ts-ignore: decorator
@inline
export function hasRoom(): bool {
  return row < rowLimit && hasEntryRoom();
}

function hasEntryRoom(): bool {
  let room = true;
  for (let column = firstDictionary; column != 0; column = load<usize>(column, AFTER_DICTIONARY))
    room = room && load<u32>(column, ENTRIES) + load<u32>(column, MAX_ENTRIES) <= load<u32>(column, ENTRY_ROOM);
  return room;
}

/** Empties the row: nothing that may be absent is present, and what is absent is 0. */
// @ts-ignore: decorator
@inline
export function beginRow(): void {
  for (let column = firstOptional; column != 0; column = load<usize>(column, AFTER_OPTIONAL)) clearValue(column);
}

function clearValue(column: usize): void {
  store<u8>(load<usize>(column, PRESENT) + row, 0);
  const values = load<usize>(column, VALUES);
  const kind = load<u32>(column, KIND);
  if (kind == NUMBER_TYPE || kind == INTEGER_TYPE || kind == TIME_TYPE) store<f64>(values + (<usize>row << 3), 0);
  else if (kind == BOOLEAN_TYPE) store<u8>(values + row, 0);
  else if (kind != NUMBERS_TYPE) store<u32>(values + (<usize>row << 2), 0);
  if (kind == TEXT_TYPE) {
    store<u32>(load<usize>(column, ENDS) + (<usize>row << 2), 0);
    store<u8>(load<usize>(column, ESCAPED) + row, 0);
  }
}

/** Keeps the row, which is that of the line `line` with the bytes [start, end) of the input. */
// @ts-ignore: decorator
@inline
export function keepRow(line: f64, start: u32, end: u32): void {
  store<f64>(rowLines + (<usize>row << 3), line);
  store<u32>(rowStarts + (<usize>row << 2), start);
  store<u32>(rowEnds + (<usize>row << 2), end);
  row++;
  for (let column = firstDictionary; column != 0; column = load<usize>(column, AFTER_DICTIONARY))
    store<u32>(load<usize>(column, OFFSETS) + (<usize>row << 2), load<u32>(column, ENTRIES));
  if (newIds) keepIds();
}

function keepIds(): void {
  for (let column = firstIds; column != 0; column = load<usize>(column, AFTER_IDS))
    store<u32>(column, internedCount(load<usize>(column, IDS_TABLE)), KEPT);
  newIds = false;
}

/** Drops the row, and with it the entries and the ids that its line brought. */
export function dropRow(): void {
  for (let column = firstDictionary; column != 0; column = load<usize>(column, AFTER_DICTIONARY))
    store<u32>(column, load<u32>(load<usize>(column, OFFSETS) + (<usize>row << 2)), ENTRIES);
  for (let column = firstIds; column != 0 && newIds; column = load<usize>(column, AFTER_IDS))
    forgetFrom(load<usize>(column, IDS_TABLE), load<u32>(column, KEPT));
  newIds = false;
}

/** Begins an empty batch. */
export function clearRows(): void {
  row = 0;
  for (let column = firstDictionary; column != 0; column = load<usize>(column, AFTER_DICTIONARY)) store<u32>(column, 0, ENTRIES);
}
