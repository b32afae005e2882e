import { QUOTE, byte } from '../simd-json-wasm/assembly/bytes';

/** Names of reports, producers, models, suites and metrics: 1–64 of [A-Za-z0-9._-]. */
export const MAX_NAME: usize = 64;

/**
 * A byte is in a name if the sets of its upper and its lower half share a bit: 1 for "-" and ".", 2 for digits, 4 for A–O and a–o, 8 for
 * P–Z and "_", 16 for p–z.
 */
const UPPER: v128 = i8x16(0, 0, 1, 2, 4, 8, 4, 16, 0, 0, 0, 0, 0, 0, 0, 0);
const LOWER: v128 = i8x16(26, 30, 30, 30, 30, 30, 30, 30, 30, 30, 28, 4, 4, 5, 5, 12);

/** One bit for each of the 16 bytes at p that no name holds. */
// @ts-ignore: decorator
@inline
function strangers(p: usize): u32 {
  const block = v128.load(p);
  const lower = i8x16.swizzle(LOWER, v128.and(block, i8x16.splat(0x0f)));
  const upper = i8x16.swizzle(UPPER, i8x16.shr_u(block, 4));
  return <u32>i8x16.bitmask(i8x16.eq(v128.and(lower, upper), i8x16.splat(0)));
}

/** The closing quote of the name whose first byte is at p; 0 where it is no name. */
// @ts-ignore: decorator
@inline
export function nameEnd(p: usize): usize {
  const stops = strangers(p);
  const end = stops != 0 ? p + <usize>ctz(stops) : longNameEnd(p + 16, p);
  return end != p && byte(end) == QUOTE ? end : 0;
}

function longNameEnd(p: usize, start: usize): usize {
  let stops = strangers(p);
  while (stops == 0 && p - start <= MAX_NAME) {
    p += 16;
    stops = strangers(p);
  }
  p += <usize>ctz(stops);
  return p - start <= MAX_NAME ? p : start;
}
