/**
 * 128 bits of a text under secret random numbers, for work that publishes no digest: NH (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC",
 * 1999) twice over pieces of 1 KiB, folded by odd multipliers. Two texts agree in it with odds of about 2^-64 whoever chose them, since
 * nobody knows the numbers; it never leaves the process.
 */
const PIECE: usize = 1024;
/** As many random bytes as a piece, and 32 more for the second pass. */
export const SECRET_BYTES: usize = 1024 + 32 + 64;
const SECRET: usize = memory.data(1120, 16);

export function secretAt(): usize {
  return SECRET;
}

let upper: u64 = 0;
let lower: u64 = 0;

// @ts-ignore: decorator
@inline
function pairs(a: v128, b: v128, key: usize): v128 {
  const x = i32x4.add(a, v128.load(key));
  const y = i32x4.add(b, v128.load(key + 16));
  return i64x2.add(i64x2.extmul_low_i32x4_u(x, y), i64x2.extmul_high_i32x4_u(x, y));
}

// @ts-ignore: decorator
@inline
function sum(x: v128): u64 {
  return v128.extract_lane<u64>(x, 0) + v128.extract_lane<u64>(x, 1);
}

// @ts-ignore: decorator
@inline
function odd(i: usize): u64 {
  return load<u64>(SECRET + 1056 + (i << 3)) | 1;
}

// @ts-ignore: decorator
@inline
function fold(state: u64, part: u64, i: usize): u64 {
  const x = (state ^ part) * odd(i);
  return x ^ (x >> 32);
}

/** The bytes [p, p + length), at most a piece, of which the last 32 may reach past the end into zeroes. */
function piece(p: usize, length: usize): void {
  let one = i64x2.splat(0);
  let two = i64x2.splat(0);
  let key = SECRET;
  const end = p + length;
  while (p < end) {
    const a = v128.load(p);
    const b = v128.load(p + 16);
    one = i64x2.add(one, pairs(a, b, key));
    two = i64x2.add(two, pairs(a, b, key + 32));
    p += 32;
    key += 32;
  }
  upper = fold(upper, sum(one), 0);
  lower = fold(lower, sum(two), 1);
}

/** Writes 16 bytes of fingerprint of the text at p to `to`. Up to 32 bytes behind the text are spoiled. */
export function fingerprint(p: usize, length: usize, to: usize): void {
  v128.store(p + length, i64x2.splat(0));
  v128.store(p + length + 16, i64x2.splat(0));
  upper = odd(2);
  lower = odd(3);
  const end = p + length;
  while (end - p > PIECE) {
    piece(p, PIECE);
    p += PIECE;
  }
  piece(p, end - p);
  upper = fold(upper, length, 4);
  lower = fold(lower, length, 5);
  store<u64>(to, upper ^ (upper >> 29));
  store<u64>(to, lower ^ (lower >> 29), 8);
}
