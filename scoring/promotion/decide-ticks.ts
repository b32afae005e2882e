import { contentHash } from '../../core/canonical.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { PromotionQuestion } from '../context.ts';
import type { SuiteState } from '../ingest/suite-state.sql.ts';
import type { SuiteLanes } from '../rollout/suite-lanes.ts';
import type { TickOutcome } from '../rules/promotion.ts';
import { keepTick, lastJudgeable, loadTick, openTicks } from './suite-tick.ts';
import type { StoredWatch } from './watches.sql.ts';

/** Ticks judged in one transaction. */
export const MAX_DECIDED_PER_TRANSACTION = 64;

export interface DecidedTicks {
  readonly lanes: SuiteLanes;
  readonly more: boolean;
  /** The next tick needs SentinelNet's answer or a signature: settle-tick.ts takes it from here, outside this transaction. */
  readonly unsettled: boolean;
}

/**
 * Judges published ticks in ascending order as long as nothing but stored numbers is needed. It stops before the first tick
 * that would decide something or that lacks only the policy's answer; for the latter the question is stored with the tick,
 * so that a crash asks the same one again. How far the suite is judged is not saved here.
 */
export async function decideTicks(tx: Tx, clock: Clock, lanes: SuiteLanes): Promise<DecidedTicks> {
  const lastMs = lastJudgeable(lanes);
  if (lastMs === undefined) return { lanes, more: false, unsettled: false };
  const judged = (decidedTickMs: number) => ({ ...lanes, active: { ...lanes.active, decidedTickMs } });
  const ticks = await openTicks(tx, lanes, MAX_DECIDED_PER_TRANSACTION);
  for (const [done, tickMs] of ticks.entries()) {
    const tick = await loadTick(tx, lanes, tickMs, new Map());
    if (tick.decided !== null || tick.lanes.some(({ outcome }) => outcome.policyWanted.length > 0)) {
      for (const { lane, outcome, watches } of tick.lanes) {
        await askLater(tx, clock, lane.state, tickMs, outcome, watches);
      }
      return { lanes: done === 0 ? lanes : judged(ticks[done - 1]!), more: false, unsettled: true };
    }
    await keepTick(tx, lanes, tick);
  }
  const more = ticks.length === MAX_DECIDED_PER_TRANSACTION;
  return { lanes: judged(more ? ticks.at(-1)! : lastMs), more, unsettled: false };
}

/** One id for one question, however often it is asked. */
export function questionId(tenant: string, suite: string, suiteHash: string, tickMs: number, model: string): string {
  return contentHash([tenant, suite, suiteHash, tickMs, model]).slice(0, 32);
}

async function askLater(
  tx: Tx,
  clock: Clock,
  state: SuiteState,
  tickMs: number,
  outcome: TickOutcome,
  watches: readonly StoredWatch[],
): Promise<void> {
  const { tenant, suite } = state;
  for (const version of outcome.policyWanted) {
    const rows = await tx.query<{ model: string; division: string }>(
      'select m.model, m.division from model_versions v join models m using (tenant, model) where v.tenant = $1 and v.version = $2',
      [tenant, version],
    );
    const entry = rows[0];
    if (entry === undefined) continue;
    const question: PromotionQuestion = {
      questionId: questionId(tenant, suite.name, suite.hash, tickMs, version),
      tenant,
      division: entry.division,
      suite: suite.name,
      suiteHash: suite.hash,
      model: entry.model,
      version,
      incumbent: watches.find((watch) => watch.role === 'incumbent')?.model ?? null,
      tick: formatRfc3339(tickMs),
    };
    await tx.execute(
      `insert into policy_questions (question_id, tenant, suite, tick_ms, model, request, state, next_try_ms)
       values ($1, $2, $3, $4, $5, $6, 'pending', $7) on conflict do nothing`,
      [question.questionId, tenant, suite.name, tickMs, version, JSON.stringify(question), clock.now()],
    );
  }
}
