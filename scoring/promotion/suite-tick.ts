import type { Tx } from '../../platform/postgres.ts';
import { type Lane, lanesOf, type SuiteLanes } from '../rollout/suite-lanes.ts';
import { saveWouldBe } from '../rollout/would-be.sql.ts';
import type { Decision } from '../rules/decision.ts';
import { decideJointly } from '../rules/joint-tick.ts';
import type { PolicyAnswer, TickOutcome } from '../rules/promotion.ts';
import { tickAt } from '../rules/watermark.ts';
import { loadTickInput, undecidedTicks } from './tick-input.sql.ts';
import { loadWatches, type StoredWatch, saveWatchStates } from './watches.sql.ts';

/** What one version says at a tick. */
export interface LaneTick {
  readonly lane: Lane;
  readonly watches: readonly StoredWatch[];
  readonly outcome: TickOutcome;
}

/** A tick of a suite as judged on what is stored now, by every version that has the tick. */
export interface SuiteTick {
  readonly tickMs: number;
  readonly lanes: readonly LaneTick[];
  readonly decided: { readonly by: LaneTick; readonly decision: Decision } | null;
}

/**
 * The last tick of any version up to which all of every version is published; undefined: nothing is. There is one place up to
 * which a suite is judged, also where its versions' ticks differ in length.
 */
export function lastJudgeable(lanes: SuiteLanes): number | undefined {
  let untilMs = Number.POSITIVE_INFINITY;
  for (const { state } of lanesOf(lanes)) {
    if (state.scoredTickMs === null) return undefined;
    untilMs = Math.min(untilMs, state.scoredTickMs + state.suite.tickMs - 1);
  }
  return Math.max(...lanesOf(lanes).map(({ state }) => tickAt(untilMs, state.suite.tickMs)));
}

/** The ticks to judge, ascending, at most `limit`. */
export async function openTicks(tx: Tx, lanes: SuiteLanes, limit: number): Promise<readonly number[]> {
  const lastMs = lastJudgeable(lanes);
  if (lastMs === undefined) return [];
  const ticks = new Set<number>();
  for (const { state } of lanesOf(lanes)) {
    if (state.suite.promotion === null) continue;
    const watches = await loadWatches(tx, state.tenant, state.suite.name, state.suite.hash);
    for (const tickMs of await undecidedTicks(tx, state, watches, lastMs, limit)) ticks.add(tickMs);
  }
  return [...ticks].sort((a, b) => a - b).slice(0, limit);
}

/** `answers`: SentinelNet's, by model. */
export async function loadTick(
  tx: Tx,
  lanes: SuiteLanes,
  tickMs: number,
  answers: ReadonlyMap<string, PolicyAnswer>,
): Promise<SuiteTick> {
  const taking = [];
  for (const lane of lanesOf(lanes)) {
    if (!hasTick(lane, tickMs)) continue;
    const { tenant, suite } = lane.state;
    const watches = await loadWatches(tx, tenant, suite.name, suite.hash);
    taking.push({ lane, watches, input: await loadTickInput(tx, lane, tickMs, watches, answers) });
  }
  const joint = decideJointly(taking.map((one) => one.input));
  const judged = taking.map(({ lane, watches }, i) => ({ lane, watches, outcome: joint.outcomes[i]! }));
  const decided = joint.decided === null ? null : { by: judged[joint.decided.by]!, decision: joint.decided.decision };
  return { tickMs, lanes: judged, decided };
}

/** Not a tick between two of the version's own, nor one from before it was taken up. */
function hasTick({ state }: Lane, tickMs: number): boolean {
  const { suite, decidedTickMs } = state;
  if (suite.promotion === null || tickMs % suite.tickMs !== 0) return false;
  return decidedTickMs === null || tickMs > decidedTickMs;
}

/** Stores what a tick without a decision did to the watches. */
export async function keepTick(tx: Tx, lanes: SuiteLanes, tick: SuiteTick): Promise<void> {
  for (const { watches, outcome } of tick.lanes) {
    const after = [...(outcome.incumbent === null ? [] : [outcome.incumbent]), ...outcome.challenges];
    await saveWatchStates(tx, watches, after);
  }
  await keepWouldBe(tx, lanes, tick);
}

/** What a version would have decided of a model that the other one decides for. */
export async function keepWouldBe(tx: Tx, lanes: SuiteLanes, tick: SuiteTick): Promise<void> {
  if (lanes.next === null) return;
  for (const { lane, watches, outcome } of tick.lanes) {
    if (outcome.wouldBe === null) continue;
    await saveWouldBe(tx, { lane, watches, decision: outcome.wouldBe, rolloutId: lanes.next.rolloutId });
  }
}
