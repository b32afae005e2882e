import { blanks, byte, CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, MINUS, OPEN_BRACE, OPEN_BRACKET, QUOTE, ZERO } from './bytes';
import { DEPTH, fault, JSON_SYNTAX, NUMBER } from './fault';
import { addName, closeObject, isConstructor, keyCount, openObject, readName } from './keys';
import { depthLimit } from './limits';
import { readNumber } from './number';
import { textEnd } from './text';

/**
 * Past the value at p, every byte of which is checked. `depth` counts the objects and arrays around it; `underConstructor` says that it
 * stands under the key `constructor`, where `prototype` is refused.
 */
export function skipValue(p: usize, depth: u32, underConstructor: bool): usize {
  const c = byte(p);
  if (c == QUOTE) {
    const end = textEnd(p + 1);
    return end == 0 ? 0 : end + 1;
  }
  if (c - ZERO <= 9 || c == MINUS) return readNumber(p);
  if (c == OPEN_BRACE) return skipObject(p, depth + 1, underConstructor);
  if (c == OPEN_BRACKET) return skipArray(p, depth + 1);
  return skipWord(p);
}

/** Past `true`, `false` or `null`; a fault for anything else. */
export function skipWord(p: usize): usize {
  const word = load<u32>(p);
  if (word == 0x65757274 || word == 0x6c6c756e) return p + 4;
  if (word == 0x736c6166 && byte(p + 4) == 0x65) return p + 5;
  // "NaN", "Infinit" "y"
  const notFinite = (word & 0xffffff) == 0x4e614e || load<u64>(p) == 0x7974696e69666e49;
  return fault(notFinite ? NUMBER : JSON_SYNTAX, p);
}

/** Past the object at p, which is at `depth` (the outermost is at 1). */
export function skipObject(p: usize, depth: u32, underConstructor: bool): usize {
  if (depth > depthLimit) return fault(DEPTH, p);
  p = blanks(p + 1);
  if (byte(p) == CLOSE_BRACE) return p + 1;
  const object = openObject();
  const base = keyCount;
  let more = true;
  while (more) {
    if (byte(p) != QUOTE) return fault(JSON_SYNTAX, p);
    const at = p;
    p = readName(p + 1);
    if (p == 0 || !addName(object, base, at, underConstructor)) return 0;
    const below = isConstructor();
    p = blanks(p);
    if (byte(p) != COLON) return fault(JSON_SYNTAX, p);
    p = skipValue(blanks(p + 1), depth, below);
    if (p == 0) return 0;
    p = blanks(p);
    more = byte(p) == COMMA;
    if (more) p = blanks(p + 1);
  }
  if (byte(p) != CLOSE_BRACE) return fault(JSON_SYNTAX, p);
  closeObject(base);
  return p + 1;
}

function skipArray(p: usize, depth: u32): usize {
  if (depth > depthLimit) return fault(DEPTH, p);
  p = blanks(p + 1);
  if (byte(p) == CLOSE_BRACKET) return p + 1;
  let more = true;
  while (more) {
    p = skipValue(p, depth, false);
    if (p == 0) return 0;
    p = blanks(p);
    more = byte(p) == COMMA;
    if (more) p = blanks(p + 1);
  }
  if (byte(p) != CLOSE_BRACKET) return fault(JSON_SYNTAX, p);
  return p + 1;
}
