import { assert } from '../../core/assert.ts';
import { canonicalBytes, sha256Hex } from '../../core/canonical.ts';
import { byteaArray, textArray } from '../../platform/pg-arrays.ts';
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
  const sealed = sealEvidences([{ tenant, content }]);
  await storeEvidences(tx, sealed);
  assert(sealed[0] !== undefined, 'one content has one hash');
  return sealed[0].hash;
}

export interface Evidence extends SealedContent {
  readonly tenant: string;
}

/** The bytes and the hash of each, in the order given. */
export function sealEvidences(
  contents: readonly { readonly tenant: string; readonly content: object }[],
): readonly Evidence[] {
  return contents.map(({ tenant, content }) => {
    const bytes = isSealed(content) ? content.bytes : canonicalBytes(content);
    const hash = sha256Hex(bytes);
    assert(!isSealed(content) || content.hash === hash, 'sealed evidence has the hash of its bytes');
    return { tenant, hash, bytes };
  });
}

/** Many of them in one statement. */
export async function storeEvidences(tx: Tx, rows: readonly Evidence[]): Promise<void> {
  if (rows.length === 0) return;
  // In key order, so that two callers never wait for each other.
  const sorted = [...rows].sort((a, b) =>
    a.tenant === b.tenant ? compare(a.hash, b.hash) : compare(a.tenant, b.tenant),
  );
  await tx.execute(
    `insert into evidence (tenant, hash, body) select * from unnest($1::text[], $2::text[], $3::bytea[])
     on conflict (tenant, hash) do nothing`,
    [
      textArray(sorted.map((row) => row.tenant)),
      textArray(sorted.map((row) => row.hash)),
      byteaArray(sorted.map((row) => row.bytes)),
    ],
  );
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function isSealed(content: object): content is SealedContent {
  return 'bytes' in content && content.bytes instanceof Uint8Array && 'hash' in content;
}
