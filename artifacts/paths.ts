import { sha256Hex } from '../core/canonical.ts';
import { hasHidden } from '../core/hidden-characters.ts';
import { type Refusal, refuse } from '../core/refusal.ts';

/** In bytes of UTF-8: what common file systems take for a name, and half of S3's key limit for a whole path. */
export const MAX_SEGMENT_BYTES = 255;
export const MAX_PATH_BYTES = 512;
export const MAX_PATH_DEPTH = 32;

/** An encoded path longer than this becomes a hash: the store takes keys of 512 characters, and an attempt’s prefix is at most 120. */
const MAX_READABLE_KEY = 384;
const MAX_READABLE_SEGMENT = 200;

/** Why `path` cannot stand in a manifest, or undefined. Paths are relative, `/`-separated, NFC. */
export function pathRefusal(field: string, path: string): Refusal | undefined {
  const bad = (code: string, problem: string, mend = 'rename the file in the job') =>
    refuse(code, field, problem, mend);
  if (path === '') return bad('path', 'is empty');
  // Length before any pattern, so that no input makes a pattern slow.
  if (path.length > MAX_PATH_BYTES || Buffer.byteLength(path) > MAX_PATH_BYTES) {
    return bad('length', `is longer than ${MAX_PATH_BYTES} bytes`);
  }
  if (!path.isWellFormed()) return bad('encoding', 'is not well-formed Unicode');
  // Bidirectional overrides and zero-width characters too: a name must show what it is.
  if (hasHidden(path)) return bad('charset', 'has a control or invisible character');
  if (path.includes('\\')) return bad('charset', 'has a backslash');
  if (path.normalize('NFC') !== path) return bad('encoding', 'is not in Unicode normal form C');
  if (path.startsWith('/') || /^[A-Za-z]:/.test(path))
    return bad('path', 'is absolute', 'write it relative to the outputs');
  const segments = path.split('/');
  if (segments.length > MAX_PATH_DEPTH) return bad('depth', `is more than ${MAX_PATH_DEPTH} folders deep`);
  for (const segment of segments) {
    if (segment === '') return bad('path', 'has an empty part');
    if (segment === '.' || segment === '..') return bad('path', 'has a part . or ..');
    if (Buffer.byteLength(segment) > MAX_SEGMENT_BYTES)
      return bad('length', `has a part longer than ${MAX_SEGMENT_BYTES} bytes`);
  }
  return undefined;
}

/** Order by code point. UTF-16 order, JavaScript's own, puts U+E000–U+FFFF after the astral planes. */
export function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a, 'utf8'), Buffer.from(b, 'utf8'));
}

/** Where the objects of one attempt live. */
export function artifactsPrefix(tenant: string, bookingId: string, attempt: number): string {
  return `artifacts/${tenant}/${bookingId}/${attempt}`;
}

/** All files of a manifest are under this, and nothing else is. */
export function filesPrefix(keyPrefix: string): string {
  return `${keyPrefix}/files/`;
}

export function manifestKey(keyPrefix: string): string {
  return `${keyPrefix}/manifest.json`;
}

/** Notes of a collection under way; gone once its manifest is recorded. */
export function progressPrefix(keyPrefix: string): string {
  return `${keyPrefix}/progress/`;
}

/**
 * The object key of a path: store keys know only [A-Za-z0-9._-], so `_` is doubled and any other byte, and a leading dot, is
 * `_x` and two hex digits. One path has one key and two paths never share one; a long path becomes `_p` and its SHA-256.
 */
export function objectKey(keyPrefix: string, path: string): string {
  return filesPrefix(keyPrefix) + encodePath(path);
}

export function progressKey(keyPrefix: string, path: string): string {
  return `${progressPrefix(keyPrefix)}${sha256Hex(path)}.json`;
}

function encodePath(path: string): string {
  const segments = path.split('/').map(encodeSegment);
  const encoded = segments.join('/');
  if (encoded.length > MAX_READABLE_KEY || segments.some((segment) => segment.length > MAX_READABLE_SEGMENT)) {
    return `_p${sha256Hex(path)}`;
  }
  return encoded;
}

function encodeSegment(segment: string): string {
  let out = '';
  for (const byte of Buffer.from(segment, 'utf8')) {
    const char = String.fromCharCode(byte);
    if (char === '_') out += '__';
    else if (byte < 128 && /[A-Za-z0-9-]/.test(char)) out += char;
    else if (char === '.' && out !== '') out += char;
    else out += `_x${byte.toString(16).padStart(2, '0')}`;
  }
  return out;
}
