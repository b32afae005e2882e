import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { MetricRule, Suite, WindowRule } from '../../core/suite.ts';
import { NO_SUMS, type Sums } from './pane.ts';
import type { ModelStatus, PublishedModel, PublishedWindow, WindowName } from './published.ts';
import { publishedInteger } from './published.ts';
import { rankModels } from './rank.ts';
import { scoreMetric } from './score-metric.ts';
import { type Scored, weightedMean } from './weighted-mean.ts';
import { type WindowBounds, type WindowSpec, windowAt, windowSpec } from './windows.ts';

/** The exact sums of one model in one window at one instant: what the panes of the window add up to. */
export interface WindowSums {
  /** Reports of any metric: only n and weight are read. */
  readonly any: Sums;
  /** Metric name → sums; a metric that is absent holds no report. */
  readonly metrics: ReadonlyMap<string, Sums>;
  /** How often late data changed this window after it was first published; 0 offline. */
  readonly revision: number;
}

export interface ModelSums {
  readonly model: string;
  /** A window that is absent holds no report. */
  readonly windows: ReadonlyMap<WindowName, WindowSums>;
}

export interface ScoreInput {
  readonly suite: Suite;
  /** T in milliseconds: a tick online, as given offline. */
  readonly atMs: number;
  readonly models: Iterable<ModelSums>;
}

const NO_WINDOW: WindowSums = { any: NO_SUMS, metrics: new Map(), revision: 0 };

/**
 * Every published score of a suite at T, ranked: rows by composite descending, then model id by code point; null
 * composites last. Pure: equal sums give equal bits. Source: docs/scoring.md, From metric to rank.
 */
export function scoreModels(input: ScoreInput): readonly PublishedModel[] {
  return rankModels(Array.from(input.models, (model) => scoreModel(input.suite, input.atMs, model)));
}

/** One model at T, not yet ranked (rank null). `boundsAt` tells which stretch of each window the sums are of. */
export function scoreModel(
  suite: Suite,
  atMs: number,
  sums: ModelSums,
  boundsAt: (window: WindowSpec, atMs: number) => WindowBounds = windowAt,
): PublishedModel {
  return modelOf(suite, sums.model, ({ name }) =>
    scoreWindow(suite, boundsAt(windowSpec(name), atMs), sums.windows.get(name) ?? NO_WINDOW),
  );
}

/** A model from its windows, each as scoreWindow gives it; not yet ranked. */
export function modelOf(suite: Suite, model: string, windowOf: (rule: WindowRule) => PublishedWindow): PublishedModel {
  const windows: { [name in WindowName]?: PublishedWindow } = {};
  const parts: { readonly weight: number; readonly scored: Scored }[] = [];
  for (const rule of suite.windows) {
    const window = windowOf(rule);
    windows[rule.name] = window;
    const { score, lower, upper } = window;
    if (score !== null && lower !== null && upper !== null) {
      parts.push({ weight: rule.weight, scored: { score, lower, upper } });
    }
  }
  const composite = weightedMean(parts);
  return {
    model,
    rank: null,
    status: composite === null ? statusWithoutComposite(suite, Object.values(windows)) : 'ranked',
    composite: composite?.score ?? null,
    lower: composite?.lower ?? null,
    upper: composite?.upper ?? null,
    windows,
  };
}

/** One window of one model, from its sums. */
export function scoreWindow(suite: Suite, { startMs, endMs }: WindowBounds, sums: WindowSums): PublishedWindow {
  const metrics: { [metric: string]: PublishedWindow['metrics'][string] } = {};
  const missing: string[] = [];
  const parts: { readonly weight: number; readonly scored: Scored }[] = [];
  let lacksRequired = false;
  for (const metric of suite.metrics) {
    const published = scoreMetric(suite, metric, sums.metrics.get(metric.name) ?? NO_SUMS);
    metrics[metric.name] = published;
    const { score, lower, upper } = published;
    if (score !== null && lower !== null && upper !== null) {
      parts.push({ weight: metric.weight, scored: { score, lower, upper } });
    } else if (metric.required) lacksRequired = true;
    else missing.push(metric.name);
  }
  const mean = lacksRequired ? null : weightedMean(parts);
  return {
    start: formatRfc3339(startMs),
    end: formatRfc3339(endMs),
    n: sums.any.n,
    weight: publishedInteger(sums.any.weight),
    revision: sums.revision,
    score: mean?.score ?? null,
    lower: mean?.lower ?? null,
    upper: mean?.upper ?? null,
    missing,
    metrics,
  };
}

/**
 * no_data: no window holds a report; missing_required: every window that holds one lacks some required metric
 * altogether; else insufficient.
 */
function statusWithoutComposite(suite: Suite, windows: readonly PublishedWindow[]): ModelStatus {
  const holding = windows.filter((window) => window.n > 0);
  if (holding.length === 0) return 'no_data';
  const required = suite.metrics.filter((rule: MetricRule) => rule.required);
  const lacks = (window: PublishedWindow) => required.some((rule) => window.metrics[rule.name]?.n === 0);
  return holding.every(lacks) ? 'missing_required' : 'insufficient';
}
