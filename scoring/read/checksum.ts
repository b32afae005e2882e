import type { Tx } from '../../platform/postgres.ts';
import { suiteOf } from '../ingest/suite-state.sql.ts';
import { checksumOf, checksumRows } from '../rules/checksum.ts';
import type { PublishedModel } from '../rules/published.ts';

/** Rows fetched at once. */
const ROWS_PER_QUERY = 2_000;

/**
 * The checksum of the replay proof (b) over everything published of a suite, all its versions: last values of final ticks. A
 * version beside the active one adds what it publishes, and nothing as a shadow.
 * Holds the texts of all rows in memory, about 200 bytes each.
 */
export async function suiteChecksum(tx: Tx, tenant: string, suite: string): Promise<string> {
  const documents = await tx.query<{ suite_hash: string; document: unknown }>(
    'select suite_hash, document from suites where tenant = $1 and suite = $2',
    [tenant, suite],
  );
  const suites = new Map(documents.map((row) => [row.suite_hash, suiteOf(row.suite_hash, row.document)]));
  const rows: string[] = [];
  let after: readonly [string, string, bigint] = ['', '', -(2n ** 62n)];
  for (;;) {
    const page = await tx.query<{ suite_hash: string; model: string; tick_ms: bigint; body: PublishedModel }>(
      `select suite_hash, model, tick_ms, body from scores
       where tenant = $1 and suite = $2 and published and (suite_hash, model, tick_ms) > ($3, $4, $5) order by suite_hash, model, tick_ms limit $6`,
      [tenant, suite, ...after, ROWS_PER_QUERY],
    );
    for (const row of page) rows.push(...checksumRows(suites.get(row.suite_hash)!, Number(row.tick_ms), row.body));
    const last = page.at(-1);
    if (last === undefined || page.length < ROWS_PER_QUERY) return checksumOf(rows);
    after = [last.suite_hash, last.model, last.tick_ms];
  }
}
