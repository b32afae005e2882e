import type { Tx } from '../../platform/postgres.ts';

/**
 * Until the transaction ends no other one appends an audit event of this subject: requests and the consumer both write
 * events of a suite, and each numbers the next one.
 */
export async function lockSubject(tx: Tx, tenant: string, subject: string): Promise<void> {
  await tx.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`audit ${tenant} ${subject}`]);
}
