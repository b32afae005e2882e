import type { Tx } from '../../platform/postgres.ts';
import type { ConsumerContext } from '../context.ts';
import { dropLeftovers, haveLeftovers } from '../rollout/leftovers.sql.ts';
import { ROLLOUTS_TO_TAKE_UP } from '../rollout/rollout-state.sql.ts';
import { tickAt } from '../rules/watermark.ts';
import { type Owned, partitionFence } from './ownership.sql.ts';
import { resendParked } from './parked.sql.ts';
import type { SuiteDesk } from './suite-desk.ts';
import { loadSuites, type SuiteRef, suiteKey } from './suite-state.sql.ts';

/** What belongs to no partition is done by whoever reads this one. */
export const HOUSE_PARTITION = 0;
/** Below the epochs of leaders, which claim lines too. */
const HOUSE_CLAIM = -1_000_000n;

/** Removes some rows of versions that are kept no more: a few a round, so that reports never wait for it. False where none are left. */
export async function dropSomeLeftovers(ctx: ConsumerContext, owned: Owned, desk: SuiteDesk): Promise<boolean> {
  if (!desk.leftovers) return false;
  desk.leftovers = await ctx.db.asFenced(partitionFence(owned), dropLeftovers);
  return desk.leftovers;
}

/** Suites of which whoever read them before may have left ticks to publish, decisions to sign, or changes to take up. */
export async function unfinishedSuites(tx: Tx): Promise<readonly SuiteRef[]> {
  const rescored = await tx.query<{ tenant: string; suite: string }>('select tenant, suite from rescore_ranges');
  const late = new Set(rescored.map((row) => suiteKey(row.tenant, row.suite)));
  const suites = await loadSuites(tx, undefined);
  return suites.flatMap(({ state, isNew, hashChanged, rollout }) => {
    const { decidedTickMs, scoredTickMs, suite, tenant, watermarkMs } = state;
    const isChanged = isNew || hashChanged || rollout.open !== null || rollout.wanted !== null;
    const isDone =
      watermarkMs === null || (scoredTickMs === tickAt(watermarkMs, suite.tickMs) && decidedTickMs === scoredTickMs);
    const wants = isChanged || !isDone || late.has(suiteKey(tenant, suite.name));
    return wants ? [{ tenant, name: suite.name }] : [];
  });
}

/** Another reader may have left some. */
export async function lookForLeftovers(ctx: ConsumerContext, desk: SuiteDesk): Promise<void> {
  desk.leftovers ||= await ctx.db.asEngine(haveLeftovers);
}

/**
 * When nothing is to be read: candidates, suites and rollouts that requests registered are taken up, and lines that waited for
 * them are appended to the log again. True where there is now something to read.
 */
export async function takeUpChanges(
  ctx: ConsumerContext,
  owned: Owned,
  desk: SuiteDesk,
  signal: AbortSignal,
): Promise<boolean> {
  if (signal.aborted) return false;
  const refs = await ctx.db.asEngine((tx) =>
    tx.query<SuiteRef>(
      `select tenant, suite as name from candidates where state = 'registered'
       union
       select s.tenant, s.suite from suites s left join suite_states t using (tenant, suite)
       where s.active and s.suite_hash is distinct from t.suite_hash
       union ${ROLLOUTS_TO_TAKE_UP}`,
    ),
  );
  desk.markDue(refs);
  if (refs.length > 0) await desk.finish(signal);
  return resendParked(ctx, {
    claim: HOUSE_CLAIM - owned.epoch,
    write: (work) => ctx.db.asFenced(partitionFence(owned), work),
  });
}
