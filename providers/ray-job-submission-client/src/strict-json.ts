import { JSON_DEPTH_LIMIT } from './limits.ts';

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

/** Why a text was not taken as JSON. */
export class StrictJsonError extends Error {
  override name = 'StrictJsonError';
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * JSON.parse that also refuses what JSON.parse lets through: a key given twice in one object (it would keep the last
 * silently), the key `__proto__`, and nesting deeper than 64 (checked before the parse, so depth cannot hurt it).
 * Throws StrictJsonError.
 */
export function parseStrictJson(text: string): JsonValue {
  checkStructure(text);
  try {
    return JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw new StrictJsonError(`not JSON: ${cause instanceof Error ? cause.message.slice(0, 120) : ''}`);
  }
}

/** One pass over the text: an open object is a set of its keys so far, an open array is undefined. */
function checkStructure(text: string): void {
  const open: (Set<string> | undefined)[] = [];
  let keyMayFollow = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b: // {
      case 0x5b: // [
        if (open.length >= JSON_DEPTH_LIMIT) throw new StrictJsonError(`nested deeper than ${JSON_DEPTH_LIMIT}`);
        keyMayFollow = text.charCodeAt(at) === 0x7b;
        open.push(keyMayFollow ? new Set() : undefined);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        keyMayFollow = false;
        break;
      case 0x2c: // ,
        keyMayFollow = open.at(-1) !== undefined;
        break;
      case QUOTE: {
        const end = endOfString(text, at);
        if (keyMayFollow) noteKey(open.at(-1), text.slice(at, end + 1));
        keyMayFollow = false;
        at = end;
        break;
      }
    }
  }
}

function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at;
    if (code === BACKSLASH) at++;
  }
  throw new StrictJsonError('not JSON: a string has no end');
}

function noteKey(keys: Set<string> | undefined, quoted: string): void {
  if (keys === undefined) return;
  let key: string;
  try {
    key = JSON.parse(quoted) as string;
  } catch {
    throw new StrictJsonError('not JSON: a key is malformed');
  }
  if (key === '__proto__') throw new StrictJsonError('the key __proto__ is not taken');
  if (keys.has(key)) throw new StrictJsonError(`the key ${JSON.stringify(key.slice(0, 60))} is given twice`);
  keys.add(key);
}
