import { canonicalText, type Json } from '../../core/canonical.ts';

/**
 * The one shape of bundles and receipts: uncompressed lines, each the RFC 8785 form of an object and a newline. The header
 * comes first, then the final checkpoint; the last line is always an event, so that a file cut between lines lacks events.
 */
export type JsonObject = { readonly [key: string]: Json };

/** A line carries at most one event or one piece of evidence. */
export const MAX_LINE_BYTES = 64 * 1024 * 1024;

export function lineText(line: JsonObject): string {
  return `${canonicalText(line)}\n`;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isHex64(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** A whole canonical line, or what is wrong with it. `bytes` is without the newline. */
export function readLine(bytes: Uint8Array): JsonObject | string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return 'is not UTF-8';
  }
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value)) return 'is not an object';
    return canonicalText(value) === text ? value : 'differs from its canonical form';
  } catch {
    return 'is not JSON';
  }
}

/** Members of a line, exactly: one too many or too few is a difference. */
export function hasMembers(line: JsonObject, ...names: readonly string[]): boolean {
  return Object.keys(line).sort().join() === [...names].sort().join();
}

export interface LineSplitter {
  push(chunk: Uint8Array): void;
  /** True where the last byte was a newline (or nothing came). */
  end(): boolean;
}

/** Cuts a stream into lines; a line longer than MAX_LINE_BYTES arrives as `undefined`. */
export function lineSplitter(onLine: (bytes: Uint8Array | undefined) => void): LineSplitter {
  let rest: Uint8Array[] = [];
  let restBytes = 0;
  const take = (part: Uint8Array) => {
    restBytes += part.length;
    if (restBytes <= MAX_LINE_BYTES) rest.push(part);
    else rest = [];
  };
  return {
    push(chunk) {
      let from = 0;
      for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
        take(chunk.subarray(from, at));
        onLine(restBytes > MAX_LINE_BYTES ? undefined : rest.length === 1 ? rest[0] : Buffer.concat(rest));
        rest = [];
        restBytes = 0;
        from = at + 1;
      }
      if (from < chunk.length) take(chunk.slice(from));
    },
    end: () => restBytes === 0,
  };
}
