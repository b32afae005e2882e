import { assert } from '../../core/assert.ts';
import { canonicalText } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import { compositeRow, windowRows } from '../rules/checksum.ts';
import type { Contribution } from '../rules/contribution.ts';
import { recordedAction, recordedEvidence } from '../rules/decision.ts';
import { tickAfter } from '../rules/evidence.ts';
import type { PublishedModel, WindowName } from '../rules/published.ts';
import { MAX_RECORDED_TICKS, RECORDED_BACK_MS } from '../rules/retention.ts';
import { scoreModels } from '../rules/score-models.ts';
import { affectedTicks, isTooLate, MAX_LATENESS_MS, tickAt } from '../rules/watermark.ts';
import { Contest, type TickScores } from './contest.ts';
import { type BacktestDecision, DecisionList } from './decision-list.ts';
import { ModelSeries } from './model-series.ts';

/** Panes kept at once, of all models and resolutions: about a gigabyte at three metrics. */
export const MAX_PANES = 4_000_000;
/** Ticks published between two chances for the caller to do something else. */
const SLICE_TICKS = 16;
const HOUR_MS = 3_600_000;

/** Takes the checksum rows of ticks that can change no more, without the head that all of a suite share. */
export interface RowSink {
  add(model: string, window: WindowName | null, end: string, row: string): void;
}

export interface ReplayOptions {
  readonly suite: Suite;
  /** Who sits at the start; null: nobody. */
  readonly incumbent: string | null;
  /** Reports observed before it are passed over, as if the archive began here; null: it begins where it begins. */
  readonly fromMs: number | null;
  /** Reports observed at or after it move the watermark and do nothing else, and no later tick is decided; null: no end. */
  readonly untilMs: number | null;
  readonly rows: RowSink;
  /** For tests. */
  readonly maxPanes?: number | undefined;
}

export interface ReplayCounts {
  /** Reports that count. */
  readonly replayed: number;
  /** Of them, those that changed a tick which was final already. */
  readonly late: number;
  /** Reports more than 7 days late: they touch nothing. */
  readonly lateArchived: number;
  /** Reports before the first or after the last instant asked for. */
  readonly outside: number;
  /** Final ticks at which some model had scores. */
  readonly ticks: number;
}

/**
 * The online rules over event time, with one partition whose log order is the order of `take`. A tick is final when the
 * watermark reaches it and is decided then; what it published is settled 7 days later, when no report can reach it any
 * more. So scores are looked at twice, from two places that move forward over the same panes, and late data costs nothing
 * extra. Memory is that of the panes kept (rules/retention.ts) and of the evidence of each model, whatever the number of
 * reports. Nothing here waits or reads a clock.
 */
export class Replay {
  readonly #suite: Suite;
  readonly #fromMs: number;
  readonly #untilMs: number;
  readonly #rows: RowSink;
  readonly #maxPanes: number;
  /** What every checksum row begins with. */
  readonly head: string;
  readonly #contest: Contest;
  readonly #series = new Map<string, ModelSeries>();
  readonly #decisions = new DecisionList();
  #watermarkMs: number | null = null;
  /** Ticks up to it are final and decided. */
  #scoredMs: number | null = null;
  /** Ticks up to it are settled: their rows are given away. */
  #settledMs = Number.NEGATIVE_INFINITY;
  #prunedHour = Number.NEGATIVE_INFINITY;
  /** Models with a report in the tick after the last final one. */
  #fresh = new Set<ModelSeries>();
  #replayed = 0;
  #late = 0;
  #lateArchived = 0;
  #outside = 0;
  #ticks = 0;

  constructor({ suite, incumbent, fromMs, untilMs, rows, maxPanes = MAX_PANES }: ReplayOptions) {
    this.#maxPanes = maxPanes;
    this.#suite = suite;
    this.#fromMs = fromMs ?? Number.NEGATIVE_INFINITY;
    this.#untilMs = untilMs ?? Number.POSITIVE_INFINITY;
    this.#rows = rows;
    this.head = `${canonicalText([suite.name, suite.hash]).slice(0, -1)},`;
    this.#contest = new Contest(suite, incumbent);
  }

  /** An accepted report of the suite, in log order. */
  take(contribution: Contribution): void {
    const { observedAtMs } = contribution;
    const isBeyond = observedAtMs >= this.#untilMs;
    if (isBeyond || observedAtMs < this.#fromMs) this.#outside++;
    if (observedAtMs < this.#fromMs) return;
    const before = this.#watermarkMs;
    if (!isBeyond && this.#suite.promotion !== null) this.#contest.register(contribution.model, before);
    const watermarkMs = Math.max(before ?? observedAtMs, observedAtMs);
    this.#watermarkMs = watermarkMs;
    this.#finish(watermarkMs);
    if (isBeyond) return;
    if (isTooLate(observedAtMs, before)) this.#lateArchived++;
    else this.#count(contribution, watermarkMs);
  }

  /**
   * Ticks that the watermark has reached are final. Reports are read up to the first that reaches a tick, and that one is not
   * counted yet: so at most the first of these ticks holds a report, and none holds one from behind it.
   */
  #finish(watermarkMs: number): void {
    const { tickMs } = this.#suite;
    const targetMs = tickAt(Math.min(watermarkMs, this.#untilMs), tickMs);
    if (this.#scoredMs === null) {
      // Before the first report no tick holds one: the ticks up to it are final and empty.
      this.#scoredMs = targetMs;
      this.#settledMs = Math.min(targetMs, tickAt(watermarkMs - MAX_LATENESS_MS, tickMs));
    }
    if (targetMs <= this.#scoredMs) return;
    if (this.#suite.promotion !== null) this.#decide(this.#scoredMs + tickMs, watermarkMs);
    this.#fresh.clear();
    this.#scoredMs = targetMs;
  }

  #count(contribution: Contribution, watermarkMs: number): void {
    const { model, observedAtMs } = contribution;
    const series = this.#seriesOf(model);
    const scoredMs = this.#scoredMs ?? Number.NEGATIVE_INFINITY;
    const tickMs = tickAfter(observedAtMs, this.#suite.tickMs);
    this.#replayed++;
    series.add(contribution, tickMs);
    if (tickMs > scoredMs) this.#fresh.add(series);
    const affected = affectedTicks(this.#suite, observedAtMs);
    if (affected !== undefined && affected.firstMs <= scoredMs) this.#late++;
    if (this.#suite.promotion !== null) this.#contest.count(contribution, watermarkMs);
  }

  #seriesOf(model: string): ModelSeries {
    let series = this.#series.get(model);
    if (series === undefined) {
      series = new ModelSeries(this.#suite, model);
      this.#series.set(model, series);
    }
    return series;
  }

  #decide(tickMs: number, watermarkMs: number): void {
    const scores = new Map<string, PublishedModel | null>();
    for (const series of this.#fresh) scores.set(series.model, series.leading.at(tickMs) ?? null);
    if (scores.size === 0) return;
    const decided = this.#contest.decide(tickMs, watermarkMs, scores satisfies TickScores);
    if (decided === null) return;
    const { decision, incumbentBefore } = decided;
    const { tick, model } = decision;
    const composites = this.#composites(model, tickMs, decision.evidence.run);
    const evidence = recordedEvidence(decision, composites);
    const made = { tick, model, action: recordedAction(decision), incumbentBefore, evidence };
    this.#decisions.add(made, composites.keys());
  }

  /** The composites of the counted ticks as they are now: the last `run` ones that hold a report of the model. */
  #composites(model: string, tickMs: number, run: number): ReadonlyMap<number, number> {
    const series = this.#series.get(model);
    assert(series !== undefined, 'Replay: a decided tick holds a report of its model');
    const wanted = Math.min(Math.max(run, 1), MAX_RECORDED_TICKS);
    const found = new Map<number, number>();
    for (const reportedMs of series.reportedTicks(tickMs - RECORDED_BACK_MS, tickMs).toReversed()) {
      const { composite } = series.scoreAt(reportedMs);
      if (composite !== null) found.set(reportedMs, composite);
      if (found.size === wanted) break;
    }
    return found;
  }

  /** Settles the ticks that no report can reach any more, in slices: call it now and then, and go through it to its end. */
  *settle(): Generator<void> {
    if (this.#watermarkMs === null || this.#scoredMs === null) return;
    const reachableMs = tickAt(this.#watermarkMs - MAX_LATENESS_MS, this.#suite.tickMs);
    yield* this.#settleTo(Math.min(reachableMs, this.#scoredMs));
    this.#prune(this.#scoredMs);
  }

  /** The archive is at its end: settles every final tick. */
  *end(): Generator<void> {
    if (this.#scoredMs !== null) yield* this.#settleTo(this.#scoredMs);
  }

  *#settleTo(targetMs: number): Generator<void> {
    const { tickMs } = this.#suite;
    for (let slice = 1; this.#settledMs < targetMs; slice++) {
      const nextMs = this.#settledMs + tickMs;
      if (this.#publish(nextMs)) {
        this.#ticks++;
        this.#settledMs = nextMs;
      } else {
        // Event time may jump by years: nothing is in any window until the next pane begins.
        this.#settledMs = Math.min(targetMs, Math.max(nextMs, tickAt(this.#startAfter(nextMs), tickMs)));
      }
      if (slice % SLICE_TICKS === 0) yield;
    }
  }

  #startAfter(tickMs: number): number {
    let first = Number.MAX_SAFE_INTEGER;
    for (const series of this.#series.values()) first = Math.min(first, series.startAfter(tickMs) ?? first);
    return first;
  }

  /** Gives the rows of a settled tick away; false where no model has any. */
  #publish(tickMs: number): boolean {
    let held = false;
    const at = formatRfc3339(tickMs);
    for (const series of this.#series.values()) {
      const model = series.trailing.at(tickMs);
      if (model === undefined) continue;
      held = true;
      this.#addRow(model.model, null, at, compositeRow(this.#suite, tickMs, model));
      for (const { name, window } of series.newWindows(model)) {
        for (const row of windowRows(this.#suite, model.model, name, window).sort()) {
          this.#addRow(model.model, name, window.end, row);
        }
      }
      this.#decisions.settle(model.model, tickMs, model.composite);
    }
    return held;
  }

  #addRow(model: string, window: WindowName | null, end: string, row: string): void {
    this.#rows.add(model, window, end, row.slice(this.head.length));
  }

  /** Once an hour of event time. */
  #prune(scoredMs: number): void {
    const hour = Math.floor(scoredMs / HOUR_MS);
    if (hour > this.#prunedHour) {
      this.#prunedHour = hour;
      for (const [model, series] of this.#series) {
        series.prune(scoredMs);
        if (series.size === 0) this.#series.delete(model);
      }
    }
    let panes = 0;
    for (const series of this.#series.values()) panes += series.size;
    if (panes > this.#maxPanes) {
      const mend = 'split the reports by model, or narrow them with --from and --to';
      throw new OperatingError('capacity', 'never', `keeping more than ${this.#maxPanes} panes of the last days`, {
        mend,
      });
    }
  }

  get counts(): ReplayCounts {
    return {
      replayed: this.#replayed,
      late: this.#late,
      lateArchived: this.#lateArchived,
      outside: this.#outside,
      ticks: this.#ticks,
    };
  }

  /** In the order of their ticks. */
  get decisions(): readonly BacktestDecision[] {
    return this.#decisions.all();
  }

  /** Who sits at the end. */
  get incumbent(): string | null {
    return this.#contest.incumbent;
  }

  /** The last final tick; null: there was no report. */
  get lastTickMs(): number | null {
    return this.#scoredMs;
  }

  /** Everybody's scores at a final tick of the last 7 days, ranked. */
  scoresAt(tickMs: number): readonly PublishedModel[] {
    const models = Array.from(this.#series.values(), (series) => series.sumsAt(tickMs));
    return scoreModels({ suite: this.#suite, atMs: tickMs, models: models.filter(({ windows }) => windows.size > 0) });
  }
}
