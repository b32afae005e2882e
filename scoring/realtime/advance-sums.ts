import type { PaneDeltas } from '../ingest/pane-deltas.ts';
import type { LiveWindow } from '../rules/live.ts';
import { ANY_METRIC, type Bucket, NO_SUMS, RESOLUTIONS, type Sums } from '../rules/pane.ts';
import type { WindowName } from '../rules/published.ts';
import type { ModelSums, WindowSums } from '../rules/score-models.ts';
import { windowSpec, within } from '../rules/windows.ts';
import type { PaneRow } from './recent-commits.ts';
import { mergedBuckets } from './sketch-book.ts';

/** A model's live windows with rows that were added to its panes since, as far as they fall into the windows. */
export function advanceSums(sums: ModelSums, windows: readonly LiveWindow[], rows: readonly PaneRow[]): ModelSums {
  const after = new Map<WindowName, WindowSums>(sums.windows);
  for (const { name, bounds } of windows) {
    const { resolution } = windowSpec(name);
    const here = rows.filter(
      ({ deltas, row }) => RESOLUTIONS[deltas.resolution[row]!] === resolution && within(bounds, deltas.startMs[row]!),
    );
    if (here.length > 0) after.set(name, advanceWindow(sums.windows.get(name), here));
  }
  return { model: sums.model, windows: after };
}

function advanceWindow(window: WindowSums | undefined, rows: readonly PaneRow[]): WindowSums {
  const metrics = new Map(window?.metrics);
  let any = window?.any ?? NO_SUMS;
  for (const { deltas, row } of rows) {
    const { metric } = deltas.series[deltas.seriesOf[row]!]!;
    if (metric === ANY_METRIC) any = added(any, deltas, row);
    else metrics.set(metric, added(metrics.get(metric) ?? NO_SUMS, deltas, row));
  }
  return { any, metrics, revision: window?.revision ?? 0 };
}

function added(sums: Sums, deltas: PaneDeltas, row: number): Sums {
  const [min, max] = [deltas.min[row]!, deltas.max[row]!];
  return {
    n: sums.n + Number(unsigned64(deltas.n, row * 2)),
    weight: sums.weight + unsigned64(deltas.weight, row * 2),
    sumWq: sums.sumWq + signed128(deltas.sumWq, row * 4),
    sumWq2: sums.sumWq2 + signed128(deltas.sumWq2, row * 4),
    min: sums.n === 0 ? min : Math.min(sums.min, min),
    max: sums.n === 0 ? max : Math.max(sums.max, max),
    buckets: mergedBuckets(sums.buckets, bucketsOf(deltas, row)),
  };
}

function bucketsOf({ firstBucket, buckets, bucketIndex, bucketCount }: PaneDeltas, row: number): readonly Bucket[] {
  const from = firstBucket[row]!;
  return Array.from({ length: buckets[row]! }, (_, i) => [bucketIndex[from + i]!, bucketCount[from + i]!] as const);
}

/** Words as in PaneDeltas, the lowest first. */
function unsigned64(words: Uint32Array, at: number): bigint {
  return (BigInt(words[at + 1]!) << 32n) | BigInt(words[at]!);
}

function signed128(words: Uint32Array, at: number): bigint {
  return BigInt.asIntN(128, (unsigned64(words, at + 2) << 64n) | unsigned64(words, at));
}
