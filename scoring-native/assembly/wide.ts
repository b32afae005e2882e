/** Exact sums of 128 bits, two's complement: the lower 64 bits, then the upper. */

/** Adds a signed 64-bit number. */
// @ts-ignore: decorator
@inline
export function addSmall(at: usize, x: i64): void {
  const low = load<u64>(at);
  const sum = low + <u64>x;
  store<u64>(at, sum);
  store<i64>(at, load<i64>(at, 8) + (x >> 63) + <i64>(sum < low), 8);
}

/** Adds a 128-bit number. */
// @ts-ignore: decorator
@inline
export function addWide(at: usize, low: u64, high: i64): void {
  const sum = load<u64>(at) + low;
  store<u64>(at, sum);
  store<i64>(at, load<i64>(at, 8) + high + <i64>(sum < low), 8);
}

/** Adds a × b, a ≤ 2^60 and b ≤ 2^40. */
// @ts-ignore: decorator
@inline
export function addProduct(at: usize, a: u64, b: u64): void {
  if (clz(a) + clz(b) >= 64) {
    const low = load<u64>(at);
    const sum = low + a * b;
    store<u64>(at, sum);
    if (sum < low) store<i64>(at, load<i64>(at, 8) + 1, 8);
  } else addLargeProduct(at, a, b);
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
