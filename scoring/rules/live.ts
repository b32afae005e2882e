import type { Suite } from '../../core/suite.ts';
import type { Contribution, MetricContribution } from './contribution.ts';
import { type Bucket, NO_SUMS, type Sums } from './pane.ts';
import type { WindowName } from './published.ts';
import type { ModelSums, WindowSums } from './score-models.ts';
import { isTooLate } from './watermark.ts';
import { liveWindowAt, type WindowBounds, windowSpec, within } from './windows.ts';

/**
 * T of a score that is computed now: the suite's watermark, or the report's observedAt where that is later. A published tick
 * closes each window at the last multiple of its step at or before the tick, so at T itself no report of this moment would be in
 * any; the live windows are those that T falls into, and a tick at their end publishes what they hold then.
 * Source of windows: docs/scoring.md, Windows, time, lateness.
 */
export function liveInstant(watermarkMs: number | null, observedAtMs: number): number {
  return watermarkMs === null ? observedAtMs : Math.max(watermarkMs, observedAtMs);
}

export interface LiveWindow {
  readonly name: WindowName;
  readonly bounds: WindowBounds;
}

export function liveWindows(suite: Suite, atMs: number): readonly LiveWindow[] {
  return suite.windows.map(({ name }) => ({ name, bounds: liveWindowAt(windowSpec(name), atMs) }));
}

export interface WithReport {
  readonly sums: ModelSums;
  /** Windows that hold the report; none where it is more than 7 days late. */
  readonly counted: readonly WindowName[];
}

/** The live windows at T with one report more: what the consumer's sums become when it reads that report. */
export function withReport(
  suite: Suite,
  watermarkMs: number | null,
  sums: ModelSums,
  contribution: Contribution,
): WithReport {
  const { observedAtMs } = contribution;
  const late = isTooLate(observedAtMs, watermarkMs);
  const windows = new Map(sums.windows);
  const counted: WindowName[] = [];
  for (const { name, bounds } of liveWindows(suite, liveInstant(watermarkMs, observedAtMs))) {
    if (late || !within(bounds, observedAtMs)) continue;
    counted.push(name);
    windows.set(name, addTo(windows.get(name), contribution));
  }
  return { sums: { model: sums.model, windows }, counted };
}

function addTo(window: WindowSums | undefined, contribution: Contribution): WindowSums {
  const { any = NO_SUMS, metrics = new Map<string, Sums>(), revision = 0 } = window ?? {};
  const { w } = contribution;
  const after = new Map(metrics);
  for (const metric of contribution.metrics) {
    const { name } = metric.rule;
    after.set(name, addValue(after.get(name) ?? NO_SUMS, metric, w));
  }
  return { any: { ...any, n: any.n + 1, weight: any.weight + w }, metrics: after, revision };
}

/** As Accumulator.add, on sums that others go on reading; the buckets are copied as they are, not through a map. */
function addValue(sums: Sums, { q, wq, wq2, bucket }: MetricContribution, w: bigint): Sums {
  return {
    n: sums.n + 1,
    weight: sums.weight + w,
    sumWq: sums.sumWq + wq,
    sumWq2: sums.sumWq2 + wq2,
    min: sums.n === 0 ? q : Math.min(sums.min, q),
    max: sums.n === 0 ? q : Math.max(sums.max, q),
    buckets: addBucket(sums.buckets, bucket),
  };
}

function addBucket(buckets: readonly Bucket[], index: number): readonly Bucket[] {
  let low = 0;
  let high = buckets.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (buckets[middle]![0] < index) low = middle + 1;
    else high = middle;
  }
  const present = buckets[low];
  return present?.[0] === index ? buckets.with(low, [index, present[1] + 1]) : buckets.toSpliced(low, 0, [index, 1]);
}
