import type { EvalReport } from '../../core/eval-report.ts';
import type { Tx } from '../../platform/postgres.ts';
import { dedupEntry, shardOf, unpackBlock } from '../ingest/dedup-index.ts';

/**
 * Is this report known to the consumer: under the same content, another one, or not at all? For the single door's 409; what
 * is still on its way through the log is not seen here, and is a visible conflict later.
 */
export async function knownReport(tx: Tx, tenant: string, report: EvalReport): Promise<'new' | 'same' | 'other'> {
  const { key, digest } = dedupEntry(tenant, report);
  const rows = await tx.query<{ block: Buffer }>(
    'select block from dedup_blocks where tenant = $1 and shard = $2 and position($3::bytea in block) > 0',
    [tenant, shardOf(key), key],
  );
  for (const { block } of rows) {
    for (const entry of unpackBlock(block)) {
      if (entry.key.equals(key)) return entry.digest.equals(digest) ? 'same' : 'other';
    }
  }
  return 'new';
}
