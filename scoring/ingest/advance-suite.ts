import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { decideTicks } from '../promotion/decide-ticks.ts';
import { reviewDecisions } from '../promotion/review-decisions.ts';
import { saveScoredTick } from '../rollout/rollout-state.sql.ts';
import { lanesOf, type SuiteLanes } from '../rollout/suite-lanes.ts';
import { withoutFaulty } from '../rollout/without-faulty.ts';
import { publishTicks } from './publish-ticks.ts';
import { saveSuiteState } from './suite-state.sql.ts';

export interface AdvancedSuite {
  /** A new version that could not be computed is rolled back, and is not among them. */
  readonly lanes: SuiteLanes;
  /** Ticks are left for another transaction, before the next line is read. */
  readonly more: boolean;
  /** A tick waits for settleTick. */
  readonly unsettled: boolean;
  readonly scored: number;
}

/**
 * Publishes and judges what is due for a suite, of every version that is kept, within the limits of one transaction, and
 * stores how far it came. A new version that cannot be computed costs the active one nothing: it is rolled back.
 */
export async function advanceSuite(tx: Tx, clock: Clock, before: SuiteLanes, traceId: string): Promise<AdvancedSuite> {
  return withoutFaulty(tx, clock, before, (lanes) => advanceLanes(tx, clock, lanes, traceId));
}

async function advanceLanes(tx: Tx, clock: Clock, before: SuiteLanes, traceId: string): Promise<AdvancedSuite> {
  const published = [];
  for (const lane of lanesOf(before)) published.push(await publishTicks(tx, lane, traceId));
  const [active, beside] = published;
  const next = before.next === null ? null : { ...before.next, state: beside!.state };
  const decided = await decideTicks(tx, clock, { active: active!.state, next });
  for (const { state, changedTicks } of published) await reviewDecisions(tx, clock, state, changedTicks, traceId);
  const lanes = { ...decided.lanes, active: { ...decided.lanes.active, traceId } };
  await saveSuiteState(tx, lanes.active);
  if (lanes.next !== null) await saveScoredTick(tx, lanes.next.rolloutId, lanes.next.state.scoredTickMs);
  return {
    lanes,
    more: published.some((one) => one.more) || decided.more,
    unsettled: decided.unsettled,
    scored: active!.scored,
  };
}
