import type { Tx } from '../../platform/postgres.ts';
import { newTrace } from '../../platform/trace.ts';
import type { ScoringContext } from '../context.ts';
import { prepareSuites } from '../promotion/prepare-suites.ts';
import { loadWatches } from '../promotion/watches.sql.ts';
import { addRefused, saveScoredTick } from '../rollout/rollout-state.sql.ts';
import type { NextLane, SuiteLanes } from '../rollout/suite-lanes.ts';
import { withoutFaulty } from '../rollout/without-faulty.ts';
import type { PartitionMark } from '../rules/watermark.ts';
import { type AdvancedSuite, advanceSuite } from './advance-suite.ts';
import { type AsideLine, Batch, SuiteBatch } from './batch.ts';
import type { DedupIndex } from './dedup-index.ts';
import {
  addCounters,
  addDedupBlocks,
  addEvidenceRows,
  addPanes,
  addQuarantine,
  addTickReports,
  loadEdge,
  saveEdge,
  saveMark,
} from './effects.sql.ts';
import { isInputFault } from './fault.ts';
import { advancePosition, loadPositions, type ReadOffsets, readOffsets, type StoredPosition } from './positions.sql.ts';
import { isPruneDue, prune } from './prune.ts';
import { addRescore } from './publish-ticks.ts';
import type { LogLine } from './read-lines.ts';
import { REPORTS_TOPIC } from './report-log.ts';
import { type SuiteRef, type SuiteState, saveSuiteState, suiteKey } from './suite-state.sql.ts';

/** What is known of the log's ends when the lines were read; partitions that lag are never idle. */
export interface LogEnds {
  readonly logAppendMs: number;
  /** Partition → append time of its last record; of one with unread messages, logAppendMs. */
  readonly lastAppendMs: ReadonlyMap<number, number>;
}

export interface FlushInput {
  readonly partition: number;
  readonly from: StoredPosition;
  /** At least one. */
  readonly lines: readonly LogLine[];
  readonly ends: LogEnds;
  readonly known: DedupIndex;
}

export interface Flushed {
  /** Lines done: the flush ends early behind a line that makes a tick final. */
  readonly lines: number;
  readonly next: StoredPosition;
  readonly batch: Batch;
  /** Suites with ticks left to publish or judge in further transactions. */
  readonly more: readonly SuiteRef[];
  readonly unsettled: readonly SuiteRef[];
  /** Suites whose ticks could not be published or judged: the reports are in, the ticks wait. */
  readonly stuck: readonly StuckSuite[];
  /** Reports that the dedup state forgot. */
  readonly forgotten: number;
  /** Rows of a suite's version that is kept no more wait to be removed. */
  readonly leftovers: boolean;
  /** What the new versions made of the reports, one a suite that has one. */
  readonly beside: readonly Pick<SuiteBatch, 'counted' | 'refused' | 'missed'>[];
  /** Suites whose new version could not be computed. */
  readonly rolledBack: readonly SuiteRef[];
}

export interface StuckSuite {
  readonly ref: SuiteRef;
  readonly error: unknown;
}

/**
 * One flush: one transaction under the leader's epoch in which the position, the dedup blocks and every effect of the lines
 * commit together. It may be repeated at any point: nothing outside the transaction changes, and `known` is only read.
 * Throws StaleLeader, StalePosition.
 */
export async function flush(ctx: ScoringContext, input: FlushInput): Promise<Flushed> {
  return ctx.db.asLeader(ctx.epoch, async (tx) => {
    const positions = new Map(await loadPositions(tx, REPORTS_TOPIC));
    const works = await loadWorks(tx, ctx, input, readOffsets(positions));
    const versions = await loadVersions(tx, input.lines);
    const batch = new Batch({
      partition: input.partition,
      logAppendMs: input.ends.logAppendMs,
      lastAppendMs: input.ends.lastAppendMs.get(input.partition) ?? 0,
      suites: new Map([...works].map(([key, work]) => [key, work.active])),
      next: new Map([...works].flatMap(([key, { next }]) => (next === null ? [] : [[key, next.batch]]))),
      versions,
      known: input.known,
    });
    for (const line of input.lines) if (!batch.take(line)) break;
    const next = { ...batch.next!, appendedAtMs: Math.max(input.from.appendedAtMs, batch.next!.appendedAtMs) };
    await advancePosition(tx, REPORTS_TOPIC, input.partition, input.from, next);
    await addDedupBlocks(tx, REPORTS_TOPIC, input.partition, batch.dedupEntries());
    await addQuarantine(tx, batch.asides);
    await addCounters(tx, batch.counters.values());
    const traceId = batch.final?.traceId ?? input.lines[batch.lines - 1]?.traceId ?? newTrace().traceId;
    const done = await applySuites(tx, ctx, input.partition, works.values(), traceId);
    const beside = [...works.values()].flatMap((work) => (work.next === null ? [] : [work.next.batch]));
    return { lines: batch.lines, next, batch, beside, ...done };
  });
}

/** A suite in this flush: what the lines do to it under each version that is kept. */
interface SuiteWork {
  readonly active: SuiteBatch;
  readonly next: { readonly lane: NextLane; readonly batch: SuiteBatch } | null;
  readonly leftovers: boolean;
}

/** Writes what the lines did to each suite, then publishes and judges the ticks that became final. */
async function applySuites(
  tx: Tx,
  ctx: ScoringContext,
  partition: number,
  works: Iterable<SuiteWork>,
  traceId: string,
): Promise<Pick<Flushed, 'more' | 'unsettled' | 'stuck' | 'forgotten' | 'leftovers' | 'rolledBack'>> {
  const more: SuiteRef[] = [];
  const unsettled: SuiteRef[] = [];
  const stuck: StuckSuite[] = [];
  let forgotten = 0;
  const rolledBack: SuiteRef[] = [];
  let leftovers = false;
  for (const work of works) {
    leftovers ||= work.leftovers;
    const { active } = work;
    if (!active.touched) {
      if (work.next !== null) await addRefused(tx, work.next.lane.rolloutId, 0, work.next.batch.missed);
      continue;
    }
    const { tenant, suite } = active.state;
    const ref = { tenant, name: suite.name };
    await addEffects(tx, active);
    await saveMark(tx, tenant, suite.name, REPORTS_TOPIC, active.marks.get(partition)!);
    const lanes = await addEffectsBeside(tx, ctx, work);
    const startedMs = performance.now();
    const advanced = await tryAdvance(tx, ctx, lanes, traceId);
    if ('error' in advanced) {
      stuck.push({ ref, error: advanced.error });
      continue;
    }
    if (advanced.scored > 0) ctx.metrics.scoringLatency((performance.now() - startedMs) / 1000);
    if (advanced.more) more.push(ref);
    if (advanced.unsettled) unsettled.push(ref);
    if (work.next !== null && advanced.lanes.next === null) rolledBack.push(ref);
    if (isPruneDue(active.before, advanced.lanes.active)) forgotten += await prune(tx, advanced.lanes);
  }
  return { more, unsettled, stuck, forgotten, leftovers: leftovers || rolledBack.length > 0, rolledBack };
}

/** The deltas of one version. */
async function addEffects(tx: Tx, batch: SuiteBatch): Promise<void> {
  const { tenant, suite } = batch.state;
  await addPanes(tx, tenant, suite.name, batch.panes.rows());
  await addEvidenceRows(tx, tenant, batch.evidenceRows());
  await saveEdge(tx, tenant, suite.name, suite.hash, batch.edge.entries());
  await addTickReports(tx, tenant, suite.name, suite.hash, batch.tickReports);
  if (batch.rescore !== undefined) await addRescore(tx, tenant, suite, batch.rescore);
}

/** Those of the new version, and the suite as both versions leave it; without the new one where its deltas cannot be written. */
async function addEffectsBeside(tx: Tx, ctx: ScoringContext, work: SuiteWork): Promise<SuiteLanes> {
  const active = work.active.state;
  if (work.next === null) return { active, next: null };
  const { batch } = work.next;
  const lane = { ...work.next.lane, state: batch.state };
  return withoutFaulty(tx, ctx.clock, { active, next: lane }, async (lanes) => {
    if (lanes.next === null) return lanes;
    await addEffects(tx, batch);
    await addRefused(tx, lane.rolloutId, batch.refused, batch.missed);
    return lanes;
  });
}

/** A suite whose ticks cannot be published must not cost it, or its neighbours in the batch, the reports. */
async function tryAdvance(
  tx: Tx,
  ctx: ScoringContext,
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

async function loadWorks(
  tx: Tx,
  ctx: ScoringContext,
  input: FlushInput,
  read: ReadOffsets,
): Promise<ReadonlyMap<string, SuiteWork>> {
  const refs = new Map<string, SuiteRef>();
  for (const { message, reading } of input.lines) {
    if (!reading.ok) continue;
    const ref = { tenant: message.tenant, name: reading.report.suite };
    refs.set(suiteKey(ref.tenant, ref.name), ref);
  }
  const works = new Map<string, SuiteWork>();
  for (const { lanes, leftovers } of await prepareSuites(tx, ctx, [...refs.values()], read)) {
    const { active, next } = lanes;
    const marks = await loadMarks(tx, active, input);
    const batch = await loadBatch(tx, active, marks);
    const beside = next === null ? null : { lane: next, batch: await loadBatch(tx, next.state, marks) };
    works.set(suiteKey(active.tenant, active.suite.name), { active: batch, next: beside, leftovers });
  }
  return works;
}

/** Of one version of a suite. */
async function loadBatch(tx: Tx, state: SuiteState, marks: readonly PartitionMark[]): Promise<SuiteBatch> {
  const { tenant, suite } = state;
  const watches = await loadWatches(tx, tenant, suite.name, suite.hash);
  return new SuiteBatch(state, watches, marks, await loadEdge(tx, tenant, suite.name, suite.hash));
}

async function loadMarks(tx: Tx, state: SuiteState, input: FlushInput): Promise<readonly PartitionMark[]> {
  const rows = await tx.query<{ partition: number; watermark_ms: bigint }>(
    'select partition, watermark_ms from watermarks where tenant = $1 and suite = $2 and topic = $3',
    [state.tenant, state.suite.name, REPORTS_TOPIC],
  );
  return rows.map((row) => ({
    partition: row.partition,
    watermarkMs: Number(row.watermark_ms),
    lastAppendMs: input.ends.lastAppendMs.get(row.partition) ?? 0,
  }));
}

/** tenant/version → retired? Versions that are not there are unknown. */
async function loadVersions(tx: Tx, lines: readonly LogLine[]): Promise<ReadonlyMap<string, boolean>> {
  const named = new Map<string, { readonly tenant: string; readonly model: string }>();
  for (const { message, reading } of lines) {
    if (!reading.ok) continue;
    named.set(suiteKey(message.tenant, reading.report.model), { tenant: message.tenant, model: reading.report.model });
  }
  const rows = await tx.query<{ tenant: string; version: string; retired: boolean }>(
    `select v.tenant, v.version, v.retired_at is not null as retired from model_versions v
       join unnest($1::text[], $2::text[]) as a (tenant, version) using (tenant, version)`,
    [[...named.values()].map((one) => one.tenant), [...named.values()].map((one) => one.model)],
  );
  return new Map(rows.map((row) => [suiteKey(row.tenant, row.version), row.retired]));
}

/** Sets a whole message aside whose handling failed again and again, and moves the partition on. */
export async function quarantineMessage(
  ctx: ScoringContext,
  input: FlushInput,
  problem: string,
): Promise<StoredPosition> {
  const first = input.lines[0]!;
  const lines = input.lines.filter((line) => line.message.offset === first.message.offset);
  const aside = { code: 'handler_failed', field: '', position: 0, problem } as const;
  const asides: AsideLine[] = lines.map((line) => ({
    line,
    aside,
    producer: line.reading.ok ? line.reading.report.producer : null,
  }));
  const next = {
    offset: first.message.offset + 1n,
    line: 0,
    appendedAtMs: Math.max(input.from.appendedAtMs, Math.floor(first.message.appendedAtMs)),
  };
  await ctx.db.asLeader(ctx.epoch, async (tx) => {
    await advancePosition(tx, REPORTS_TOPIC, input.partition, input.from, next);
    await addQuarantine(tx, asides);
    const counts = { accepted: 0, quarantined: asides.length, duplicates: 0, conflicts: 0, lateArchived: 0 };
    await addCounters(tx, [{ tenant: first.message.tenant, suite: '', counts }]);
  });
  return next;
}
