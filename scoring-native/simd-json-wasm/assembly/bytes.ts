import { seedA, seedB } from './limits';

/**
 * How lines lie in memory: the byte behind a line is a line feed, and PADDING readable bytes follow. No reader needs to know where the
 * line ends: a line feed is no part of any JSON value, key or blank here, so each stops there by itself.
 */
export const LF: u32 = 0x0a;
export const QUOTE: u32 = 0x22;
export const COMMA: u32 = 0x2c;
export const MINUS: u32 = 0x2d;
export const ZERO: u32 = 0x30;
export const COLON: u32 = 0x3a;
export const OPEN_BRACKET: u32 = 0x5b;
export const BACKSLASH: u32 = 0x5c;
export const CLOSE_BRACKET: u32 = 0x5d;
export const OPEN_BRACE: u32 = 0x7b;
export const CLOSE_BRACE: u32 = 0x7d;

// @ts-ignore: decorator
@inline
export function byte(p: usize): u32 {
  return <u32>load<u8>(p);
}

function skipBlanks(p: usize): usize {
  let c = byte(p);
  while (c == 0x20 || c == 0x09 || c == 0x0d) c = byte(++p);
  return p;
}

/** Past spaces, tabs and carriage returns. */
// @ts-ignore: decorator
@inline
export function blanks(p: usize): usize {
  return byte(p) > 0x20 ? p : skipBlanks(p);
}

/** 16 bytes of 0xff, then 16 of 0: loaded at 16 − n it keeps the first n bytes of a block. */
const KEEP: usize = memory.data<u64>([0xffffffffffffffff, 0xffffffffffffffff, 0, 0]);

// @ts-ignore: decorator
@inline
export function first(n: usize): v128 {
  return v128.load(KEEP + 16 - n);
}

/** Are the `length` bytes at a and b equal? Reads up to 15 bytes past both. */
// @ts-ignore: decorator
@inline
export function same(a: usize, b: usize, length: usize): bool {
  const differ = i8x16.bitmask(i8x16.ne(v128.load(a), v128.load(b)));
  if (length <= 16) return (differ & ((1 << <i32>length) - 1)) == 0;
  return differ == 0 && sameLong(a + 16, b + 16, length - 16);
}

function sameLong(a: usize, b: usize, length: usize): bool {
  while (length > 16) {
    if (v128.any_true(v128.xor(v128.load(a), v128.load(b)))) return false;
    a += 16;
    b += 16;
    length -= 16;
  }
  return !v128.any_true(v128.and(v128.xor(v128.load(a), v128.load(b)), first(length)));
}

/**
 * Keeps a text at `to` as it would stand in the input, `"text":`, so that what is expected next is compared with its quotes in one go; takes
 * length + 3 bytes. A text that needs escapes stands in the input in other bytes: its first quote is 0, which equals nothing. (Without
 * that, the key \ would be found in `"\":…`, where the string goes on.) Returns the place of the text.
 */
export function keepQuoted(p: usize, length: usize, to: usize): usize {
  let quote = QUOTE;
  for (let i: usize = 0; i < length; i++) {
    const c = byte(p + i);
    if (c < 0x20 || c == QUOTE || c == BACKSLASH) quote = 0;
  }
  store<u8>(to, <u8>quote);
  memory.copy(to + 1, p, length);
  store<u16>(to + 1 + length, 0x3a22);
  return to + 1;
}

// @ts-ignore: decorator
@inline
function mix(block: v128, h: u64): u64 {
  const a = (v128.extract_lane<u64>(block, 0) ^ h ^ seedA) * 0x9ddfea08eb382d69;
  const b = (v128.extract_lane<u64>(block, 1) ^ (a >> 29) ^ seedB) * 0xc2b2ae3d27d4eb4f;
  return a ^ b ^ (b >> 32);
}

/** 32 bits of hash of `length` bytes; reads up to 15 past them. */
// @ts-ignore: decorator
@inline
export function hashOf(p: usize, length: usize): u32 {
  return length <= 16 ? <u32>mix(v128.and(v128.load(p), first(length)), length) : hashLong(p, length);
}

function hashLong(p: usize, length: usize): u32 {
  let h: u64 = length;
  while (length > 16) {
    h = mix(v128.load(p), h) * 0x9e3779b97f4a7c15;
    p += 16;
    length -= 16;
  }
  return <u32>mix(v128.and(v128.load(p), first(length)), h);
}
