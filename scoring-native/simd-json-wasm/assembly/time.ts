import { byte, MINUS, ZERO } from './bytes';

/** Milliseconds since the epoch of the text that readTime read; digits behind the millisecond are cut off. */
export let timeMs: i64 = 0;

/** "2026-11-23T10:11:12Z" is the shortest; the longest only bounds the work. */
const MIN_TEXT: usize = 20;
const MAX_TEXT: usize = 64;
const DAY_MS: i64 = 86400000;

/** In the first 16 bytes, YYYY-MM-DDThh:mm, digits stand at 0–3, 5, 6, 8, 9, 11, 12, 14, 15, marks at 4, 7, 13 and the T at 10. */
const DIGITS_MASK: u32 = 0b1101101101101111;
const MARKS_MASK: u32 = 0b0010000010010000;

// @ts-ignore: decorator
@inline
function isDigit(c: u32): bool {
  return c - ZERO <= 9;
}

/** The number in the two digits at p, or 100 where they are none. */
// @ts-ignore: decorator
@inline
function twoDigits(p: usize): u32 {
  const tens = byte(p) - ZERO;
  const ones = byte(p + 1) - ZERO;
  return tens > 9 || ones > 9 ? 100 : tens * 10 + ones;
}

function isLeap(year: u32): bool {
  return (year & 3) == 0 && (year % 100 != 0 || year % 400 == 0);
}

function daysInMonth(year: u32, month: u32): u32 {
  if (month == 2) return isLeap(year) ? 29 : 28;
  return 30 + ((month ^ (month >> 3)) & 1);
}

/** Days since 1970-01-01 in the proleptic Gregorian calendar. Source: Howard Hinnant, date algorithms, days_from_civil. */
// @ts-ignore: decorator
@inline
function daysFromCivil(year: u32, month: u32, day: u32): i64 {
  // 400 years more, so that the January of year 0 stays positive.
  const y = year + 400 - (month <= 2 ? 1 : 0);
  const era = y / 400;
  const yearOfEra = y - era * 400;
  const dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear;
  return <i64>era * 146097 + <i64>dayOfEra - 719468 - 146097;
}

/**
 * Reads an RFC 3339 date-time with a zone of exactly `length` bytes at p, behind which no digit stands (a quote does). Second 60 is
 * refused.
 */
export function readTime(p: usize, length: usize): bool {
  return length >= MIN_TEXT && timeEnd(p) == p + length;
}

/** Past the RFC 3339 date-time at p; 0 where there is none, without a fault: it is a text all the same. */
// @ts-ignore: decorator
@inline
export function timeEnd(p: usize): usize {
  const block = v128.load(p);
  const digits = i8x16.sub(block, i8x16.splat(0x30));
  const wrong = <u32>i8x16.bitmask(i8x16.gt_u(digits, i8x16.splat(9)));
  const marks = <u32>i8x16.bitmask(i8x16.eq(block, i8x16(0, 0, 0, 0, 0x2d, 0, 0, 0x2d, 0, 0, 0, 0, 0, 0x3a, 0, 0)));
  if ((wrong & DIGITS_MASK) != 0 || (marks & MARKS_MASK) != MARKS_MASK) return 0;
  if ((byte(p + 10) | 0x20) != 0x74 || byte(p + 16) != 0x3a) return 0;
  // Pairs of digits into 16-bit lanes: YY YY MM DD hh mm.
  const pairs = i8x16.swizzle(digits, i8x16(0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, -1, -1, -1, -1));
  const tens = i16x8.mul(v128.and(pairs, i16x8.splat(0xff)), i16x8.splat(10));
  const numbers = i16x8.add(tens, i16x8.shr_u(pairs, 8));
  const year = <u32>i16x8.extract_lane_u(numbers, 0) * 100 + <u32>i16x8.extract_lane_u(numbers, 1);
  const month = <u32>i16x8.extract_lane_u(numbers, 2);
  const day = <u32>i16x8.extract_lane_u(numbers, 3);
  const hour = <u32>i16x8.extract_lane_u(numbers, 4);
  const minute = <u32>i16x8.extract_lane_u(numbers, 5);
  const second = twoDigits(p + 17);
  if (month - 1 > 11 || day - 1 >= daysInMonth(year, month) || hour > 23 || minute > 59 || second > 59) return 0;
  timeMs = daysFromCivil(year, month, day) * DAY_MS + <i64>((hour * 60 + minute) * 60 + second) * 1000;
  const end = restEnd(p + 19);
  return end <= p + MAX_TEXT ? end : 0;
}

/** Past the fraction and the zone. */
// @ts-ignore: decorator
@inline
function restEnd(p: usize): usize {
  if (byte(p) == 0x2e) {
    p++;
    if (!isDigit(byte(p))) return 0;
    let unit: u32 = 100;
    let millisecond: u32 = 0;
    while (isDigit(byte(p))) {
      millisecond += (byte(p) - ZERO) * unit;
      unit /= 10;
      p++;
    }
    timeMs += millisecond;
  }
  return (byte(p) | 0x20) == 0x7a ? p + 1 : zoneEnd(p);
}

function zoneEnd(p: usize): usize {
  const sign = byte(p);
  if ((sign != MINUS && sign != 0x2b) || byte(p + 3) != 0x3a) return 0;
  const hours = twoDigits(p + 1);
  const minutes = twoDigits(p + 4);
  if (hours > 23 || minutes > 59) return 0;
  const offset = <i64>(hours * 60 + minutes) * 60000;
  timeMs += sign == MINUS ? offset : -offset;
  return p + 6;
}
