import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import type { WindowSums } from '../rules/score-models.ts';
import type { WindowBounds } from '../rules/windows.ts';
import { type Extremes, MetricSums, type ReportRow } from './metric-sums.ts';
import type { ModelPane, PaneList } from './model-panes.ts';

const NOWHERE: WindowBounds = { startMs: Number.NEGATIVE_INFINITY, endMs: Number.NEGATIVE_INFINITY };

/**
 * One window of one model, moving forward over its panes: what enters is added, what leaves is subtracted, so that a step
 * costs what lies in it and not what lies in the window.
 */
export class SlidingWindow {
  readonly #panes: PaneList;
  readonly #metrics: number;
  #bounds = NOWHERE;
  #sums: MetricSums;
  /** Changes with the sums. */
  version = 0;

  constructor(panes: PaneList, metrics: number) {
    this.#panes = panes;
    this.#metrics = metrics;
    this.#sums = new MetricSums(metrics);
  }

  get n(): number {
    return this.#sums.n;
  }

  get bounds(): WindowBounds {
    return this.#bounds;
  }

  moveTo(bounds: WindowBounds): void {
    const before = this.#bounds;
    if (bounds.endMs === before.endMs) return;
    assert(bounds.endMs > before.endMs, 'SlidingWindow: windows move forward');
    this.#bounds = bounds;
    if (this.#sums.n > 0 && bounds.startMs < before.endMs) {
      this.#change(this.#panes.between(before.startMs, bounds.startMs), (pane) => pane.takeFrom(this.#sums));
    } else if (this.#sums.n > 0) {
      this.#sums = new MetricSums(this.#metrics);
      this.version++;
    }
    const entering = this.#panes.between(Math.max(before.endMs, bounds.startMs), bounds.endMs);
    this.#change(entering, (pane) => pane.addTo(this.#sums));
    this.#sums.mend((place) => this.#extremesOf(place));
  }

  #change(panes: readonly ModelPane[], apply: (pane: ModelPane) => void): void {
    for (const pane of panes) apply(pane);
    if (panes.length > 0) this.version++;
  }

  #extremesOf(place: number): Extremes {
    let min = Number.POSITIVE_INFINITY;
    let max = Number.NEGATIVE_INFINITY;
    for (const pane of this.#panes.between(this.#bounds.startMs, this.#bounds.endMs)) {
      const extremes = pane.extremesOf(place);
      min = Math.min(min, extremes.min);
      max = Math.max(max, extremes.max);
    }
    return { min, max };
  }

  /** A report that went into the pane at `paneStartMs` counts here too where the window stands over it. */
  include(row: ReportRow, paneStartMs: number): void {
    if (paneStartMs < this.#bounds.startMs || paneStartMs >= this.#bounds.endMs) return;
    this.#sums.add(row);
    this.version++;
  }

  sums(suite: Suite): WindowSums {
    return this.#sums.windowSums(suite);
  }
}
