import { assert } from '../../core/assert.ts';
import { parseRfc3339 } from '../../core/rfc3339.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { OpenWatch } from '../ingest/suite-batch.ts';
import { type Decision, recordedAction } from '../rules/decision.ts';
import type { Lane } from './suite-lanes.ts';

export interface WouldBe {
  readonly lane: Lane;
  readonly watches: readonly OpenWatch[];
  readonly decision: Decision;
  readonly rolloutId: string;
}

/**
 * Once a challenge or seat: the seat does not change by it, so the same would be found again at every later tick. Nobody is
 * asked and nothing is signed; SentinelNet's word is taken for an allow.
 */
export async function saveWouldBe(tx: Tx, { lane, watches, decision, rolloutId }: WouldBe): Promise<void> {
  const { tenant, suite } = lane.state;
  const watch = watches.find((one) => one.model === decision.model);
  assert(watch !== undefined, 'saveWouldBe: a decision is about a watched model');
  await tx.execute(
    `insert into would_be_decisions (watch_id, action, tenant, rollout_id, suite, suite_hash, tick_ms, model, incumbent_before, evidence)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing`,
    [
      watch.watchId,
      recordedAction(decision),
      tenant,
      rolloutId,
      suite.name,
      suite.hash,
      parseRfc3339(decision.tick),
      decision.model,
      watches.find((one) => one.role === 'incumbent')?.model ?? null,
      JSON.stringify(decision.evidence),
    ],
  );
}
