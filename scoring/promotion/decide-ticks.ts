import { contentHash } from '../../core/canonical.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { PromotionQuestion } from '../context.ts';
import type { SuiteState } from '../ingest/suite-state.sql.ts';
import { decideTick, type TickOutcome } from '../rules/promotion.ts';
import { loadTickInput, undecidedTicks } from './tick-input.sql.ts';
import { loadWatches, type StoredWatch, saveWatchStates } from './watches.sql.ts';

/** Ticks judged in one transaction. */
export const MAX_DECIDED_PER_TRANSACTION = 64;

export interface DecidedTicks {
  readonly state: SuiteState;
  readonly more: boolean;
  /** The next tick needs SentinelNet's answer or a signature: settle-tick.ts takes it from here, outside this transaction. */
  readonly unsettled: boolean;
}

/**
 * Judges published ticks in ascending order as long as nothing but stored numbers is needed. It stops before the first tick
 * that would decide something or that lacks only the policy's answer; for the latter the question is stored with the tick,
 * so that a crash asks the same one again. `state` is not saved here.
 */
export async function decideTicks(tx: Tx, clock: Clock, state: SuiteState): Promise<DecidedTicks> {
  if (state.scoredTickMs === null) return { state, more: false, unsettled: false };
  const all = { ...state, decidedTickMs: state.scoredTickMs };
  if (state.suite.promotion === null) return { state: all, more: false, unsettled: false };
  let watches = await loadWatches(tx, state.tenant, state.suite.name);
  const ticks = await undecidedTicks(tx, state, watches, MAX_DECIDED_PER_TRANSACTION);
  let decided = state;
  for (const tickMs of ticks) {
    const input = await loadTickInput(tx, decided, tickMs, watches, new Map());
    const outcome = decideTick(input);
    if (outcome.decision !== null || outcome.policyWanted.length > 0) {
      await askLater(tx, clock, decided, tickMs, outcome, watches);
      return { state: decided, more: false, unsettled: true };
    }
    watches = await keepRuns(tx, watches, outcome);
    decided = { ...decided, decidedTickMs: tickMs };
  }
  const more = ticks.length === MAX_DECIDED_PER_TRANSACTION;
  return { state: more ? decided : all, more, unsettled: false };
}

/** Stores what the tick did to the watches, and returns them as they are now. */
export async function keepRuns(
  tx: Tx,
  watches: readonly StoredWatch[],
  outcome: TickOutcome,
): Promise<readonly StoredWatch[]> {
  const after = [...(outcome.incumbent === null ? [] : [outcome.incumbent]), ...outcome.challenges];
  await saveWatchStates(tx, watches, after);
  return watches.map((watch) => ({
    ...watch,
    state: after.find((state) => state.model === watch.model) ?? watch.state,
  }));
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
