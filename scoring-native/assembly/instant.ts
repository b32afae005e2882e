import { byte, QUOTE, ZERO } from '../simd-json-wasm/assembly/bytes';
import { readTime, timeMs } from '../simd-json-wasm/assembly/time';

/** RFC 3339, with a memory of the last minute: reports come in about the order of time, so most lines share it with the one before. */
export const NO_INSTANT: i64 = i64.MIN_VALUE;
const MINUTE_MS: i64 = 60000;

/** "YYYY-MM-DDThh:mm" of the last minute in UTC, and its milliseconds since the epoch. */
const LAST: usize = memory.data(16, 16);
let lastMs: i64 = 0;

/** Is at p an instant of that minute with milliseconds and Z, and a quote behind it? */
// @ts-ignore: decorator
@inline
export function isSoon(p: usize): bool {
  return !v128.any_true(v128.xor(v128.load(p), v128.load(LAST))) && isSecond(p) && byte(p + 24) == QUOTE;
}

/** Milliseconds since the epoch, where isSoon. */
// @ts-ignore: decorator
@inline
export function soon(p: usize): i64 {
  return lastMs + <i64>milliseconds(p);
}

/** Is the rest ":ss.mmmZ"? */
// @ts-ignore: decorator
@inline
function isSecond(p: usize): bool {
  const rest = load<u64>(p + 16);
  const digits = rest ^ 0x7a3030302e30303a;
  // Each of the five is at most 9, the first below 6; a "Z" differs from "z" by one bit.
  return (
    (digits & 0xdff0f0f0fff0f0ff) == 0 &&
    ((digits + 0x0006060600060600) & 0x00f0f0f000f0f000) == 0 &&
    (digits & 0xff00) < 0x0600
  );
}

// @ts-ignore: decorator
@inline
function milliseconds(p: usize): u32 {
  const seconds = (byte(p + 17) - ZERO) * 10 + byte(p + 18) - ZERO;
  return seconds * 1000 + (byte(p + 20) - ZERO) * 100 + (byte(p + 21) - ZERO) * 10 + byte(p + 22) - ZERO;
}

/** Milliseconds since the epoch of the `length` bytes at p, behind which a quote stands; NO_INSTANT where they are no instant. */
export function readInstant(p: usize, length: usize): i64 {
  if (!readTime(p, length)) return NO_INSTANT;
  if ((byte(p + length - 1) | 0x20) == 0x7a) {
    v128.store(LAST, v128.load(p));
    const rest = timeMs % MINUTE_MS;
    lastMs = timeMs - (rest < 0 ? rest + MINUTE_MS : rest);
  }
  return timeMs;
}
