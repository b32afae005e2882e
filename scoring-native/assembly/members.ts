import { blanks, byte, CLOSE_BRACE, COMMA, MINUS, OPEN_BRACE, QUOTE, ZERO } from '../simd-json-wasm/assembly/bytes';
import { numberIsWhole, numberValue, readNumber } from '../simd-json-wasm/assembly/number';
import { TEXT_ESCAPED, textEnd, textKind, textStops } from '../simd-json-wasm/assembly/text';
import { allocate, copy } from './blocks';
import { NUMBER_TEXT_BYTES, numberText } from './number-text';
import {
  isCompact, isSorted, keyAt, keyLength, literalLength, MAX_MEMBERS, memberAt, METRICS, orderOf, shapeOf,
} from './shapes';
import { refuse } from './verdict';

/**
 * The members of an object of the line that is being read, each with the slice that is its value's RFC 8785 form: a piece of the line, or
 * of `texts` where the line writes a number in another way.
 */

/** A member: node, place and length of its canonical value, the value itself where it is a number. */
export const MEMBER: usize = 24;
export const MEMBER_NUMBER: usize = 16;
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

/** Bytes read at a time: 15 of a number, of which no two different digits are the same double. */
const BLOCK: i32 = 16;
/** 10^k is a double, so that digits / 10^k is rounded once, correctly (Clinger 1990). */
const POWERS: usize = memory.data<f64>([1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15]);

/** The number read last. */
export let numberRead: f64 = 0;

/**
 * Reads a number. Plain decimals of at most 15 bytes without a trailing zero, from 10^-6 on, are what ECMAScript would write; they are
 * read here, 16 bytes at a time. Everything else is read by readNumber and written anew.
 */
// @ts-ignore: decorator
@inline
export function readCanonicalNumber(p: usize): usize {
  const negative = byte(p) == MINUS;
  const start = p + <usize>negative;
  const block = i8x16.sub(v128.load(start), i8x16.splat(0x30));
  const areDigits = i8x16.le_u(block, i8x16.splat(9));
  const arePoints = i8x16.eq(block, i8x16.splat(-2));
  // Where the next member is hangs on this; the checks below do not hold it up.
  const length = <u32>ctz(~(<u32>i8x16.bitmask(v128.or(areDigits, arePoints))));
  const end = start + <usize>length;
  const digits = <u32>i8x16.bitmask(areDigits);
  const points = <u32>i8x16.bitmask(arePoints) & ((1 << length) - 1);
  // A digit first, no second point, a digit behind the point, no digit behind a leading zero.
  const faults = (~digits & 1) | (points & (points - 1)) | ((points << 1) & ~digits) | ((digits >> 1) & <u32>(byte(start) == ZERO));
  if (faults == 0 && length < <u32>BLOCK && (byte(end) | 0x20) != 0x65 && (points == 0 || byte(end - 1) != ZERO)) {
    const point = points == 0 ? -BLOCK : <i32>ctz(points);
    const decimals = points == 0 ? 0 : <i32>length - point - 1;
    const size = <f64>(<i64>withoutPoint(block, length, point)) / load<f64>(POWERS + (<usize>decimals << 3));
    if (size >= 1e-6 || (points == 0 && !negative)) {
      numberRead = negative ? -size : size;
      takePiece(p, end - p);
      return end;
    }
  }
  return readOtherNumber(p);
}

/** The first `length` bytes of a block as a number, without the one at `point`. */
// @ts-ignore: decorator
@inline
function withoutPoint(block: v128, length: u32, point: i32): u64 {
  // The last byte goes to the last lane; those up to the point lie one lane further back, over it.
  const places = i8x16.sub(i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), i8x16.splat(<i8>(16 - length)));
  const digits = i8x16.swizzle(block, i8x16.add(places, i8x16.le_s(places, i8x16.splat(<i8>point))));
  const tens = i16x8.mul(v128.and(digits, i16x8.splat(0xff)), i16x8.splat(10));
  const hundreds = i32x4.dot_i16x8_s(i16x8.add(tens, i16x8.shr_u(digits, 8)), i16x8(100, 1, 100, 1, 100, 1, 100, 1));
  const eights = i32x4.dot_i16x8_s(i16x8.narrow_i32x4_u(hundreds, hundreds), i16x8(10000, 1, 10000, 1, 10000, 1, 10000, 1));
  return <u64>i32x4.extract_lane(eights, 0) * 100000000 + <u64>i32x4.extract_lane(eights, 1);
}

function readOtherNumber(p: usize): usize {
  const end = readNumber(p);
  if (end == 0) return refuse();
  numberRead = numberValue;
  takePiece(p, end - p);
  return isDigits(p, end) || rewriteNumber() ? end : 0;
}

/** Only digits, up to 2^53: what ECMAScript would write. */
function isDigits(p: usize, end: usize): bool {
  return numberIsWhole && abs(numberValue) < 9007199254740992.0 && (numberValue != 0 || end - p == 1);
}

function rewriteNumber(): bool {
  if (textsUsed + NUMBER_TEXT_BYTES > TEXTS_BYTES) return false;
  const at = texts + textsUsed;
  const end = numberText(numberRead, at);
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
  let at = p + 1;
  let stops = textStops(at);
  while (stops == 0) {
    at += 16;
    stops = textStops(at);
  }
  at += <usize>ctz(stops);
  if (byte(at) != QUOTE) {
    at = unusualText(p + 1);
    if (at == 0) return 0;
  }
  takePiece(p, at + 1 - p);
  return at + 1;
}

/** The closing quote of a string with escapes or characters beyond ASCII, or 0. */
function unusualText(p: usize): usize {
  const end = textEnd(p);
  if (end == 0) return refuse();
  return (textKind & TEXT_ESCAPED) == 0 || areShortEscapes(p, end) ? end : 0;
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

/** Reads the object at p, whose values are numbers (METRICS) or strings (LABELS). Past it, or 0. */
export function readMembers(object: u32, p: usize, members: Members): usize {
  if (byte(p) != OPEN_BRACE) return refuse();
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
    if (object == METRICS) {
      if (c - ZERO > 9 && c != MINUS) return refuse();
      p = readCanonicalNumber(p);
      store<f64>(member, numberRead, MEMBER_NUMBER);
    } else {
      if (c != QUOTE) return refuse();
      p = readCanonicalText(p);
    }
    if (p == 0) return 0;
    noteMember(member, node);
    plain = plain && valueAt == literalEnd;
    member += MEMBER;
    count++;
    if (byte(p) <= 0x20) {
      plain = false;
      p = blanks(p);
    }
    more = byte(p) == COMMA;
    p++;
  }
  if (byte(p - 1) != CLOSE_BRACE) return refuse();
  members.node = node;
  members.count = count;
  members.end = p;
  if (orderOf(node) == 0) return 0;
  members.plain = plain && isCompact(node) && isSorted(node);
  return p;
}

/** Notes the member whose value was read last. */
// @ts-ignore: decorator
@inline
export function noteMember(member: usize, node: usize): void {
  store<usize>(member, node);
  store<usize>(member, valueAt, 4);
  store<usize>(member, valueLength, 8);
}

/** Labels may be empty; an object with blanks in it is left to the reference. */
function emptyMembers(object: u32, p: usize, members: Members): usize {
  if (object == METRICS) return refuse();
  members.count = 0;
  members.end = p + 1;
  members.plain = true;
  return p + 1;
}

/** Writes the canonical form; returns its end. Up to COPY_SPILL bytes behind that are spoiled. */
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
    to = putMember(to, member);
  }
  store<u8>(to - 1, <u8>CLOSE_BRACE);
  return to;
}

/** Key, value and a comma. */
// @ts-ignore: decorator
@inline
export function putMember(to: usize, member: usize): usize {
  const length = load<usize>(member, 8);
  to = putKey(to, load<usize>(member));
  copy(to, load<usize>(member, 4), length);
  store<u8>(to + length, <u8>COMMA);
  return to + length + 1;
}

// @ts-ignore: decorator
@inline
export function putKey(to: usize, node: usize): usize {
  const length = keyLength(node);
  copy(to, keyAt(node), length);
  store<u8>(to + length, 0x3a);
  return to + length + 1;
}
