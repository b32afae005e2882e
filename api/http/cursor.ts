import { createHmac, timingSafeEqual } from 'node:crypto';
import { HttpProblem } from './problem.ts';

/**
 * A cursor is opaque: the sort key of the last row seen, signed for one tenant and one list, so that it can neither be forged
 * nor carried to another tenant.
 */

const TAG_BYTES = 16;
const MAX_CURSOR_LENGTH = 512;

function tag(secret: Uint8Array, tenant: string, list: string, key: Buffer): Buffer {
  const mac = createHmac('sha256', secret);
  mac.update(JSON.stringify([tenant, list]));
  mac.update(key);
  return mac.digest().subarray(0, TAG_BYTES);
}

export function makeCursor(secret: Uint8Array, tenant: string, list: string, lastKey: string): string {
  const key = Buffer.from(lastKey, 'utf8');
  return Buffer.concat([tag(secret, tenant, list, key), key]).toString('base64url');
}

/** The sort key in a cursor; throws HttpProblem 400 `cursor` for any cursor that this tenant was not given for this list. */
export function readCursor(secret: Uint8Array, tenant: string, list: string, cursor: string): string {
  const bytes = cursor.length <= MAX_CURSOR_LENGTH ? Buffer.from(cursor, 'base64url') : Buffer.alloc(0);
  const key = bytes.subarray(TAG_BYTES);
  const good =
    bytes.length > TAG_BYTES &&
    bytes.toString('base64url') === cursor &&
    timingSafeEqual(bytes.subarray(0, TAG_BYTES), tag(secret, tenant, list, key));
  if (!good)
    throw new HttpProblem(400, 'cursor', 'the cursor is not one that this list gave out; start again without it');
  return key.toString('utf8');
}
