import { blanks, byte, CLOSE_BRACE, COMMA, MINUS, OPEN_BRACE, QUOTE, ZERO } from '../simd-json-wasm/assembly/bytes';
import { numberIsWhole, numberValue, readNumber } from '../simd-json-wasm/assembly/number';
import { TEXT_ESCAPED, textEnd, textKind } from '../simd-json-wasm/assembly/text';
import { allocate, copy } from './blocks';
import { NUMBER_TEXT_BYTES, numberText } from './number-text';
import {
  isCompact, isSorted, keyAt, keyLength, literalLength, MAX_MEMBERS, memberAt, METRICS, orderOf, shapeOf,
} from './shapes';

/**
 * The members of an object of the line that is being read, each with the slice that is its value's RFC 8785 form: a piece of the line, or
 * of `texts` where the line writes a number in another way.
 */

/** A member: node, place and length of its canonical value, the value itself where it is a number. */
export const MEMBER: usize = 24;
const MEMBERS_BYTES: usize = <usize>MAX_MEMBERS * MEMBER;

/** An object: its last node, members, place and end in the line, whether that piece of the line is its canonical form. */
// @ts-ignore: decorator
@unmanaged
export class Members {
  list: usize;
  node: usize;
  count: u32;
  at: usize;
  end: usize;
  plain: bool;
}

/** Texts of numbers of one line. */
const TEXTS_BYTES: usize = 3 * <usize>MAX_MEMBERS * NUMBER_TEXT_BYTES;
let texts: usize = 0;
let textsUsed: usize = 0;

export function startMembers(): void {
  texts = allocate(TEXTS_BYTES);
}

export function createMembers(): Members {
  const members = changetype<Members>(allocate(offsetof<Members>()));
  members.list = allocate(MEMBERS_BYTES);
  return members;
}

/** To be called before each line. */
// @ts-ignore: decorator
@inline
export function beginMembers(): void {
  textsUsed = 0;
}

/** Where the canonical form of the value read last stands, and how long it is. */
export let valueAt: usize = 0;
export let valueLength: usize = 0;

/** The value read last is the piece of the line at p as it stands. */
// @ts-ignore: decorator
@inline
export function takePiece(p: usize, length: usize): void {
  valueAt = p;
  valueLength = length;
}

/** Digits that a double keeps, whatever they are: the same double from no other text of so few. The point is one more byte. */
const SURE_BYTES: usize = 16;

/** Bits at the bytes of a block that are an "e" or "E". */
// @ts-ignore: decorator
@inline
function exponents(p: usize): u32 {
  return <u32>i8x16.bitmask(i8x16.eq(v128.or(v128.load(p), i8x16.splat(0x20)), i8x16.splat(0x65)));
}

/**
 * Reads a number; its value is in numberValue. Plain decimals of at most 15 digits without a trailing zero are what ECMAScript would write,
 * from 10^-6 on; everything else is written anew.
 */
// @ts-ignore: decorator
@inline
export function readCanonicalNumber(p: usize): usize {
  const end = readNumber(p);
  if (end == 0) return 0;
  const length = end - p;
  takePiece(p, length);
  const size = abs(numberValue);
  const plain = numberIsWhole
    ? size < 9007199254740992.0 && (size != 0 || length == 1)
    : length <= SURE_BYTES && size >= 1e-6 && byte(end - 1) != ZERO && (exponents(p) & ((1 << <u32>length) - 1)) == 0;
  return plain || rewriteNumber() ? end : 0;
}

function rewriteNumber(): bool {
  if (textsUsed + NUMBER_TEXT_BYTES > TEXTS_BYTES) return false;
  const at = texts + textsUsed;
  const end = numberText(numberValue, at);
  if (end == 0) return false;
  valueAt = at;
  valueLength = end - at;
  textsUsed += NUMBER_TEXT_BYTES;
  return true;
}

/** Reads a string whose canonical form is what the line holds. Not so are `\/` and `\u`, which the reference reads. */
// @ts-ignore: decorator
@inline
export function readCanonicalText(p: usize): usize {
  const end = textEnd(p + 1);
  if (end == 0 || ((textKind & TEXT_ESCAPED) != 0 && !areShortEscapes(p + 1, end))) return 0;
  takePiece(p, end + 1 - p);
  return end + 1;
}

function areShortEscapes(p: usize, end: usize): bool {
  while (p < end) {
    if (byte(p) == 0x5c) {
      const kind = byte(p + 1);
      if (kind == 0x75 || kind == 0x2f) return false;
      p++;
    }
    p++;
  }
  return true;
}

/** Reads the object at p, whose values are numbers (METRICS) or strings (LABELS). Past it, or 0 where the reference must read the line. */
export function readMembers(object: u32, p: usize, members: Members): usize {
  if (byte(p) != OPEN_BRACE) return 0;
  members.at = p++;
  let node = shapeOf(object);
  let member = members.list;
  let plain = true;
  let count: u32 = 0;
  let more = byte(p) != CLOSE_BRACE;
  if (!more) return emptyMembers(object, p, members);
  while (more) {
    node = memberAt(object, node, p);
    if (node == 0) return 0;
    const literalEnd = p + literalLength(node);
    p = blanks(literalEnd);
    const c = byte(p);
    const start = p;
    if (object == METRICS) {
      if (c - ZERO > 9 && c != MINUS) return 0;
      p = readCanonicalNumber(p);
      store<f64>(member, numberValue, 16);
    } else {
      if (c != QUOTE) return 0;
      p = readCanonicalText(p);
    }
    if (p == 0) return 0;
    store<usize>(member, node);
    store<usize>(member, valueAt, 4);
    store<usize>(member, valueLength, 8);
    plain = plain && start == literalEnd && valueAt == start;
    member += MEMBER;
    count++;
    if (byte(p) <= 0x20) {
      plain = false;
      p = blanks(p);
    }
    more = byte(p) == COMMA;
    p++;
  }
  if (byte(p - 1) != CLOSE_BRACE) return 0;
  members.node = node;
  members.count = count;
  members.end = p;
  if (orderOf(node) == 0) return 0;
  members.plain = plain && isCompact(node) && isSorted(node);
  return p;
}

/** Labels may be empty; an object with blanks in it is left to the reference. */
function emptyMembers(object: u32, p: usize, members: Members): usize {
  if (object == METRICS) return 0;
  members.count = 0;
  members.end = p + 1;
  members.plain = true;
  return p + 1;
}

/** Writes the canonical form; returns its end. Up to 15 bytes behind that are spoiled. */
export function putMembers(to: usize, members: Members): usize {
  if (members.plain) {
    const length = members.end - members.at;
    copy(to, members.at, length);
    return to + length;
  }
  store<u8>(to++, <u8>OPEN_BRACE);
  const order = orderOf(members.node);
  for (let i: u32 = 0; i < members.count; i++) {
    const member = members.list + <usize>load<u16>(order + (<usize>i << 1)) * MEMBER;
    to = putValue(putKey(to, load<usize>(member)), load<usize>(member, 4), load<usize>(member, 8));
  }
  store<u8>(to - 1, <u8>CLOSE_BRACE);
  return to;
}

// @ts-ignore: decorator
@inline
export function putKey(to: usize, node: usize): usize {
  const length = keyLength(node);
  copy(to, keyAt(node), length);
  store<u8>(to + length, 0x3a);
  return to + length + 1;
}

/** The value and a comma. */
// @ts-ignore: decorator
@inline
export function putValue(to: usize, at: usize, length: usize): usize {
  copy(to, at, length);
  store<u8>(to + length, <u8>COMMA);
  return to + length + 1;
}
