import { BACKSLASH, byte, QUOTE } from './bytes';
import { ENCODING, fault, JSON_SYNTAX } from './fault';
import { refuseNul } from './limits';

/** What textEnd met: nothing special (0), escapes, characters beyond ASCII. */
export const TEXT_ESCAPED: u32 = 1;
export const TEXT_WIDE: u32 = 2;
export let textKind: u32 = 0;

/** One bit for each of the 16 bytes at p that does not simply belong to a string: quote, backslash, control character, beyond ASCII. */
// @ts-ignore: decorator
@inline
export function textStops(p: usize): u32 {
  const block = v128.load(p);
  // As signed bytes those beyond ASCII are below the space too.
  const low = i8x16.lt_s(block, i8x16.splat(0x20));
  const marks = v128.or(i8x16.eq(block, i8x16.splat(0x22)), i8x16.eq(block, i8x16.splat(0x5c)));
  return <u32>i8x16.bitmask(v128.or(low, marks));
}

/** The closing quote of the string whose content starts at p; 0 where it is not valid. */
// @ts-ignore: decorator
@inline
export function textEnd(p: usize): usize {
  const at = plainEnd(p);
  textKind = 0;
  return byte(at) == QUOTE ? at : unplainEnd(at);
}

/** As textEnd, from the first stop that is no quote. */
function unplainEnd(p: usize): usize {
  let c: u32 = 0;
  while (c != QUOTE) {
    p = plainEnd(p);
    c = byte(p);
    if (c == BACKSLASH) {
      textKind |= TEXT_ESCAPED;
      p = escapeEnd(p);
      if (p == 0) return 0;
    } else if (c >= 0x80) {
      textKind |= TEXT_WIDE;
      p = wideEnd(p);
      if (p == 0) return 0;
    } else if (c < 0x20) {
      return fault(c == 0 && refuseNul ? ENCODING : JSON_SYNTAX, p);
    }
  }
  return p;
}

/** The first stop from p on. */
// @ts-ignore: decorator
@inline
function plainEnd(p: usize): usize {
  let stops = textStops(p);
  while (stops == 0) {
    p += 16;
    stops = textStops(p);
  }
  return p + <usize>ctz(stops);
}

/** Past the run of characters beyond ASCII at p. */
function wideEnd(p: usize): usize {
  while (byte(p) >= 0x80) {
    const length = sequenceLength(p);
    if (length == 0) return fault(ENCODING, p);
    p += length;
  }
  return p;
}

// @ts-ignore: decorator
@inline
function continues(c: u32): bool {
  return (c & 0xc0) == 0x80;
}

/** The bytes of the well-formed UTF-8 sequence beyond ASCII at p, 0 where it is none (Unicode 15, table 3-7). */
function sequenceLength(p: usize): usize {
  const a = byte(p);
  const b = byte(p + 1);
  if (a < 0xc2 || a > 0xf4 || !continues(b)) return 0;
  if (a < 0xe0) return 2;
  if (!continues(byte(p + 2))) return 0;
  if (a < 0xf0) {
    if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f)) return 0;
    return 3;
  }
  if (!continues(byte(p + 3)) || (a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f)) return 0;
  return 4;
}

/** The first byte in [p, end) that is not part of well-formed UTF-8; `end`, where a line feed stands, if there is none. */
export function invalidUtf8(p: usize, end: usize): usize {
  while (p < end) {
    if (i8x16.bitmask(v128.load(p)) == 0) p += 16;
    else if (byte(p) < 0x80) p++;
    else {
      const length = sequenceLength(p);
      if (length == 0) return p;
      p += length;
    }
  }
  return end;
}

/** The value of four hexadecimal digits; −1 where they are none. */
function hex4(p: usize): i32 {
  let unit: i32 = 0;
  for (let i: usize = 0; i < 4; i++) {
    const c = byte(p + i);
    const letter = (c | 0x20) - 0x61;
    if (c - 0x30 <= 9) unit = (unit << 4) | (c - 0x30);
    else if (letter <= 5) unit = (unit << 4) | (letter + 10);
    else return -1;
  }
  return unit;
}

/** Past the escape at p. */
function escapeEnd(p: usize): usize {
  const kind = byte(p + 1);
  if (kind != 0x75) return shortEscape(kind) != 0 ? p + 2 : fault(JSON_SYNTAX, p);
  const unit = hex4(p + 2);
  if (unit < 0) return fault(JSON_SYNTAX, p);
  if (unit == 0 && refuseNul) return fault(ENCODING, p);
  if ((unit & 0xf800) != 0xd800) return p + 6;
  if (unit < 0xdc00 && load<u16>(p + 6) == 0x755c) {
    const low = hex4(p + 8);
    if (low < 0) return fault(JSON_SYNTAX, p + 6);
    if ((low & 0xfc00) == 0xdc00) return p + 12;
  }
  return fault(ENCODING, p);
}

/** What a backslash and `kind` stand for; 0 where they stand for nothing. */
function shortEscape(kind: u32): u32 {
  if (kind == 0x22 || kind == 0x5c || kind == 0x2f) return kind;
  if (kind == 0x6e) return 0x0a;
  if (kind == 0x74) return 0x09;
  if (kind == 0x72) return 0x0d;
  if (kind == 0x62) return 0x08;
  return kind == 0x66 ? 0x0c : 0;
}

/**
 * Writes the content [p, end) of a string that textEnd accepted as UTF-8 without escapes, and a quote behind it, so that its readers stop
 * there. Returns its end, the place of that quote; no more than end − p + 1 bytes are written.
 */
export function decodeText(p: usize, end: usize, to: usize): usize {
  while (p < end) {
    const c = byte(p);
    if (c != BACKSLASH) {
      store<u8>(to++, <u8>c);
      p++;
    } else if (byte(p + 1) != 0x75) {
      store<u8>(to++, <u8>shortEscape(byte(p + 1)));
      p += 2;
    } else {
      let point = <u32>hex4(p + 2);
      p += 6;
      if ((point & 0xf800) == 0xd800) {
        point = 0x10000 + ((point & 0x3ff) << 10) + (<u32>hex4(p + 2) & 0x3ff);
        p += 6;
      }
      to = encode(point, to);
    }
  }
  store<u8>(to, <u8>QUOTE);
  return to;
}

function encode(point: u32, to: usize): usize {
  if (point < 0x80) {
    store<u8>(to, <u8>point);
    return to + 1;
  }
  if (point < 0x800) {
    store<u8>(to, <u8>(0xc0 | (point >> 6)));
    store<u8>(to + 1, <u8>(0x80 | (point & 0x3f)));
    return to + 2;
  }
  if (point < 0x10000) {
    store<u8>(to, <u8>(0xe0 | (point >> 12)));
    store<u8>(to + 1, <u8>(0x80 | ((point >> 6) & 0x3f)));
    store<u8>(to + 2, <u8>(0x80 | (point & 0x3f)));
    return to + 3;
  }
  store<u8>(to, <u8>(0xf0 | (point >> 18)));
  store<u8>(to + 1, <u8>(0x80 | ((point >> 12) & 0x3f)));
  store<u8>(to + 2, <u8>(0x80 | ((point >> 6) & 0x3f)));
  store<u8>(to + 3, <u8>(0x80 | (point & 0x3f)));
  return to + 4;
}
