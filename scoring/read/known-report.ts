import type { EvalReport } from '../../core/eval-report.ts';
import type { Tx } from '../../platform/postgres.ts';
import { dedupEntry, shardOf } from '../ingest/dedup-index.ts';

/**
 * Is this report known to the consumer: under the same content, another one, or not at all? For the single door's 409; what
 * is still on its way through the log is not seen here, and is a visible conflict later. `tx` is the tenant's own. A block of few reports is
 * found by an index, in each larger one of the report's shard some places are looked at (docs/benchmarks.md).
 */
export async function knownReport(tx: Tx, tenant: string, report: EvalReport): Promise<'new' | 'same' | 'other'> {
  const { key, digest } = dedupEntry(tenant, report);
  const rows = await tx.query<{ digest: Buffer | null }>('select known_digest($1, $2) as digest', [shardOf(key), key]);
  const known = rows[0]?.digest ?? null;
  if (known === null) return 'new';
  return known.equals(digest) ? 'same' : 'other';
}
