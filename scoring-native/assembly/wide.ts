/** Exact sums of 128 bits, two's complement: the lower 64 bits, then the upper. */

/** Adds a signed 64-bit number. The upper half is left alone where nothing is carried into it, which is nearly always. */
// @ts-ignore: decorator
@inline
export function addSmall(at: usize, x: i64): void {
  const low = load<u64>(at);
  const sum = low + <u64>x;
  store<u64>(at, sum);
  const carry = (x >> 63) + <i64>(sum < low);
  if (carry != 0) store<i64>(at, load<i64>(at, 8) + carry, 8);
}

/** Adds a 128-bit number. */
// @ts-ignore: decorator
@inline
export function addWide(at: usize, low: u64, high: i64): void {
  const sum = load<u64>(at) + low;
  store<u64>(at, sum);
  store<i64>(at, load<i64>(at, 8) + high + <i64>(sum < low), 8);
}

/** |q| below this has w·q² below 2^62, w being at most 2^20. */
const SMALL_Q: i64 = 1 << 21;

/** Adds wq × q, which have one sign; |wq| ≤ 2^60 and |q| ≤ 2^40. */
// @ts-ignore: decorator
@inline
export function addProduct(at: usize, wq: i64, q: i64): void {
  if (<u64>(q + SMALL_Q) < <u64>(SMALL_Q * 2)) {
    const low = load<u64>(at);
    const sum = low + <u64>(wq * q);
    store<u64>(at, sum);
    if (sum < low) store<i64>(at, load<i64>(at, 8) + 1, 8);
  } else addLargeProduct(at, <u64>abs(wq), <u64>abs(q));
}

function addLargeProduct(at: usize, a: u64, b: u64): void {
  const a0 = a & 0xffffffff;
  const a1 = a >> 32;
  const b0 = b & 0xffffffff;
  const b1 = b >> 32;
  const p00 = a0 * b0;
  const middle = (p00 >> 32) + ((a0 * b1) & 0xffffffff) + ((a1 * b0) & 0xffffffff);
  const high = a1 * b1 + ((a0 * b1) >> 32) + ((a1 * b0) >> 32) + (middle >> 32);
  addWide(at, (middle << 32) | (p00 & 0xffffffff), <i64>high);
}
