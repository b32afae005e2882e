import type { Suite, WindowRule } from '../../core/suite.ts';
import type { Contribution } from '../rules/contribution.ts';
import { RESOLUTION_MS } from '../rules/pane.ts';
import type { PublishedModel, PublishedWindow, WindowName } from '../rules/published.ts';
import { keptFromMs, RECORDED_BACK_MS } from '../rules/retention.ts';
import { type ModelSums, modelOf, scoreModel, scoreWindow } from '../rules/score-models.ts';
import { type WindowSpec, windowAt, windowSpec } from '../rules/windows.ts';
import { MetricSums, reportRow } from './metric-sums.ts';
import { PaneList } from './model-panes.ts';
import { SlidingWindow } from './sliding-window.ts';

interface Series {
  readonly rule: WindowRule;
  readonly spec: WindowSpec;
  readonly panes: PaneList;
}

/** What is kept of one model: the panes of the suite's windows, and two places in time from which they are looked at. */
export class ModelSeries {
  readonly model: string;
  readonly #suite: Suite;
  readonly #series: readonly Series[];
  /** Ticks of the last 7 days that hold a report, ascending. */
  #ticks: number[] = [];
  readonly #given: PublishedWindow[] = [];
  /** At the ticks that have just become final, for decisions. */
  readonly leading: WindowCursor;
  /** At the ticks that no late report can reach any more, for the checksum. */
  readonly trailing: WindowCursor;

  constructor(suite: Suite, model: string) {
    // A parsed name may be a slice that keeps its whole line alive: keep a copy of its own.
    this.model = Buffer.from(model, 'latin1').toString('latin1');
    this.#suite = suite;
    this.#series = suite.windows.map((rule) => {
      const spec = windowSpec(rule.name);
      return { rule, spec, panes: new PaneList(RESOLUTION_MS[spec.resolution], suite.metrics.length) };
    });
    this.leading = new WindowCursor(suite, model, this.#series);
    this.trailing = new WindowCursor(suite, model, this.#series);
  }

  /** Panes kept. */
  get size(): number {
    return this.#series.reduce((size, { panes }) => size + panes.length, 0);
  }

  /** `tickMs` is the tick that holds the report. */
  add(contribution: Contribution, tickMs: number): void {
    const row = reportRow(this.#suite, contribution);
    insertOnce(this.#ticks, tickMs);
    for (const [i, { panes }] of this.#series.entries()) {
      const startMs = panes.add(row, contribution.observedAtMs);
      this.leading.windows[i]!.include(row, startMs);
      this.trailing.windows[i]!.include(row, startMs);
    }
  }

  /** Ticks in [fromMs, toMs] that hold a report, ascending. */
  reportedTicks(fromMs: number, toMs: number): readonly number[] {
    return this.#ticks.filter((tickMs) => tickMs >= fromMs && tickMs <= toMs);
  }

  /** Those windows of the model, as `trailing` gave it, that were not given before: ticks share the longer ones. */
  *newWindows(model: PublishedModel): Generator<{ readonly name: WindowName; readonly window: PublishedWindow }> {
    for (const [i, { rule }] of this.#series.entries()) {
      const window = model.windows[rule.name];
      if (window === undefined || window === this.#given[i]) continue;
      this.#given[i] = window;
      yield { name: rule.name, window };
    }
  }

  /** The sums at any instant whose panes are kept, added up anew. */
  sumsAt(atMs: number): ModelSums {
    const windows = new Map<WindowName, ReturnType<MetricSums['windowSums']>>();
    for (const { rule, spec, panes } of this.#series) {
      const { startMs, endMs } = windowAt(spec, atMs);
      const sums = new MetricSums(this.#suite.metrics.length);
      for (const pane of panes.between(startMs, endMs)) pane.addTo(sums);
      if (sums.n > 0) windows.set(rule.name, sums.windowSums(this.#suite));
    }
    return { model: this.model, windows };
  }

  scoreAt(atMs: number): PublishedModel {
    return scoreModel(this.#suite, atMs, this.sumsAt(atMs));
  }

  /** The first pane that no window at the tick reaches yet; undefined: there is none. */
  startAfter(tickMs: number): number | undefined {
    let first: number | undefined;
    for (const { spec, panes } of this.#series) {
      const startMs = panes.startFrom(windowAt(spec, tickMs).endMs);
      if (startMs !== undefined && (first === undefined || startMs < first)) first = startMs;
    }
    return first;
  }

  /** Forgets the panes that nothing can reach any more once the ticks up to `scoredTickMs` are final. */
  prune(scoredTickMs: number): void {
    for (const { spec, panes } of this.#series) panes.dropBefore(keptFromMs(spec.resolution, scoredTickMs));
    this.#ticks = this.#ticks.filter((tickMs) => tickMs >= scoredTickMs - RECORDED_BACK_MS);
  }
}

/** Into an ascending list, mostly at its end. */
function insertOnce(list: number[], value: number): void {
  let at = list.length;
  while (at > 0 && list[at - 1]! > value) at--;
  if (list[at - 1] !== value) list.splice(at, 0, value);
}

/** A model's windows at an instant that moves forward. */
export class WindowCursor {
  readonly #suite: Suite;
  readonly #model: string;
  readonly #series: readonly Series[];
  readonly windows: readonly SlidingWindow[];
  /** The last scores of each window: those of a 7d window stand for an hour of ticks. */
  readonly #scored: { readonly version: number; readonly endMs: number; readonly window: PublishedWindow }[] = [];

  constructor(suite: Suite, model: string, series: readonly Series[]) {
    this.#suite = suite;
    this.#model = model;
    this.#series = series;
    this.windows = series.map(({ panes }) => new SlidingWindow(panes, suite.metrics.length));
  }

  /** The model at a tick; undefined where no window of it holds a report. */
  at(tickMs: number): PublishedModel | undefined {
    let held = false;
    for (const [i, { spec }] of this.#series.entries()) {
      const window = this.windows[i]!;
      window.moveTo(windowAt(spec, tickMs));
      if (window.n > 0) held = true;
    }
    if (!held) return undefined;
    let place = 0;
    return modelOf(this.#suite, this.#model, () => this.#window(place++));
  }

  #window(place: number): PublishedWindow {
    const window = this.windows[place]!;
    const { version, bounds } = window;
    const known = this.#scored[place];
    if (known !== undefined && known.version === version && known.endMs === bounds.endMs) return known.window;
    const scored = scoreWindow(this.#suite, bounds, window.sums(this.#suite));
    this.#scored[place] = { version, endMs: bounds.endMs, window: scored };
    return scored;
  }
}
