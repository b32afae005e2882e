import type { Suite } from '../../core/suite.ts';
import { Accumulator } from './accumulator.ts';
import { ANY_METRIC, NO_SUMS, type Pane, type Sums } from './pane.ts';
import type { WindowName } from './published.ts';
import type { ModelSums, WindowSums } from './score-models.ts';
import { windowAt, windowSpec, within } from './windows.ts';

/**
 * The window sums of every model at T from panes: each window reads the panes of its own resolution whose start lies in
 * [end − W, end). Panes of other resolutions and times are passed over, so any superset will do. `revisionOf` tells how
 * often late data changed a published window.
 */
export function windowSumsFromPanes(
  suite: Suite,
  atMs: number,
  panes: Iterable<Pane>,
  revisionOf: (model: string, window: WindowName) => number = () => 0,
): readonly ModelSums[] {
  const windows = suite.windows.map(({ name }) => {
    const spec = windowSpec(name);
    return { name, resolution: spec.resolution, bounds: windowAt(spec, atMs) };
  });
  const models = new Map<string, Map<WindowName, Map<string, Accumulator>>>();
  for (const pane of panes) {
    for (const { name, resolution, bounds } of windows) {
      if (pane.resolution !== resolution || !within(bounds, pane.paneStartMs)) continue;
      const model = at(models, pane.model, () => new Map<WindowName, Map<string, Accumulator>>());
      const window = at(model, name, () => new Map<string, Accumulator>());
      at(window, pane.metric, () => new Accumulator()).merge(pane.sums);
    }
  }
  return Array.from(models, ([model, byWindow]) => ({
    model,
    windows: new Map(
      Array.from(byWindow, ([name, metrics]) => [name, windowSums(metrics, revisionOf(model, name))] as const),
    ),
  }));
}

/** Accumulators by metric, ANY_METRIC among them, as the sums of one window. */
export function windowSums(metrics: ReadonlyMap<string, Accumulator>, revision: number): WindowSums {
  const sums = new Map<string, Sums>();
  for (const [metric, accumulator] of metrics) if (metric !== ANY_METRIC) sums.set(metric, accumulator.toSums());
  return { any: metrics.get(ANY_METRIC)?.toSums() ?? NO_SUMS, metrics: sums, revision };
}

function at<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
