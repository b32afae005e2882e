import { assert } from '../../core/assert.ts';
import { canonicalBytes, sha256Hex } from '../../core/canonical.ts';
import type { Tx } from '../../platform/postgres.ts';

/** Content that was hashed where it came in, as peers' clients hand it on. */
export interface SealedContent {
  /** SHA-256 of `bytes`, lower-case hex. */
  readonly hash: string;
  /** RFC 8785. */
  readonly bytes: Uint8Array;
}

/**
 * Keeps what an audit event names by hash (what a peer was asked and answered, a signed decision) whole, for the receipt:
 * a JSON object, or its bytes as they were sealed. Returns the SHA-256 of its canonical bytes, lower-case hex. The same
 * content twice is one row.
 */
export async function putEvidence(tx: Tx, tenant: string, content: object): Promise<string> {
  const bytes = isSealed(content) ? content.bytes : canonicalBytes(content);
  const hash = sha256Hex(bytes);
  assert(!isSealed(content) || content.hash === hash, 'sealed evidence has the hash of its bytes');
  await tx.execute(
    'insert into evidence (tenant, hash, body) values ($1, $2, $3) on conflict (tenant, hash) do nothing',
    [tenant, hash, bytes],
  );
  return hash;
}

function isSealed(content: object): content is SealedContent {
  return 'bytes' in content && content.bytes instanceof Uint8Array && 'hash' in content;
}
