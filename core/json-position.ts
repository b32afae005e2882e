/**
 * The byte offset of the value at `path` (object keys only) in a JSON text that parseJson accepted; where a key is
 * absent, the offset of the object that lacks it. Slow path: called only to tell where a refused value stands.
 */
export function locateJson(bytes: Uint8Array, path: readonly string[]): number {
  let at = skipBlank(bytes, 0);
  for (const key of path) {
    const found = memberAt(bytes, at, key);
    if (found === undefined) return at;
    at = found;
  }
  return at;
}

/** The bytes of the member `key` of an object that parseJson accepted, as they stand; undefined where it is absent. */
export function memberBytes(bytes: Uint8Array, key: string): Uint8Array | undefined {
  const at = memberAt(bytes, skipBlank(bytes, 0), key);
  if (at === undefined) return undefined;
  let end = skipValue(bytes, at);
  while (isBlankByte(bytes[end - 1])) end--;
  return bytes.subarray(at, end);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

function skipBlank(bytes: Uint8Array, from: number): number {
  let at = from;
  while (isBlankByte(bytes[at])) at++;
  return at;
}

function isBlankByte(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Past the string that starts at `from`. */
function skipString(bytes: Uint8Array, from: number): number {
  let at = from + 1;
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at + 1;
}

/** Past the value that starts at `from`: brackets are counted, since the text is known to be well formed. */
function skipValue(bytes: Uint8Array, from: number): number {
  let depth = 0;
  let at = from;
  while (at < bytes.length) {
    const c = bytes[at];
    if (c === QUOTE) {
      at = skipString(bytes, at);
      if (depth === 0) return at;
      continue;
    }
    if (c === OPEN_BRACE || c === OPEN_BRACKET) depth++;
    else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) {
      if (depth === 0) return at;
      depth--;
      if (depth === 0) return at + 1;
    } else if (depth === 0 && c === COMMA) return at;
    at++;
  }
  return at;
}

function memberAt(bytes: Uint8Array, objectAt: number, key: string): number | undefined {
  if (bytes[objectAt] !== OPEN_BRACE) return undefined;
  let at = skipBlank(bytes, objectAt + 1);
  while (bytes[at] === QUOTE) {
    const keyEnd = skipString(bytes, at);
    const name: unknown = JSON.parse(Buffer.from(bytes.subarray(at, keyEnd)).toString('utf8'));
    at = skipBlank(bytes, keyEnd);
    if (bytes[at] === COLON) at = skipBlank(bytes, at + 1);
    if (name === key) return at;
    at = skipBlank(bytes, skipValue(bytes, at));
    if (bytes[at] === COMMA) at = skipBlank(bytes, at + 1);
  }
  return undefined;
}
