import type { KeyObject } from 'node:crypto';

const MAX_KEPT = 64;

/** Reads keys from their bytes and keeps those it read lately: few keys sign a trail, and reading one costs more than checking a signature. */
export function keptKeys<Key extends KeyObject | undefined>(read: (raw: Uint8Array) => Key): (raw: Uint8Array) => Key {
  const kept = new Map<string, Key>();
  return (raw) => {
    const name = Buffer.from(raw).toString('hex');
    const known = kept.get(name);
    if (known !== undefined) return known;
    const key = read(raw);
    if (key === undefined) return key;
    if (kept.size >= MAX_KEPT) kept.clear();
    kept.set(name, key);
    return key;
  };
}
