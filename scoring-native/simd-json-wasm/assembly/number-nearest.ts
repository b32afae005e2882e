import { MAX_POWER, MIN_POWER, POWERS_OF_FIVE } from './powers-of-five';

/**
 * Source: Lemire, "Number Parsing at a Gigabyte per Second" (2021); that no case is left over: Mushtak and Lemire, "Fast Number Parsing
 * Without Fallback" (2022).
 */

let low: u64 = 0;

/** The upper 64 bits of a × b; the lower are left in `low`. */
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
  low = (middle << 32) | (p00 & 0xffffffff);
  return a1 * b1 + (p01 >> 32) + (p10 >> 32) + (middle >> 32);
}

const INFINITY: u64 = 0x7ff0000000000000;

/** The bits of the double nearest w × 10^q, ties to even; those of infinity where it is beyond the largest. */
export function nearest(w: u64, q: i64): u64 {
  if (w == 0 || q < MIN_POWER) return 0;
  if (q > MAX_POWER) return INFINITY;
  const shift = clz(w);
  const normal = w << shift;
  const power = POWERS_OF_FIVE + (<usize>(q - MIN_POWER) << 4);
  let upper = multiply(normal, load<u64>(power));
  let lower = low;
  // The product is cut off; only where all bits that rounding looks at are ones can the next 64 of the power change them.
  if ((upper & 0x1ff) == 0x1ff) {
    const more = multiply(normal, load<u64>(power, 8));
    lower += more;
    if (more > lower) upper++;
  }
  const upperBit = upper >> 63;
  let mantissa = upper >> (upperBit + 9);
  // floor(q · log2(10)) + 63, then the bias of a double.
  let exponent = <i64>((217706 * q) >> 16) + 63 + <i64>upperBit - <i64>shift + 1023;
  if (exponent <= 0) {
    if (1 - exponent >= 64) return 0;
    mantissa >>= 1 - exponent;
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    // 2^52 here is the smallest normal number: its bits are those of exponent 1.
    return mantissa;
  }
  // Exactly half-way: 5^q has to fit into the word for that.
  if (lower <= 1 && q >= -4 && q <= 23 && (mantissa & 3) == 1 && mantissa << (upperBit + 9) == upper) mantissa &= ~1;
  mantissa = (mantissa + (mantissa & 1)) >> 1;
  if (mantissa >= 1 << 53) {
    mantissa = 1 << 52;
    exponent++;
  }
  if (exponent >= 0x7ff) return INFINITY;
  return (<u64>exponent << 52) | (mantissa & 0xfffffffffffff);
}
