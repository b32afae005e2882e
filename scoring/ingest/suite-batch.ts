import type { MetricRule } from '../../core/suite.ts';
import type { Observation } from '../rules/contribution.ts';
import { Edge, type EdgeEntry } from '../rules/edge.ts';
import {
  beyondOf,
  type EvidenceRow,
  evidenceOf,
  fixedScore,
  isWatched,
  tickAfter,
  watchCounts,
} from '../rules/evidence.ts';
import { EvidenceSum, MAX_SMALL_WEIGHT } from '../rules/evidence-sum.ts';
import { PaneTable } from '../rules/pane-table.ts';
import { affectedTicks, isTooLate, type PartitionMark, suiteWatermark, tickAt } from '../rules/watermark.ts';
import type { Counted } from './line-report.ts';
import type { NativeRows } from './native-rows.ts';
import type { SuiteState } from './suite-state.sql.ts';

/** A watch that counts reports now. */
export interface OpenWatch {
  readonly watchId: string;
  readonly model: string;
  readonly role: 'incumbent' | 'candidate';
  readonly startMs: number | null;
}

/** Reports of a model in a tick. */
export interface TickReports {
  readonly model: string;
  readonly tickMs: number;
  n: number;
}

/** More than a kernel gives numbers to models (MAX_KERNEL_MODELS). */
const MODEL_NUMBERS = 2 ** 20;

/** What the lines of one flush do to one version of a suite. */
export class SuiteBatch {
  /** As the transaction found it. */
  readonly before: SuiteState;
  readonly watches: readonly OpenWatch[];
  readonly panes: PaneTable;
  readonly edge: Edge;
  readonly tickReports = new Map<string, TickReports>();
  /** Partition → its mark; the batch moves its own partition's only. */
  readonly marks: Map<number, PartitionMark>;
  /** Published ticks that late reports touch. */
  rescore: { fromMs: number; toMs: number } | undefined;
  touched = false;
  /** Accepted reports. Of a version beside the active one also those that it refuses, and those it would take that the active one sets aside. */
  counted = 0;
  refused = 0;
  missed = 0;
  readonly #evidence = new Map<string, Omit<EvidenceRow, 'sums'> & { readonly sum: EvidenceSum }>();
  #watermarkMs: number | null;
  #maxObservedMs: number | null;
  #scoredTickMs: number | null;
  #decidedTickMs: number | null;
  /** The partition's mark in `marks`, once it has one and the watermark is up to date with it. */
  #own: { readonly partition: number; watermarkMs: number; lastAppendMs: number } | undefined;
  /** Those that evidence is kept of, and their places in the suite. */
  readonly #watchedMetrics: readonly { readonly rule: MetricRule; readonly metric: number }[];
  /** By tick and the kernel's number of a model: the same as in tickReports, found without a text. */
  readonly #tickSlots = new Map<number, TickReports>();
  /** By the kernel's number of a model: the watches that count it. */
  readonly #watchesOf: (readonly OpenWatch[])[] = [];
  /** By the same, then by metric and watch: what was added to last. */
  readonly #lastSums: ({ readonly tickMs: number; readonly sum: EvidenceSum } | undefined)[][] = [];
  /** Rows not behind the watermark when they were taken: the last of them are the edge. */
  #edgeRows: number[] = [];
  #newestEdgeRowMs = Number.NEGATIVE_INFINITY;

  constructor(
    state: SuiteState,
    watches: readonly OpenWatch[],
    marks: readonly PartitionMark[],
    edge: readonly EdgeEntry[],
  ) {
    this.before = state;
    this.#watchedMetrics = state.suite.metrics.flatMap((rule, metric) => (isWatched(rule) ? [{ rule, metric }] : []));
    this.#watermarkMs = state.watermarkMs;
    this.#maxObservedMs = state.maxObservedMs;
    this.#scoredTickMs = state.scoredTickMs;
    this.#decidedTickMs = state.decidedTickMs;
    this.watches = watches;
    this.marks = new Map(marks.map((mark) => [mark.partition, mark]));
    this.edge = new Edge(edge);
    this.panes = new PaneTable(state.suite.hash);
  }

  get state(): SuiteState {
    return {
      ...this.before,
      watermarkMs: this.#watermarkMs,
      maxObservedMs: this.#maxObservedMs,
      scoredTickMs: this.#scoredTickMs,
      decidedTickMs: this.#decidedTickMs,
    };
  }

  evidenceRows(): readonly EvidenceRow[] {
    return Array.from(this.#evidence.values(), ({ sum, ...row }) => ({ ...row, sums: sum.sums }));
  }

  /** Takes an accepted report in. True where it makes a tick final: nothing may be read past it before the tick is published. */
  take(
    counted: Counted,
    partition: number,
    appendedAtMs: number,
    logAppendMs: number,
  ): { late: boolean; final: boolean } {
    this.touched = true;
    this.counted++;
    const { observedAtMs } = counted.observation;
    const late = isTooLate(observedAtMs, this.#watermarkMs);
    this.#advance(observedAtMs, partition, appendedAtMs, logAppendMs);
    if (!late) this.#count(counted);
    return { late, final: this.#isFinal() };
  }

  /** An accepted report that this version refuses: event time is the suite's and goes on, nothing is counted. */
  pass(observedAtMs: number, partition: number, appendedAtMs: number, logAppendMs: number): { final: boolean } {
    this.touched = true;
    this.refused++;
    this.#advance(observedAtMs, partition, appendedAtMs, logAppendMs);
    return { final: this.#isFinal() };
  }

  /** Would a report observed then be counted, and touch no tick that is published? */
  isOnTime(observedAtMs: number): boolean {
    return (
      !isTooLate(observedAtMs, this.#watermarkMs) && this.#scoredTickMs !== null && observedAtMs >= this.#scoredTickMs
    );
  }

  /** As `take`, of an accepted row of the kernel that is on time. True where it makes a tick final. */
  takeRow(rows: NativeRows, row: number, partition: number, appendedAtMs: number, logAppendMs: number): boolean {
    const { suite } = this.before;
    const observedAtMs = rows.observedAtMs[row]!;
    const model = rows.model[row]!;
    this.touched = true;
    this.counted++;
    this.#advance(observedAtMs, partition, appendedAtMs, logAppendMs);
    rows.accept(row);
    if (this.#watermarkMs === null || observedAtMs >= this.#watermarkMs) this.#keepForEdge(row, observedAtMs);
    const tickMs = tickAfter(observedAtMs, suite.tickMs);
    const slot = (tickMs / suite.tickMs) * MODEL_NUMBERS + model;
    let reports = this.#tickSlots.get(slot);
    if (reports === undefined) {
      reports = this.#reportsOf(rows.modelOf(row), tickMs);
      this.#tickSlots.set(slot, reports);
    }
    reports.n++;
    this.#addRowEvidence(rows, row, tickMs);
    return this.#isFinal();
  }

  #addRowEvidence(rows: NativeRows, row: number, tickMs: number): void {
    const model = rows.model[row]!;
    this.#watchesOf[model] ??= this.#countingOf(rows.modelOf(row));
    const watches = this.#watchesOf[model];
    if (watches.length === 0) return;
    const w = rows.weight[row]!;
    if (w > MAX_SMALL_WEIGHT) {
      this.#addEvidence(rows.observation(row, this.before.suite), tickMs);
      return;
    }
    this.#lastSums[model] ??= [];
    const last = this.#lastSums[model];
    // No closure: it would be compiled anew for each flush.
    for (let i = 0; i < this.#watchedMetrics.length; i++) {
      const { rule, metric } = this.#watchedMetrics[i]!;
      if (!rows.has(row, metric)) continue;
      const x = rows.valueOf(row, metric);
      const [s, beyond] = [fixedScore(rule, x), beyondOf(rule, x)];
      for (let j = 0; j < watches.length; j++) {
        const watch = watches[j]!;
        if (!watchCounts(watch.startMs, rows.observedAtMs[row]!)) continue;
        let found = last[i * watches.length + j];
        if (found?.tickMs !== tickMs) {
          found = { tickMs, sum: this.#sumOf(watch.watchId, rows.modelOf(row), rule.name, tickMs) };
          last[i * watches.length + j] = found;
        }
        found.sum.addSmall(w, s, beyond);
      }
    }
  }

  /** All before the newest fall behind at once where one partition leads. */
  #keepForEdge(row: number, observedAtMs: number): void {
    if (this.#watermarkMs !== null && this.#watermarkMs > this.#newestEdgeRowMs) this.#edgeRows = [];
    this.#edgeRows.push(row);
    this.#newestEdgeRowMs = Math.max(this.#newestEdgeRowMs, observedAtMs);
  }

  /** The edge of the rows taken; before `edge` is read. */
  finishRows(rows: NativeRows): void {
    this.edge.advance(this.#watermarkMs);
    for (const row of this.#edgeRows) {
      if (this.#watermarkMs !== null && rows.observedAtMs[row]! < this.#watermarkMs) continue;
      this.edge.take(rows.observation(row, this.before.suite), this.#watermarkMs);
    }
    this.#edgeRows = [];
  }

  #isFinal(): boolean {
    const [watermarkMs, scoredTickMs] = [this.#watermarkMs, this.#scoredTickMs];
    return (
      watermarkMs !== null && scoredTickMs !== null && tickAt(watermarkMs, this.before.suite.tickMs) > scoredTickMs
    );
  }

  #advance(observedAtMs: number, partition: number, appendedAtMs: number, logAppendMs: number): void {
    let own = this.#own;
    // Nothing moves: the watermark is a function of what stays.
    const old = observedAtMs <= Math.min(own?.watermarkMs ?? observedAtMs, this.#maxObservedMs ?? observedAtMs);
    if (own !== undefined && old && appendedAtMs <= own.lastAppendMs) return;
    if (own === undefined) {
      const mark = this.marks.get(partition);
      own = { partition, watermarkMs: mark?.watermarkMs ?? observedAtMs, lastAppendMs: mark?.lastAppendMs ?? 0 };
      this.#own = own;
      this.marks.set(partition, own);
    }
    own.watermarkMs = Math.max(own.watermarkMs, observedAtMs);
    own.lastAppendMs = Math.max(own.lastAppendMs, appendedAtMs);
    this.#watermarkMs = suiteWatermark(this.#watermarkMs, [...this.marks.values()], logAppendMs);
    // Before the first report no tick holds one: the ticks up to it are final and empty.
    const first = this.#watermarkMs === null ? null : tickAt(this.#watermarkMs, this.before.suite.tickMs);
    this.#maxObservedMs = Math.max(this.#maxObservedMs ?? observedAtMs, observedAtMs);
    this.#scoredTickMs ??= first;
    this.#decidedTickMs ??= first;
  }

  #reportsOf(model: string, tickMs: number): TickReports {
    const key = `${model} ${tickMs}`;
    const reports = this.tickReports.get(key) ?? { model, tickMs, n: 0 };
    this.tickReports.set(key, reports);
    return reports;
  }

  #count({ observation, contribution, counts }: Counted): void {
    const { suite } = this.before;
    const scoredTickMs = this.#scoredTickMs;
    const { model, observedAtMs } = observation;
    if (contribution !== undefined) this.panes.add(contribution);
    counts();
    this.edge.take(observation, this.#watermarkMs);
    const tickMs = tickAfter(observedAtMs, suite.tickMs);
    this.#reportsOf(model, tickMs).n++;
    this.#addEvidence(observation, tickMs);
    const affected = affectedTicks(suite, observedAtMs);
    if (affected === undefined || scoredTickMs === null || affected.firstMs > scoredTickMs) return;
    const toMs = Math.min(affected.lastMs, scoredTickMs);
    const range = this.rescore ?? { fromMs: affected.firstMs, toMs };
    this.rescore = { fromMs: Math.min(range.fromMs, affected.firstMs), toMs: Math.max(range.toMs, toMs) };
  }

  #addEvidence(observation: Observation, tickMs: number): void {
    const { model, observedAtMs } = observation;
    const counting = this.#countingOf(model).filter((watch) => watchCounts(watch.startMs, observedAtMs));
    if (counting.length === 0) return;
    for (const { metric, sums } of evidenceOf(observation)) {
      for (const { watchId } of counting) this.#sumOf(watchId, model, metric, tickMs).add(sums);
    }
  }

  /** A candidate's challenge counts the incumbent's reports too: both arms over the same stretch. */
  #countingOf(model: string): readonly OpenWatch[] {
    const isIncumbent = this.watches.some((watch) => watch.role === 'incumbent' && watch.model === model);
    return this.watches.filter((watch) => watch.model === model || (isIncumbent && watch.role === 'candidate'));
  }

  #sumOf(watchId: string, model: string, metric: string, tickMs: number): EvidenceSum {
    const key = `${watchId} ${model} ${metric} ${tickMs}`;
    let found = this.#evidence.get(key);
    if (found === undefined) {
      found = { watchId, model, metric, tickMs, sum: new EvidenceSum() };
      this.#evidence.set(key, found);
    }
    return found.sum;
  }
}
