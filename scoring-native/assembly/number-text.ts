import { MIN_POWER, POWERS_OF_FIVE } from '../simd-json-wasm/assembly/powers-of-five';

/**
 * A double as ECMAScript's Number::toString writes it, which is what RFC 8785 asks for: the shortest digits that read back as the same
 * double, of those the nearest. Source of the digits: Giulietti, "The Schubfach way to render doubles" (2021), in the form of Drachennest.
 */

/** Room for what numberText writes: at most "-0.0000012345678901234567". */
export const NUMBER_TEXT_BYTES: usize = 32;

/** Below this the powers that the digits need are not in the table; numberText refuses. */
const SMALLEST: f64 = 1e-290;

/** Powers whose 128 bits are exact; the others are cut off and need one more to be rounded up, but for those rounded up already. */
const EXACT_TO: i32 = 55;
const ROUNDED_FROM: i32 = -27;

let digits: u64 = 0;
let exponent: i32 = 0;
let high: u64 = 0;

/** The upper 64 bits of a × b in `high`; returns the lower. */
// @ts-ignore: decorator
@inline
function multiply(a: u64, b: u64): u64 {
  const a0 = a & 0xffffffff;
  const a1 = a >> 32;
  const b0 = b & 0xffffffff;
  const b1 = b >> 32;
  const p00 = a0 * b0;
  const p01 = a0 * b1;
  const p10 = a1 * b0;
  const middle = (p00 >> 32) + (p01 & 0xffffffff) + (p10 & 0xffffffff);
  high = a1 * b1 + (p01 >> 32) + (p10 >> 32) + (middle >> 32);
  return (middle << 32) | (p00 & 0xffffffff);
}

/** The upper 64 of the 192 bits of power × factor, the last of them set where anything below is. */
// @ts-ignore: decorator
@inline
function roundToOdd(powerHigh: u64, powerLow: u64, factor: u64): u64 {
  multiply(powerLow, factor);
  const carry = high;
  let middle = multiply(powerHigh, factor);
  let upper = high;
  middle += carry;
  if (middle < carry) upper++;
  return upper | <u64>(middle > 1);
}

// @ts-ignore: decorator
@inline
function floorLog2Pow10(e: i32): i32 {
  return (e * 1741647) >> 19;
}

/** Leaves in `digits` × 10^`exponent` the shortest decimal of a positive finite double not below SMALLEST. */
function shortest(bits: u64): void {
  const fraction = bits & 0xfffffffffffff;
  const c = fraction | (1 << 52);
  const q = <i32>(bits >> 52) - 1075;
  if (q <= 0 && q > -53 && <i64>ctz(c) >= <i64>-q) {
    digits = c >> <u64>-q;
    exponent = 0;
    return;
  }
  const odd = c & 1;
  const closer = <u64>(fraction == 0);
  const k = (q * 1262611 - <i32>closer * 524031) >> 22;
  const h = <u64>(q + floorLog2Pow10(-k) + 1);
  const power = POWERS_OF_FIVE + (<usize>(-k - MIN_POWER) << 4);
  let powerHigh = load<u64>(power);
  let powerLow = load<u64>(power, 8);
  if (-k > EXACT_TO || -k < ROUNDED_FROM) {
    powerLow++;
    if (powerLow == 0) powerHigh++;
  }
  const lower = roundToOdd(powerHigh, powerLow, (4 * c - 2 + closer) << h) + odd;
  const middle = roundToOdd(powerHigh, powerLow, (4 * c) << h);
  const upper = roundToOdd(powerHigh, powerLow, (4 * c + 2) << h) - odd;
  const s = middle >> 2;
  exponent = k;
  if (s >= 10) {
    const ten = s / 10;
    const under = lower <= 40 * ten;
    const over = 40 * ten + 40 <= upper;
    if (under != over) {
      digits = ten + <u64>over;
      exponent = k + 1;
      return;
    }
  }
  const under = lower <= 4 * s;
  const over = 4 * s + 4 <= upper;
  const half = 4 * s + 2;
  const up = under != over ? over : middle > half || (middle == half && (s & 1) != 0);
  digits = s + <u64>up;
}

/** Writes exactly `count` digits of n at p. */
function putDigits(p: usize, n: u64, count: i32): void {
  let at = p + count;
  let upper = n;
  // Halves of 32 bits: those are divided by products.
  while (upper >= 1000000000) {
    const next = upper / 100000000;
    let lower = <u32>(upper - next * 100000000);
    upper = next;
    for (let i = 0; i < 8; i++) {
      const tenth = lower / 10;
      store<u8>(--at, <u8>(0x30 + lower - tenth * 10));
      lower = tenth;
    }
  }
  let rest = <u32>upper;
  while (at > p) {
    const tenth = rest / 10;
    store<u8>(--at, <u8>(0x30 + rest - tenth * 10));
    rest = tenth;
  }
}

function countDigits(n: u64): i32 {
  let count: i32 = 1;
  let power: u64 = 10;
  while (n >= power && count < 19) {
    power *= 10;
    count++;
  }
  return count;
}

function fillZeros(p: usize, count: i32): usize {
  memory.fill(p, 0x30, count);
  return p + count;
}

/** Writes the text of a finite double at p; returns its end, or 0 where the double is too small for it (above 0, below 1e-290). */
export function numberText(value: f64, p: usize): usize {
  if (value == 0) {
    store<u8>(p, 0x30);
    return p + 1;
  }
  let at = p;
  if (value < 0) store<u8>(at++, 0x2d);
  const size = abs(value);
  if (size < SMALLEST) return 0;
  shortest(reinterpret<u64>(size));
  let n = digits;
  let e = exponent;
  if (n % 10 == 0) {
    do {
      n /= 10;
      e++;
    } while (n % 10 == 0);
  }
  const count = countDigits(n);
  const point = count + e;
  if (e >= 0 && point <= 21) {
    putDigits(at, n, count);
    return fillZeros(at + count, e);
  }
  if (point > 0 && point <= 21) {
    putDigits(at + 1, n, count);
    memory.copy(at, at + 1, point);
    store<u8>(at + point, 0x2e);
    return at + count + 1;
  }
  if (point > -6 && point <= 0) {
    store<u16>(at, 0x2e30);
    at = fillZeros(at + 2, -point);
    putDigits(at, n, count);
    return at + count;
  }
  putDigits(at + 1, n, count);
  store<u8>(at, load<u8>(at + 1));
  if (count > 1) store<u8>(at + 1, 0x2e);
  at += count > 1 ? <usize>count + 1 : 1;
  store<u8>(at, 0x65);
  const power = point - 1;
  store<u8>(at + 1, power < 0 ? 0x2d : 0x2b);
  const size10 = abs<i32>(power);
  const length = size10 >= 100 ? 3 : size10 >= 10 ? 2 : 1;
  putDigits(at + 2, size10, length);
  return at + 2 + length;
}
