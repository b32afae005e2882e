import { canonicalBytes, sha256Hex } from '../../core/canonical.ts';
import type { Tx } from '../../platform/postgres.ts';

/**
 * Keeps what an audit event names by hash (what a peer was asked and answered, a signed decision) whole, for the receipt.
 * Returns the SHA-256 of its canonical bytes, lower-case hex. The same content twice is one row.
 */
export async function putEvidence(tx: Tx, tenant: string, body: object): Promise<string> {
  const bytes = canonicalBytes(body);
  const hash = sha256Hex(bytes);
  await tx.execute(
    'insert into evidence (tenant, hash, body) values ($1, $2, $3) on conflict (tenant, hash) do nothing',
    [tenant, hash, bytes],
  );
  return hash;
}
