import { blanks, byte, LF, OPEN_BRACE } from './bytes';
import { beginRow, dropRow, hasRoom, keepRow } from './columns';
import { ENCODING, fault, faultAt, faultCode, JSON_SYNTAX, NOT_AN_OBJECT, TOO_LARGE } from './fault';
import { inputStart } from './input';
import { beginLine } from './keys';
import { lineLimit } from './limits';
import { nextStamp, readObject, requiredSeen, stamp } from './object';
import {
  clearMisfit,
  misfitAt,
  misfitCode,
  misfitColumn,
  noteMissing,
  NO_COLUMN,
  refusalLimit,
  refusals,
  refuse,
} from './refusal';
import { skipValue } from './skip';
import { invalidUtf8 } from './text';

/** The node of the whole line, and the number of required members. */
let root: usize = 0;
let required: u32 = 0;

/** The line that is read next, 1-based, blank ones counted. As a double: exact up to 2^53 lines. */
export let lineNumber: f64 = 1;

export function setRoot(node: usize, requiredMembers: u32): void {
  root = node;
  required = requiredMembers;
}

export function restartLines(): void {
  lineNumber = 1;
}

// @ts-ignore: decorator
@inline
function roomForLine(): bool {
  return hasRoom() && refusals < refusalLimit;
}

/** Reads lines in [p, end), the last byte of which is a line feed, as long as the batch has room; the first byte that is not read. */
export function readLines(p: usize, end: usize): usize {
  while (p < end && roomForLine()) p = readLine(p, end);
  return p;
}

/** Counts a line that was longer than the limit and of which nothing was kept; false where the batch has no room. */
export function refuseLongLine(): bool {
  if (!roomForLine()) return false;
  refuse(lineNumber, TOO_LARGE, NO_COLUMN, 0, 0, 0);
  lineNumber += 1;
  return true;
}

/** The first line feed from p on, of which there is one. */
function lineEnd(p: usize): usize {
  let found = i8x16.bitmask(i8x16.eq(v128.load(p), i8x16.splat(<i8>LF)));
  while (found == 0) {
    p += 16;
    found = i8x16.bitmask(i8x16.eq(v128.load(p), i8x16.splat(<i8>LF)));
  }
  return p + <usize>ctz(found);
}

/** Past the line at p. */
function readLine(p: usize, end: usize): usize {
  const start = p;
  if (end - p > <usize>lineLimit + 1) {
    const feed = lineEnd(p);
    if (feed - p > <usize>lineLimit) {
      refuseLongLine();
      return feed + 1;
    }
  }
  p = blanks(p);
  if (byte(p) == LF) {
    lineNumber += 1;
    return p + 1;
  }
  nextStamp();
  beginLine();
  clearMisfit();
  beginRow();
  const isObject = byte(p) == OPEN_BRACE;
  p = isObject ? readObject(root, p, 1) : skipValue(p, 0, false);
  if (p != 0) p = textEnds(p);
  if (p == 0) return refuseLine(start, faultCode, NO_COLUMN, faultAt);
  if (!isObject) return refuseLine(start, NOT_AN_OBJECT, NO_COLUMN, start);
  if (requiredSeen != required) noteMissing(stamp);
  if (misfitColumn != NO_COLUMN) return refuseLine(start, misfitCode, misfitColumn, misfitAt);
  keepRow(lineNumber, <u32>(start - inputStart), <u32>(p - inputStart));
  lineNumber += 1;
  return p + 1;
}

/** The line feed behind the value that ended at p; nothing else may stand there. */
// @ts-ignore: decorator
@inline
function textEnds(p: usize): usize {
  p = blanks(p);
  return byte(p) == LF ? p : fault(JSON_SYNTAX, p);
}

/** Notes why the line is refused; what is no UTF-8 is that before anything else. Past the line. */
function refuseLine(start: usize, code: u32, column: u32, at: usize): usize {
  const end = lineEnd(at);
  const invalid = invalidUtf8(start, end);
  if (invalid != end) {
    code = ENCODING;
    column = NO_COLUMN;
    at = invalid;
  }
  refuse(lineNumber, code, column, <u32>(at - start), <u32>(start - inputStart), <u32>(end - inputStart));
  dropRow();
  lineNumber += 1;
  return end + 1;
}
