import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { wantParked } from '../ingest/parked.sql.ts';
import { loadPositions, type ReadOffsets, readOffsets } from '../ingest/positions.sql.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import {
  type LoadedSuite,
  loadSuites,
  lockSuites,
  type SuiteRef,
  type SuiteState,
  saveSuiteState,
} from '../ingest/suite-state.sql.ts';
import type { OpenRollout } from '../rollout/rollout-state.sql.ts';
import { type NextLane, nextLane, type SuiteLanes } from '../rollout/suite-lanes.ts';
import { recordTurn } from '../rollout/suite-turns.sql.ts';
import { adoptNext, endNext, rollBackByEngine, setShareInForce, startNext } from '../rollout/transitions.ts';
import { isComplete } from '../rules/rollout.ts';
import { tickAt } from '../rules/watermark.ts';
import { admitCandidates, closeWatches, loadWatches, openWatches } from './watches.sql.ts';

/** What preparing works with. */
export interface PrepareContext {
  readonly clock: Clock;
  /** Does this server run rollouts? Where it does not, those that run are rolled back. */
  readonly rollouts: boolean;
}

/** `leftovers`: rows of a version that is kept no more wait to be removed. */
export interface PreparedSuite {
  readonly lanes: SuiteLanes;
  readonly leftovers: boolean;
}

/**
 * Brings the consumer's view of suites up to what requests changed since: a new suite, a new version of one, a rollout and its
 * share, new candidates. Called at the start of each transaction that reads reports, before the first of them, so that each
 * change has one place in the order of the log. Keeps the suites to the transaction. Throws SuiteHeld.
 */
export async function prepareSuites(
  tx: Tx,
  ctx: PrepareContext,
  refs: readonly SuiteRef[],
  member: string,
): Promise<readonly PreparedSuite[]> {
  const fresh = await lockSuites(tx, refs, member);
  // Behind the locks: what is read of these suites is what these positions say.
  const read = readOffsets(await loadPositions(tx, REPORTS_TOPIC));
  const prepared: PreparedSuite[] = [];
  for (const loaded of await loadSuites(tx, refs, fresh)) {
    if (loaded.isNew) {
      await saveSuiteState(tx, loaded.state);
      await recordTurn(tx, loaded.state, read, false);
      await wantParked(tx, loaded.state.tenant, 'unknown_suite', [loaded.state.suite.name]);
    }
    const { active, open } = await takeUpVersion(tx, ctx, loaded, read);
    const { next, leftovers } = await takeUpRollout(tx, ctx, active, { ...loaded.rollout, open }, read);
    const lanes = { active, next };
    await admitCandidates(tx, ctx.clock, lanes, read);
    prepared.push({ lanes, leftovers });
  }
  return prepared;
}

/** The active version as the consumer goes on with it, and the rollout that is still open then. */
async function takeUpVersion(
  tx: Tx,
  ctx: PrepareContext,
  loaded: LoadedSuite,
  read: ReadOffsets,
): Promise<{ readonly active: SuiteState; readonly open: OpenRollout | null }> {
  const { state, storedHash, hashChanged } = loaded;
  const { open } = loaded.rollout;
  if (!hashChanged) return { active: state, open };
  if (open?.wantedState === 'promoted' && open.suite.hash === state.suite.hash) {
    const active = await adoptNext(tx, state, storedHash, open);
    await recordTurn(tx, active, read, true);
    return { active, open: null };
  }
  return { active: await startVersion(tx, ctx.clock, state, storedHash, read), open };
}

/**
 * Another version of a suite has panes and scores of its own, and its numbers do not compare with the old ones: every
 * challenge starts again, and ticks that were final before are not judged by it.
 */
async function startVersion(
  tx: Tx,
  clock: Clock,
  before: SuiteState,
  beforeHash: string,
  read: ReadOffsets,
): Promise<SuiteState> {
  const { tenant, suite, watermarkMs } = before;
  const tickMs = watermarkMs === null ? null : tickAt(watermarkMs, suite.tickMs);
  const state = { ...before, scoredTickMs: tickMs, decidedTickMs: tickMs };
  await saveSuiteState(tx, state);
  await recordTurn(tx, state, read, false);
  await tx.execute('delete from rescore_ranges where tenant = $1 and suite = $2', [tenant, suite.name]);
  await tx.execute('delete from evidence_edge where tenant = $1 and suite = $2', [tenant, suite.name]);
  await tx.execute(
    `update policy_questions set state = 'abandoned' where tenant = $1 and suite = $2 and state = 'pending'`,
    [tenant, suite.name],
  );
  const watches = await loadWatches(tx, tenant, suite.name, beforeHash);
  const incumbent = watches.find((watch) => watch.role === 'incumbent')?.model ?? null;
  const candidates = watches.map((watch) => watch.model).filter((model) => model !== incumbent);
  await closeWatches(tx, tenant, suite.name, beforeHash, before.decidedTickMs ?? 0);
  await openWatches(tx, clock, { state, incumbent, candidates, read });
  return state;
}

async function takeUpRollout(
  tx: Tx,
  ctx: PrepareContext,
  active: SuiteState,
  { open, wanted }: LoadedSuite['rollout'],
  read: ReadOffsets,
): Promise<{ readonly next: NextLane | null; readonly leftovers: boolean }> {
  if (wanted !== null && !ctx.rollouts) {
    await rollBackByEngine(tx, ctx.clock, active, wanted.rolloutId, 'this server runs no rollouts');
    if (open !== null) await endNext(tx, active, nextLane(active, open));
    return { next: null, leftovers: open !== null };
  }
  const isOver = open !== null && open.wantedState !== 'running';
  if (open !== null && !isOver) return { next: await takeUpShare(tx, active, open), leftovers: false };
  if (open !== null) await endNext(tx, active, nextLane(active, open));
  if (wanted === null) return { next: null, leftovers: isOver };
  // The same version again waits until its rows are gone.
  const next = (await startNext(tx, ctx.clock, active, wanted, read)) ?? null;
  return { next, leftovers: isOver || next === null };
}

/** A share holds as soon as the new version's windows are full, or at once where it is forced. */
async function takeUpShare(tx: Tx, active: SuiteState, open: OpenRollout): Promise<NextLane> {
  const next = nextLane(active, open);
  const share = open.forced || isComplete(open.completeTickMs, open.scoredTickMs) ? open.share : 0;
  return share === open.shareInForce ? next : setShareInForce(tx, active, next, share);
}
