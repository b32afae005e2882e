import type { Tx } from '../../platform/postgres.ts';
import type { ConsumerContext } from '../context.ts';
import { prepareSuites } from '../promotion/prepare-suites.ts';
import { loadWatches } from '../promotion/watches.sql.ts';
import { addRefused, saveScoredTick } from '../rollout/rollout-state.sql.ts';
import type { NextLane, SuiteLanes } from '../rollout/suite-lanes.ts';
import { withoutFaulty } from '../rollout/without-faulty.ts';
import type { PartitionMark } from '../rules/watermark.ts';
import { addPaneDeltas } from './add-panes.sql.ts';
import { type AdvancedSuite, advanceSuite } from './advance-suite.ts';
import {
  addCounters,
  addDedupBlocks,
  addEdge,
  addEvidenceRows,
  addQuarantine,
  addTickReports,
  saveMark,
} from './effects.sql.ts';
import { isInputFault } from './fault.ts';
import { type Owned, partitionFence } from './ownership.sql.ts';
import { advancePosition, loadPositions, type StoredPosition } from './positions.sql.ts';
import { isPruneDue, prune } from './prune.ts';
import { addRescore } from './publish-ticks.ts';
import type { Effects, GivenUp, Segment, VersionEffects, VersionWorld } from './reader-tasks.ts';
import type { ReaderThread } from './reader-thread.ts';
import { REPORTS_TOPIC } from './report-log.ts';
import { loadStrayMarks, saveStrayMarks } from './stray-marks.sql.ts';
import { type SuiteRef, type SuiteState, saveSuiteState, stateVersion, suiteKey } from './suite-state.sql.ts';

/** What is known of the log's ends when the lines were read. */
export interface LogEnds {
  readonly logAppendMs: number;
  /** By partition: nothing that can be read is at or above it. */
  readonly nextOffset: ReadonlyMap<number, bigint>;
}

export interface FlushInput {
  readonly owned: Owned;
  readonly from: StoredPosition;
  readonly ends: LogEnds;
  readonly reader: ReaderThread;
  /** Read, and not done; at least one line. */
  readonly segment: Segment;
  /** How many of its lines; those of them that belong elsewhere were appended there. */
  readonly lines: number;
  /** They are one message, which failed before. */
  readonly alone: boolean;
}

export interface Flushed {
  readonly next: StoredPosition;
  readonly effects: Effects;
  /** Suites with ticks left to publish or judge in further transactions. */
  readonly more: readonly SuiteRef[];
  readonly unsettled: readonly SuiteRef[];
  /** Suites whose ticks could not be published or judged: the reports are in, the ticks wait. */
  readonly stuck: readonly StuckSuite[];
  /** Reports that the dedup state forgot. */
  readonly forgotten: number;
  /** Rows of a suite's version that is kept no more wait to be removed. */
  readonly leftovers: boolean;
  /** Suites whose new version could not be computed. */
  readonly rolledBack: readonly SuiteRef[];
}

export interface StuckSuite {
  readonly ref: SuiteRef;
  readonly error: unknown;
}

/** A version of a suite is another one than the lines were read by: nothing was changed, and they must be read again. */
export class OutdatedReading extends Error {
  override name = 'OutdatedReading';
}

/**
 * One flush: one transaction under the partition's epoch in which the position, the dedup blocks and every effect of the lines
 * commit together. It may be repeated at any point: nothing outside the transaction changes.
 * Throws StaleOwner, StalePosition, OutdatedReading, SuiteHeld.
 */
export async function flush(ctx: ConsumerContext, input: FlushInput): Promise<Flushed> {
  const { ends, from, owned, reader, segment } = input;
  const { partition } = owned;
  return ctx.db.asFenced(partitionFence(owned), async (tx) => {
    const works = await loadWorks(tx, ctx, input);
    const world = {
      logAppendMs: ends.logAppendMs,
      lastAppendMs: ends.logAppendMs,
      suites: works.map(({ active, next }) => ({ active, next: next?.version ?? null })),
      versions: await loadVersions(tx, segment.models),
      strayMarks: segment.cameFromElsewhere ? await loadStrayMarks(tx, REPORTS_TOPIC, partition) : [],
    };
    const effects = await reader.apply({ partition, lines: input.lines, world }, input.alone);
    if (effects.kind === 'outdated')
      throw new OutdatedReading('a suite has another version than its lines were read by');
    const next = { ...effects.next, appendedAtMs: Math.max(from.appendedAtMs, effects.next.appendedAtMs) };
    await advancePosition(tx, REPORTS_TOPIC, partition, from, next);
    await addDedupBlocks(tx, REPORTS_TOPIC, partition, effects.dedup);
    await saveStrayMarks(tx, REPORTS_TOPIC, partition, effects.strayMarks);
    await addQuarantine(tx, effects.asides);
    const done = await applySuites(tx, ctx, works, effects);
    // Last: lines of no suite are counted in one row of the tenant, which other readers wait for.
    await addCounters(tx, effects.counters);
    return { next, effects, ...done };
  });
}

/** A suite in this flush, under each version that is kept, as the transaction found it. */
interface SuiteWork {
  readonly active: VersionWorld;
  readonly next: { readonly lane: NextLane; readonly version: VersionWorld } | null;
  readonly leftovers: boolean;
}

/** Writes what the lines did to each suite, then publishes and judges the ticks that became final. */
async function applySuites(
  tx: Tx,
  ctx: ConsumerContext,
  works: readonly SuiteWork[],
  effects: Effects,
): Promise<Pick<Flushed, 'more' | 'unsettled' | 'stuck' | 'forgotten' | 'leftovers' | 'rolledBack'>> {
  const more: SuiteRef[] = [];
  const unsettled: SuiteRef[] = [];
  const stuck: StuckSuite[] = [];
  let forgotten = 0;
  const rolledBack: SuiteRef[] = [];
  let leftovers = false;
  for (const [i, work] of works.entries()) {
    leftovers ||= work.leftovers;
    const { active, next } = effects.suites[i]!;
    if (!active.touched) {
      if (work.next !== null && next !== null) await addRefused(tx, work.next.lane.rolloutId, 0, next.missed);
      continue;
    }
    const { tenant, suite } = active.state;
    const ref = { tenant, name: suite.name };
    const from = ctx.recentCommits && (await stateVersion(tx, ref));
    await addEffects(tx, active);
    await saveMark(tx, tenant, suite.name, REPORTS_TOPIC, active.mark!);
    const lanes = await addEffectsBeside(tx, ctx, work, active, next);
    const startedMs = performance.now();
    const advanced = await tryAdvance(tx, ctx, lanes, effects.traceId);
    if ('error' in advanced) {
      stuck.push({ ref, error: advanced.error });
      continue;
    }
    if (advanced.scored > 0) ctx.metrics.scoringLatency((performance.now() - startedMs) / 1000);
    if (advanced.more) more.push(ref);
    if (advanced.unsettled) unsettled.push(ref);
    if (work.next !== null && advanced.lanes.next === null) rolledBack.push(ref);
    if (isPruneDue(work.active.state, advanced.lanes.active)) forgotten += await prune(tx, advanced.lanes);
    // Late data may have changed the board that is there.
    if (from !== undefined && advanced.scored === 0) {
      const to = await stateVersion(tx, ref);
      ctx.recentCommits?.note({ tenant, suiteHash: suite.hash, from, to, panes: active.panes });
    }
  }
  return { more, unsettled, stuck, forgotten, leftovers: leftovers || rolledBack.length > 0, rolledBack };
}

/** The deltas of one version. */
async function addEffects(tx: Tx, effects: VersionEffects): Promise<void> {
  const { tenant, suite } = effects.state;
  for (const deltas of effects.panes) await addPaneDeltas(tx, tenant, suite.name, deltas);
  await addEvidenceRows(tx, tenant, effects.evidence);
  await addEdge(tx, tenant, suite.name, suite.hash, effects.state.watermarkMs, effects.edge);
  await addTickReports(tx, tenant, suite.name, suite.hash, effects.tickReports);
  if (effects.rescore !== undefined) await addRescore(tx, tenant, suite, effects.rescore);
}

/** Those of the new version, and the suite as both versions leave it; without the new one where its deltas cannot be written. */
async function addEffectsBeside(
  tx: Tx,
  ctx: ConsumerContext,
  work: SuiteWork,
  { state: active }: VersionEffects,
  next: VersionEffects | null,
): Promise<SuiteLanes> {
  if (work.next === null || next === null) return { active, next: null };
  const lane = { ...work.next.lane, state: next.state };
  return withoutFaulty(tx, ctx.clock, { active, next: lane }, async (lanes) => {
    if (lanes.next === null) return lanes;
    await addEffects(tx, next);
    await addRefused(tx, lane.rolloutId, next.refused, next.missed);
    return lanes;
  });
}

/** A suite whose ticks cannot be published must not cost it, or its neighbours in the batch, the reports. */
async function tryAdvance(
  tx: Tx,
  ctx: ConsumerContext,
  lanes: SuiteLanes,
  traceId: string,
): Promise<AdvancedSuite | { readonly error: unknown }> {
  await tx.query('savepoint advance');
  try {
    const advanced = await advanceSuite(tx, ctx.clock, lanes, traceId);
    await tx.query('release savepoint advance');
    return advanced;
  } catch (error) {
    if (!isInputFault(error)) throw error;
    await tx.query('rollback to savepoint advance');
    const { active, next } = lanes;
    await saveSuiteState(tx, { ...active, traceId });
    if (next !== null) await saveScoredTick(tx, next.rolloutId, next.state.scoredTickMs);
    return { error };
  }
}

async function loadWorks(tx: Tx, ctx: ConsumerContext, input: FlushInput): Promise<readonly SuiteWork[]> {
  const works: SuiteWork[] = [];
  const prepared = await prepareSuites(tx, ctx, input.segment.suites, input.owned.member);
  if (prepared.length === 0) return works;
  const lastAppendMs = lastAppends(await loadPositions(tx, REPORTS_TOPIC), input.ends);
  for (const { lanes, leftovers } of prepared) {
    const { active, next } = lanes;
    const marks = await loadMarks(tx, active, lastAppendMs);
    const beside = next === null ? null : { lane: next, version: await loadVersion(tx, next.state, marks) };
    works.push({ active: await loadVersion(tx, active, marks), next: beside, leftovers });
  }
  return works;
}

/** One version of a suite. */
async function loadVersion(tx: Tx, state: SuiteState, marks: readonly PartitionMark[]): Promise<VersionWorld> {
  const { tenant, suite } = state;
  const watches = await loadWatches(tx, tenant, suite.name, suite.hash);
  // Of the edge only what these lines add to it is drawn.
  return { state, watches, marks, edge: [] };
}

/** Append time of each partition's last record; one with unread messages is never idle, and has the log's. */
function lastAppends(
  positions: ReadonlyMap<number, StoredPosition>,
  { logAppendMs, nextOffset }: LogEnds,
): (partition: number) => number {
  return (partition) => {
    const at = positions.get(partition);
    if (at === undefined) return 0;
    return at.offset < (nextOffset.get(partition) ?? 0n) ? logAppendMs : at.appendedAtMs;
  };
}

async function loadMarks(
  tx: Tx,
  state: SuiteState,
  lastAppendMs: (partition: number) => number,
): Promise<readonly PartitionMark[]> {
  const rows = await tx.query<{ partition: number; watermark_ms: bigint }>(
    'select partition, watermark_ms from watermarks where tenant = $1 and suite = $2 and topic = $3',
    [state.tenant, state.suite.name, REPORTS_TOPIC],
  );
  return rows.map((row) => ({
    partition: row.partition,
    watermarkMs: Number(row.watermark_ms),
    lastAppendMs: lastAppendMs(row.partition),
  }));
}

/** tenant/version → retired? Versions that are not there are unknown. */
async function loadVersions(tx: Tx, models: Segment['models']): Promise<ReadonlyMap<string, boolean>> {
  const rows = await tx.query<{ tenant: string; version: string; retired: boolean }>(
    `select v.tenant, v.version, v.retired_at is not null as retired from model_versions v
       join unnest($1::text[], $2::text[]) as a (tenant, version) using (tenant, version)`,
    [models.map((one) => one.tenant), models.map((one) => one.model)],
  );
  return new Map(rows.map((row) => [suiteKey(row.tenant, row.version), row.retired]));
}

/** Sets a whole message aside whose handling failed again and again, and moves the partition on. */
export async function quarantineMessage(
  ctx: ConsumerContext,
  { owned, from }: Pick<FlushInput, 'owned' | 'from'>,
  { appendedAtMs, asides, offset, tenant }: Omit<GivenUp, 'segment'>,
): Promise<StoredPosition> {
  const next = { offset: offset + 1n, line: 0, appendedAtMs: Math.max(from.appendedAtMs, appendedAtMs) };
  await ctx.db.asFenced(partitionFence(owned), async (tx) => {
    await advancePosition(tx, REPORTS_TOPIC, owned.partition, from, next);
    await addQuarantine(tx, asides);
    const counts = { accepted: 0, quarantined: asides.length, duplicates: 0, conflicts: 0, lateArchived: 0 };
    await addCounters(tx, [{ tenant, suite: '', counts }]);
  });
  return next;
}
