import { byte, MINUS, ZERO } from './bytes';
import { roundLong } from './number-exact';
import { nearest } from './number-nearest';
import { fault, JSON_SYNTAX, NUMBER } from './fault';

/** The IEEE double nearest the literal that readNumber read, ties to even. */
export let numberValue: f64 = 0;
/** Had the literal neither point nor exponent? */
export let numberIsWhole: bool = false;

/** Digits that 64 bits hold, whatever they are. */
const WORD_DIGITS: usize = 19;
/** Integers up to 2^53 and powers of ten up to 10^22 are doubles, so one product or quotient of them rounds once (Clinger 1990). */
const EXACT_MANTISSA: u64 = 1 << 53;
const EXACT_POWER: i64 = 22;
const POINT: u32 = 0x2e;
/** Exponents beyond this are as good as infinite, since no line has that many digits. */
const EXPONENT_LIMIT: i64 = 1 << 40;

const POWERS: usize = memory.data<f64>([
  1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
  1e21, 1e22,
]);
const WHOLE_POWERS: usize = memory.data<u64>([1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000]);

/** The high bit of each byte of x that is not 0…9. */
// @ts-ignore: decorator
@inline
function notDigits(x: u64): u64 {
  return (((x & 0x7f7f7f7f7f7f7f7f) + 0x7676767676767676) | x) & 0x8080808080808080;
}

/** Eight bytes 0…9, the first in the lowest byte, as a number (Lemire, "Quickly parsing eight digits", 2018). */
// @ts-ignore: decorator
@inline
function eightDigits(x: u64): u64 {
  const pairs = x * 10 + (x >> 8);
  return (
    ((pairs & 0x000000ff000000ff) * 0x000f424000000064 + ((pairs >> 16) & 0x000000ff000000ff) * 0x0000271000000001) >> 32
  );
}

// @ts-ignore: decorator
@inline
function isDigit(c: u32): bool {
  return c - ZERO <= 9;
}

/** The number in the run of digits that x begins with, of which there are n. */
// @ts-ignore: decorator
@inline
function firstDigits(x: u64, n: usize): u64 {
  return eightDigits(x << ((8 - n) << 3));
}

// @ts-ignore: decorator
@inline
function countDigits(x: u64): usize {
  return <usize>(ctz(notDigits(x)) >> 3);
}

// @ts-ignore: decorator
@inline
function digitsAt(p: usize): u64 {
  return load<u64>(p) ^ 0x3030303030303030;
}

/** Reads the number that starts at p with a minus or a digit. */
export function readNumber(p: usize): usize {
  const start = p;
  let sign: u64 = 0;
  let c = byte(p);
  if (c == MINUS) {
    sign = 1 << 63;
    c = byte(++p);
  }
  const whole = p;
  let m = <u64>(c - ZERO);
  if (m > 9) return broken(p, start);
  c = byte(++p);
  if (isDigit(c)) {
    if (m == 0) return fault(JSON_SYNTAX, start);
    const x = digitsAt(p);
    const n = countDigits(x);
    m = m * load<u64>(WHOLE_POWERS + (n << 3)) + firstDigits(x, n);
    p += n;
    c = byte(p);
    if (n == 8 && isDigit(c)) return readLong(start, whole);
  }
  let count = p - whole;
  let decimals: usize = 0;
  if (c == POINT) {
    const point = p++;
    let n: usize = 8;
    while (n == 8) {
      const x = digitsAt(p);
      n = countDigits(x);
      m = m * load<u64>(WHOLE_POWERS + (n << 3)) + (n == 0 ? 0 : firstDigits(x, n));
      p += n;
    }
    decimals = p - point - 1;
    if (decimals == 0) return broken(p, start);
    count += decimals;
    c = byte(p);
  }
  if ((c | 0x20) == 0x65 || count > WORD_DIGITS) return readRest(start, whole, p, m, decimals, count);
  numberIsWhole = decimals == 0;
  if (m <= EXACT_MANTISSA) {
    // At most 18 decimals here.
    const value = <f64>(<i64>m) / load<f64>(POWERS + (decimals << 3));
    numberValue = reinterpret<f64>(reinterpret<u64>(value) | sign);
  } else {
    numberValue = reinterpret<f64>(nearest(m, -(<i64>decimals)) | sign);
  }
  return p;
}

/** As readNumber, where there are more than nine digits before the point. */
function readLong(start: usize, whole: usize): usize {
  let p = whole;
  let m: u64 = 0;
  while (isDigit(byte(p))) m = m * 10 + (byte(p++) - ZERO);
  let count = p - whole;
  let decimals: usize = 0;
  if (byte(p) == POINT) {
    const point = p++;
    while (isDigit(byte(p))) m = m * 10 + (byte(p++) - ZERO);
    decimals = p - point - 1;
    if (decimals == 0) return broken(p, start);
    count += decimals;
  }
  return readRest(start, whole, p, m, decimals, count);
}

/**
 * Reads an exponent at `end`, the place behind the digits, if there is one, and rounds. `mantissa` has wrapped where `count` digits are too
 * many for it.
 */
function readRest(start: usize, whole: usize, end: usize, mantissa: u64, decimals: usize, count: usize): usize {
  let p = end;
  numberIsWhole = decimals == 0;
  let exponent: i64 = 0;
  if ((byte(p) | 0x20) == 0x65) {
    numberIsWhole = false;
    let c = byte(++p);
    const down = c == MINUS;
    if (down || c == 0x2b) c = byte(++p);
    if (!isDigit(c)) return fault(JSON_SYNTAX, p);
    while (isDigit(c)) {
      if (exponent < EXPONENT_LIMIT) exponent = exponent * 10 + <i64>(c - ZERO);
      c = byte(++p);
    }
    if (down) exponent = -exponent;
  }
  const power = exponent - <i64>decimals;
  let bits: u64;
  if (count > WORD_DIGITS) bits = roundLong(whole, end, power);
  else if (mantissa <= EXACT_MANTISSA && power >= -EXACT_POWER && power <= EXACT_POWER) {
    const m = <f64>(<i64>mantissa);
    const scale = load<f64>(POWERS + (<usize>abs(power) << 3));
    bits = reinterpret<u64>(power < 0 ? m / scale : m * scale);
  } else bits = nearest(mantissa, power);
  if (bits >= 0x7ff0000000000000) return fault(NUMBER, start);
  const sign: u64 = whole == start ? 0 : 1 << 63;
  numberValue = reinterpret<f64>(bits | sign);
  return p;
}

function broken(p: usize, start: usize): usize {
  if (load<u64>(start) == 0x74696e69666e492d && byte(start + 8) == 0x79) return fault(NUMBER, start);
  return fault(JSON_SYNTAX, p);
}
