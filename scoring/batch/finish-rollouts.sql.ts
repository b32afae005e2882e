import type { Tx } from '../../platform/postgres.ts';
import { stopFlushes } from '../ingest/ownership.sql.ts';
import { addRescore } from '../ingest/publish-ticks.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import { tickOfWindowsFrom } from '../rules/rollout.ts';
import { MAX_LATENESS_MS } from '../rules/watermark.ts';
import { historyOf, loadVersion, onTimeFromMsOf, type Version } from './recomputes.sql.ts';

/** What is finished in one look. */
const MAX_FINISHED = 20;

export interface FinishedRollout {
  readonly rolloutId: string;
  readonly tenant: string;
  readonly suite: string;
  /** From this tick on every window is whole; null: from the version's first on. undefined: the version is kept no more. */
  readonly completeTickMs: number | null | undefined;
  /** Ticks that the consumer is to publish again. */
  readonly ticksAgain: number;
}

/** Rollouts whose shards are all done, and were not finished. */
export async function rolloutsToFinish(tx: Tx): Promise<readonly string[]> {
  const rows = await tx.query<{ rollout_id: string }>(
    `select rollout_id from recomputes group by rollout_id having bool_and(state = 'done') and bool_or(finished_at is null)
     order by rollout_id limit $1`,
    [MAX_FINISHED],
  );
  return rows.map((row) => row.rollout_id);
}

/**
 * All panes are in: the version is complete, and its ticks that were published with less are to be published again. undefined: somebody
 * else has finished it.
 */
export async function finishRollout(tx: Tx, rolloutId: string): Promise<FinishedRollout | undefined> {
  // A consumer reads panes and ranges, publishes, and then says how far it came. While none is in the middle of it nothing is half said:
  // a tick is either published with what was there, and told here, or published with all panes.
  await stopFlushes(tx, REPORTS_TOPIC);
  const marked = await tx.execute(
    `update recomputes set finished_at = clock_timestamp() where rollout_id = $1 and finished_at is null
       and not exists (select 1 from recomputes o where o.rollout_id = $1 and o.state <> 'done')`,
    [rolloutId],
  );
  if (marked === 0) return undefined;
  const named = await tx.query<{ tenant: string; suite: string }>(
    'select tenant, suite from suite_rollouts where rollout_id = $1',
    [rolloutId],
  );
  const { tenant, suite } = named[0]!;
  const version = await loadVersion(tx, rolloutId);
  if (version === undefined) return { rolloutId, tenant, suite, completeTickMs: undefined, ticksAgain: 0 };
  const again = await ticksToPublishAgain(tx, version);
  if (again !== undefined) await addRescore(tx, tenant, version.suite, again);
  const { eras } = await historyOf(tx, { rolloutId, topic: REPORTS_TOPIC });
  const onTimeFromMs = onTimeFromMsOf(version, eras);
  const completeTickMs = completeFrom(version, again?.fromMs, onTimeFromMs);
  await tx.execute('update rollout_states set complete_tick_ms = $2 where rollout_id = $1', [
    rolloutId,
    completeTickMs,
  ]);
  const ticksAgain = again === undefined ? 0 : (again.toMs - again.fromMs) / version.suite.tickMs + 1;
  return { rolloutId, tenant, suite, completeTickMs, ticksAgain };
}

/** Its scored ticks as far as their panes reach back: after 7 days some of them are gone, as for late data. */
async function ticksToPublishAgain(
  tx: Tx,
  { tenant, suite, startTickMs, versionScoredMs }: Version,
): Promise<{ readonly fromMs: number; readonly toMs: number } | undefined> {
  const oldestMs = Math.ceil((versionScoredMs - MAX_LATENESS_MS) / suite.tickMs) * suite.tickMs;
  // Late data makes it score ticks from before its start, too.
  const rows = await tx.query<{ first_ms: bigint | null }>(
    'select min(tick_ms) as first_ms from scores where tenant = $1 and suite = $2 and suite_hash = $3 and tick_ms >= $4 and tick_ms <= $5',
    [tenant, suite.name, suite.hash, oldestMs, versionScoredMs],
  );
  const scoredFrom = rows[0]?.first_ms ?? null;
  const ownFrom = startTickMs + suite.tickMs;
  const fromMs = Math.max(oldestMs, scoredFrom === null ? ownFrom : Math.min(Number(scoredFrom), ownFrom));
  return fromMs > versionScoredMs ? undefined : { fromMs, toMs: versionScoredMs };
}

function completeFrom(
  { startTickMs, suite, completeTickMs }: Version,
  againFromMs: number | undefined,
  onTimeFromMs: number | null,
): number | null {
  const wholeMs = Math.max(
    againFromMs ?? Number.NEGATIVE_INFINITY,
    onTimeFromMs === null ? Number.NEGATIVE_INFINITY : tickOfWindowsFrom(suite, onTimeFromMs),
  );
  if (wholeMs <= startTickMs + suite.tickMs) return null;
  return completeTickMs === null ? null : Math.min(completeTickMs, wholeMs);
}
