import type { Tx } from '../../platform/postgres.ts';

/** One version of a suite. */
export interface VersionRef {
  readonly tenant: string;
  readonly suite: string;
  readonly suiteHash: string;
}

/** Of a version whose rows go, in one transaction: a series has up to 11,000 panes and several times as many buckets. */
const MAX_SERIES_DROPPED = 8;
const MAX_SCORES_DROPPED = 5_000;

/** Has this version panes of an earlier time? A version that starts must have none: they would lack what came in between. */
export async function hasLeftovers(tx: Tx, { tenant, suite, suiteHash }: VersionRef): Promise<boolean> {
  const rows = await tx.query(
    `select 1 from series s where s.tenant = $1 and s.suite = $2 and s.suite_hash = $3
       and exists (select 1 from panes p where p.series_id = s.series_id) limit 1`,
    [tenant, suite, suiteHash],
  );
  return rows.length > 0;
}

/** Versions whose rows are to be removed. */
const TO_DROP = `
  select tenant, suite, suite_hash from rollout_states where ended and not dropped
  union
  select w.tenant, w.suite, w.suite_hash from suite_rollouts w
  where w.state = 'running' and not exists (select 1 from rollout_states s where s.rollout_id = w.rollout_id)`;

export async function haveLeftovers(tx: Tx): Promise<boolean> {
  return (await tx.query(`${TO_DROP} limit 1`)).length > 0;
}

/**
 * Removes some rows of versions that are kept no more, or that wait to start anew: their panes, and the scores that were never
 * published. False where there was nothing to do. A version that is active or kept beside the active one is left alone; so that none becomes
 * it meanwhile, its suite is kept to the transaction.
 */
export async function dropLeftovers(tx: Tx): Promise<boolean> {
  const rows = await tx.query<{ tenant: string; suite: string; suite_hash: string }>(`${TO_DROP} order by 1, 2, 3`);
  for (const row of rows) {
    const version = { tenant: row.tenant, suite: row.suite, suiteHash: row.suite_hash };
    await keepSuite(tx, version);
    if (!(await isKept(tx, version)) && (await dropSome(tx, version))) return true;
    await tx.execute(
      'update rollout_states set dropped = true where tenant = $1 and suite = $2 and suite_hash = $3 and ended and not dropped',
      [row.tenant, row.suite, row.suite_hash],
    );
  }
  return false;
}

async function keepSuite(tx: Tx, { tenant, suite }: VersionRef): Promise<void> {
  await tx.query('select 1 from suite_states where tenant = $1 and suite = $2 for update', [tenant, suite]);
}

async function isKept(tx: Tx, { tenant, suite, suiteHash }: VersionRef): Promise<boolean> {
  const rows = await tx.query(
    `select 1 from suites where tenant = $1 and suite = $2 and suite_hash = $3 and active
     union all select 1 from suite_states where tenant = $1 and suite = $2 and suite_hash = $3
     union all select 1 from rollout_states where tenant = $1 and suite = $2 and suite_hash = $3 and not ended`,
    [tenant, suite, suiteHash],
  );
  return rows.length > 0;
}

async function dropSome(tx: Tx, { tenant, suite, suiteHash }: VersionRef): Promise<boolean> {
  const series = await tx.query<{ series_id: bigint }>(
    `select s.series_id from series s where s.tenant = $1 and s.suite = $2 and s.suite_hash = $3
       and exists (select 1 from panes p where p.series_id = s.series_id) order by s.series_id limit $4`,
    [tenant, suite, suiteHash, MAX_SERIES_DROPPED],
  );
  const ids = series.map((row) => row.series_id);
  if (ids.length > 0) {
    await tx.execute('delete from pane_sketches where series_id = any($1::bigint[])', [ids]);
    await tx.execute('delete from panes where series_id = any($1::bigint[])', [ids]);
    return true;
  }
  const scores = await tx.execute(
    `delete from scores where (tenant, suite, suite_hash, model, tick_ms) in
       (select tenant, suite, suite_hash, model, tick_ms from scores
        where tenant = $1 and suite = $2 and suite_hash = $3 and not published limit $4)`,
    [tenant, suite, suiteHash, MAX_SCORES_DROPPED],
  );
  return scores > 0;
}
