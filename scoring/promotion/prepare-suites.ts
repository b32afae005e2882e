import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { ReadOffsets } from '../ingest/positions.sql.ts';
import { loadSuites, type SuiteRef, type SuiteState, saveSuiteState } from '../ingest/suite-state.sql.ts';
import { tickAt } from '../rules/watermark.ts';
import { admitCandidates, loadWatches, replaceWatches } from './watches.sql.ts';

/**
 * Brings the consumer's view of suites up to what requests changed since: a new suite, a new version of one, new
 * candidates. Called at the start of each transaction that reads reports, before the first of them, so that each change
 * has one place in the order of the log.
 */
export async function prepareSuites(
  tx: Tx,
  clock: Clock,
  refs: readonly SuiteRef[] | undefined,
  read: ReadOffsets,
): Promise<readonly SuiteState[]> {
  const states: SuiteState[] = [];
  for (const loaded of await loadSuites(tx, refs)) {
    let { state } = loaded;
    if (loaded.isNew) await saveSuiteState(tx, state);
    if (loaded.hashChanged) state = await startVersion(tx, clock, state, read);
    await admitCandidates(tx, clock, state, read);
    states.push(state);
  }
  return states;
}

/**
 * Another version of a suite has panes and scores of its own, and its numbers do not compare with the old ones: every
 * challenge starts again, and ticks that were final before are not judged by it.
 */
async function startVersion(tx: Tx, clock: Clock, before: SuiteState, read: ReadOffsets): Promise<SuiteState> {
  const { tenant, suite, watermarkMs } = before;
  const tickMs = watermarkMs === null ? null : tickAt(watermarkMs, suite.tickMs);
  const state = { ...before, scoredTickMs: tickMs, decidedTickMs: tickMs };
  await saveSuiteState(tx, state);
  await tx.execute('delete from rescore_ranges where tenant = $1 and suite = $2', [tenant, suite.name]);
  await tx.execute(
    `update policy_questions set state = 'abandoned' where tenant = $1 and suite = $2 and state = 'pending'`,
    [tenant, suite.name],
  );
  const watches = await loadWatches(tx, tenant, suite.name);
  const incumbent = watches.find((watch) => watch.role === 'incumbent')?.model ?? null;
  const candidates = watches.map((watch) => watch.model).filter((model) => model !== incumbent);
  await replaceWatches(tx, clock, { state, incumbent, candidates, read }, before.decidedTickMs ?? 0);
  return state;
}
