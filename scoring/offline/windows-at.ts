import type { Suite } from '../../core/suite.ts';
import { Accumulator } from '../rules/accumulator.ts';
import type { Contribution } from '../rules/contribution.ts';
import { ANY_METRIC } from '../rules/pane.ts';
import type { WindowName } from '../rules/published.ts';
import type { ModelSums } from '../rules/score-models.ts';
import { windowSums } from '../rules/window-sums.ts';
import { windowAt, windowSpec, within } from '../rules/windows.ts';

/**
 * Sums straight into the windows of one fixed T: with T known there is no need of panes. Memory is one accumulator a
 * (model, window, metric) that holds a report, whatever the number of reports.
 */
export class WindowsAt {
  readonly #windows: readonly {
    readonly name: WindowName;
    readonly bounds: ReturnType<typeof windowAt>;
    readonly index: number;
  }[];
  readonly #models = new Map<string, (Map<string, Accumulator> | undefined)[]>();

  constructor(suite: Suite, atMs: number) {
    this.#windows = suite.windows.map(({ name }, index) => ({ name, bounds: windowAt(windowSpec(name), atMs), index }));
  }

  /** Offline models are implicit: one report, in a window or not, makes a model. */
  add(contribution: Contribution): void {
    const model = this.#model(contribution.model);
    for (const { bounds, index } of this.#windows) {
      if (!within(bounds, contribution.observedAtMs)) continue;
      let metrics = model[index];
      if (metrics === undefined) {
        metrics = new Map();
        model[index] = metrics;
      }
      accumulatorOf(metrics, ANY_METRIC).count(contribution.w);
      for (const metric of contribution.metrics) accumulatorOf(metrics, metric.rule.name).add(metric, contribution.w);
    }
  }

  #model(name: string): (Map<string, Accumulator> | undefined)[] {
    let model = this.#models.get(name);
    if (model === undefined) {
      model = [];
      // A parsed name may be a slice that keeps its whole line alive: keep a copy of its own.
      this.#models.set(Buffer.from(name, 'latin1').toString('latin1'), model);
    }
    return model;
  }

  *sums(): Generator<ModelSums> {
    for (const [model, metrics] of this.#models) {
      const windows = new Map<WindowName, ReturnType<typeof windowSums>>();
      for (const { name, index } of this.#windows) {
        const window = metrics[index];
        if (window !== undefined) windows.set(name, windowSums(window, 0));
      }
      yield { model, windows };
    }
  }
}

function accumulatorOf(metrics: Map<string, Accumulator>, metric: string): Accumulator {
  let accumulator = metrics.get(metric);
  if (accumulator === undefined) {
    accumulator = new Accumulator();
    metrics.set(metric, accumulator);
  }
  return accumulator;
}
