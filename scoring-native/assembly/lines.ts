import { blanks, byte, LF } from '../simd-json-wasm/assembly/bytes';
import { allocate } from './blocks';
import { hostReadLine } from './host';
import { producerAt, producerLength, putReport, readReport, reportIdAt, reportIdLength } from './report';
import { CHECKED, lengths, lines, offsets, producerLengths, producers, QUARANTINED, rowLimit, setStatus, suitesOf, TOO_LONG } from './rows';
import { NO_SUITE } from './suites';
import { contentAt, finishTexts, takeTexts } from './texts';
import { refused } from './verdict';

/**
 * Bytes in any chunking → rows. The input holds what is left of a line that the last chunk cut, and the next chunk behind it; 64 bytes
 * behind the data are readable, and the first of them is a line feed.
 */

let input: usize = 0;
let lineLimit: usize = 0;
/** Bytes of one chunk at most; the host cuts longer ones. */
let chunkLimit: usize = 0;

/** The bytes at hand, where reading stands, and what follows the last line feed. */
let end: usize = 0;
let cursor: usize = 0;
let whole: usize = 0;

/** Lines seen of this file. */
let line: u32 = 0;
/** Is the line being dropped, since it is too long? */
let dropping: bool = false;

export function startLines(limit: usize, chunk: usize): void {
  lineLimit = limit;
  chunkLimit = chunk;
  input = allocate(limit + chunk + 128);
  end = input;
  cursor = input;
  whole = input;
}

export function inputAt(): usize {
  return input;
}

/** Where up to chunkLimit bytes of the next chunk are to be put; what the last block's rows point to is gone then. */
export function room(): usize {
  const left = end - cursor;
  if (left > lineLimit) {
    // No line feed came: all of it belongs to one line.
    dropping = true;
    end = input;
  } else {
    memory.copy(input, cursor, left);
    end = input + left;
  }
  cursor = input;
  whole = input;
  return end;
}

/** `length` bytes were put at room(). */
export function arrived(length: usize): void {
  const from = end;
  end += length;
  store<u8>(end, <u8>LF);
  let at = end;
  while (at > from && byte(at - 1) != LF) at--;
  whole = at > from ? at : input;
}

/** The file ends: its last line may lack its line feed. At most one row follows. */
export function fileEnds(): void {
  if (end == whole && !dropping) return;
  store<u8>(end, <u8>LF);
  end++;
  store<u8>(end, <u8>LF);
  whole = end;
}

/** The next file's lines are counted from 1. */
export function fileBegins(): void {
  line = 0;
  dropping = false;
  cursor = input;
  end = input;
  whole = input;
}

/** Reads whole lines into rows until the block is full or none is left; the number of rows. */
export function readBlock(): u32 {
  let row: u32 = 0;
  let p = cursor;
  while (row < rowLimit && p < whole) {
    line++;
    if (dropping) {
      p = dropLine(p, row++);
    } else {
      const at = readReport(p, row);
      if (at != 0 && at - p <= lineLimit) {
        place(row, p, at - p);
        setStatus(row, CHECKED);
        store<u32>(producers + (<usize>row << 2), <u32>(producerAt - input));
        store<u8>(producerLengths + <usize>row, <u8>producerLength);
        takeTexts(row, putReport(contentAt()), producerAt, producerLength, reportIdAt, reportIdLength);
        row++;
        p = at + 1;
      } else {
        const next = lineEnd(p);
        if (next - p > lineLimit) tooLong(row++, p);
        else if (blanks(p) != next) {
          place(row, p, next - p);
          store<i32>(suitesOf + (<usize>row << 2), NO_SUITE);
          if (refused) setStatus(row, QUARANTINED);
          else hostReadLine(row, p, next - p);
          row++;
        }
        p = next + 1;
      }
    }
  }
  cursor = p;
  finishTexts();
  return row;
}

// @ts-ignore: decorator
@inline
function place(row: u32, p: usize, length: usize): void {
  const at = <usize>row << 2;
  store<u32>(lines + at, line);
  store<u32>(offsets + at, <u32>(p - input));
  store<u32>(lengths + at, <u32>length);
  store<u8>(producerLengths + <usize>row, 0);
}

function tooLong(row: u32, p: usize): void {
  place(row, p, 0);
  store<i32>(suitesOf + (<usize>row << 2), NO_SUITE);
  setStatus(row, TOO_LONG);
}

/** The rest of a line that is too long. */
function dropLine(p: usize, row: u32): usize {
  dropping = false;
  tooLong(row, p);
  return lineEnd(p) + 1;
}

/** The line feed at or behind p. */
function lineEnd(p: usize): usize {
  let found = lineFeeds(p);
  while (found == 0) {
    p += 16;
    found = lineFeeds(p);
  }
  return p + <usize>ctz(found);
}

// @ts-ignore: decorator
@inline
function lineFeeds(p: usize): u32 {
  return <u32>i8x16.bitmask(i8x16.eq(v128.load(p), i8x16.splat(0x0a)));
}
