import { RefusedInput, refuse } from '../../core/refusal.ts';

const MAX_KEY_LENGTH = 512;
/** A file system takes names of 255 bytes. */
const MAX_NAME_LENGTH = 200;
export const KEY_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/** Throws RefusedInput unless the key is `/`-separated names of [A-Za-z0-9._-] without a leading dot. */
export function checkObjectKey(key: string): void {
  const problem = keyProblem(key);
  if (problem === undefined) return;
  throw new RefusedInput([refuse('object_key', 'key', problem, 'use names of A-Z a-z 0-9 . _ - separated by /')]);
}

/** A prefix may end inside a name; what lies before its last `/` must be a key. */
export function checkObjectPrefix(prefix: string): void {
  if (prefix.includes('/')) checkObjectKey(prefix.slice(0, prefix.lastIndexOf('/')));
}

export function isObjectKey(key: string): boolean {
  return keyProblem(key) === undefined;
}

function keyProblem(key: string): string | undefined {
  if (key.length === 0 || key.length > MAX_KEY_LENGTH) return `must have 1 to ${MAX_KEY_LENGTH} characters`;
  const wrong = key.split('/').some((name) => name.length > MAX_NAME_LENGTH || !KEY_NAME.test(name));
  return wrong ? 'is not a relative path of plain names' : undefined;
}
