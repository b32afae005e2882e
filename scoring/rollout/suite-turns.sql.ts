import type { Tx } from '../../platform/postgres.ts';
import type { ReadOffsets } from '../ingest/positions.sql.ts';
import type { SuiteState } from '../ingest/suite-state.sql.ts';

/** Notes from which place of the log on a version of a suite holds, so that a replay takes it up there too. */
export async function recordTurn(
  tx: Tx,
  { tenant, suite }: SuiteState,
  read: ReadOffsets,
  rollout: boolean,
): Promise<void> {
  await tx.execute(
    'insert into suite_turns (tenant, suite, suite_hash, read_at, rollout) values ($1, $2, $3, $4, $5)',
    [tenant, suite.name, suite.hash, JSON.stringify(read), rollout],
  );
}
