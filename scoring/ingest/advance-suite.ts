import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { decideTicks } from '../promotion/decide-ticks.ts';
import { reviewDecisions } from '../promotion/review-decisions.ts';
import { publishTicks } from './publish-ticks.ts';
import { type SuiteState, saveSuiteState } from './suite-state.sql.ts';

export interface AdvancedSuite {
  readonly state: SuiteState;
  /** Ticks are left for another transaction, before the next line is read. */
  readonly more: boolean;
  /** A tick waits for settleTick. */
  readonly unsettled: boolean;
  readonly scored: number;
}

/** Publishes and judges what is due for a suite, within the limits of one transaction, and stores how far it came. */
export async function advanceSuite(tx: Tx, clock: Clock, before: SuiteState, traceId: string): Promise<AdvancedSuite> {
  const published = await publishTicks(tx, before, traceId);
  const decided = await decideTicks(tx, clock, published.state);
  await reviewDecisions(tx, clock, decided.state, published.changedTicks, traceId);
  const state = { ...decided.state, traceId };
  await saveSuiteState(tx, state);
  return {
    state,
    more: published.more || decided.more,
    unsettled: decided.unsettled,
    scored: published.scored,
  };
}
