import { byte, ZERO } from './bytes';
import { nearest } from './number-nearest';

/**
 * Numbers of more than 19 digits. The first 19 nearly always decide; where they do not, the literal is compared with the point half-way
 * between the two doubles that are left, in exact integers.
 */

/** No point half-way between two doubles has more significant digits than 767; what follows can only say "and more". */
const DIGITS_LIMIT: u32 = 770;
/** 32-bit limbs, lowest first. The largest number here is (2^54) · 5^1094 · 2^k or 770 digits · 2^k, all below 2^6000. */
const LIMBS: i32 = 256;
const LEFT: usize = memory.data(LIMBS << 2, 16);
const RIGHT: usize = memory.data(LIMBS << 2, 16);

/** `at` × factor + more, with `count` limbs; returns the new count. */
function multiplyAdd(at: usize, count: usize, factor: u32, more: u32): usize {
  let carry: u64 = more;
  for (let i: usize = 0; i < count; i++) {
    carry += <u64>load<u32>(at + (i << 2)) * factor;
    store<u32>(at + (i << 2), <u32>carry);
    carry >>= 32;
  }
  if (carry != 0) store<u32>(at + (count++ << 2), <u32>carry);
  return count;
}

function timesFive(at: usize, count: usize, power: i64): usize {
  while (power >= 13) {
    count = multiplyAdd(at, count, 1220703125, 0);
    power -= 13;
  }
  while (power > 0) {
    count = multiplyAdd(at, count, 5, 0);
    power--;
  }
  return count;
}

function timesTwo(at: usize, count: usize, power: i64): usize {
  const limbs = <usize>(power >> 5);
  if (limbs > 0 && count > 0) {
    memory.copy(at + (limbs << 2), at, count << 2);
    memory.fill(at, 0, limbs << 2);
    count += limbs;
  }
  return multiplyAdd(at, count, 1 << <u32>(power & 31), 0);
}

/** −1, 0 or 1 as the literal's digits × 10^power are less than, equal to or more than half × 2^exponent. */
function compare(count: usize, power: i64, half: u64, exponent: i64): i32 {
  store<u64>(RIGHT, half);
  let other: usize = half >> 32 != 0 ? 2 : 1;
  if (power >= 0) count = timesFive(LEFT, count, power);
  else other = timesFive(RIGHT, other, -power);
  const shift = power - exponent;
  if (shift >= 0) count = timesTwo(LEFT, count, shift);
  else other = timesTwo(RIGHT, other, -shift);
  if (count != other) return count < other ? -1 : 1;
  let order: i32 = 0;
  for (let i = count; i > 0 && order == 0; i--) {
    const a = load<u32>(LEFT + ((i - 1) << 2));
    const b = load<u32>(RIGHT + ((i - 1) << 2));
    if (a != b) order = a < b ? -1 : 1;
  }
  return order;
}

/** The bits of the double nearest the digits in [p, end), which may hold a point, × 10^power; `power` counts from the last digit. */
export function roundLong(p: usize, end: usize, power: i64): u64 {
  let word: u64 = 0;
  let wordDigits: i64 = 0;
  let limbs: usize = 0;
  let kept: u32 = 0;
  let digits: i64 = 0;
  /** Is there a digit other than 0 behind the 19, behind the 770? */
  let moreThanWord = false;
  let moreThanKept = false;
  while (p < end) {
    const c = byte(p++) - ZERO;
    if (c <= 9 && (c != 0 || digits > 0)) {
      digits++;
      if (wordDigits < 19) {
        word = word * 10 + c;
        wordDigits++;
      } else if (c != 0) moreThanWord = true;
      if (kept < DIGITS_LIMIT) {
        limbs = multiplyAdd(LEFT, limbs, 10, c);
        kept++;
      } else if (c != 0) moreThanKept = true;
    }
  }
  const below = nearest(word, power + digits - wordDigits);
  if (!moreThanWord) return below;
  const above = nearest(word + 1, power + digits - wordDigits);
  if (below == above) return below;
  // Of doubles that differ the upper is the next of the lower: 19 digits are finer than 53 bits.
  let last = power + digits - <i64>kept;
  if (moreThanKept) {
    limbs = multiplyAdd(LEFT, limbs, 10, 1);
    last--;
  }
  const exponent = <i64>(below >> 52);
  const fraction = below & 0xfffffffffffff;
  const mantissa = exponent == 0 ? fraction : fraction | (1 << 52);
  const order = compare(limbs, last, (mantissa << 1) | 1, max<i64>(exponent, 1) - 1076);
  if (order == 0) return (below & 1) == 0 ? below : above;
  return order < 0 ? below : above;
}
