import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import { ANY_METRIC_ROW, type PaneColumns } from '../../scoring-native/pane-columns.ts';
import { ANY_METRIC, type Pane, RESOLUTIONS } from '../rules/pane.ts';

/** One series of a suite: a metric of a model, or ANY_METRIC. */
export interface SeriesName {
  readonly model: string;
  readonly metric: string;
}

/**
 * What a flush adds to the panes of one suite, as columns: an entry a row, each key once. Wide integers are 32-bit words, the lowest first:
 * the memory of a BigInt64Array, so that a kernel's columns are sent as they are.
 */
export interface PaneDeltas {
  readonly suiteHash: string;
  readonly rows: number;
  /** The distinct series, and which of them a row is of. */
  readonly series: readonly SeriesName[];
  readonly seriesOf: Uint32Array;
  /** Index into RESOLUTIONS. */
  readonly resolution: Uint8Array | Uint32Array;
  readonly startMs: Float64Array;
  /** Two words a row, unsigned. */
  readonly n: Uint32Array;
  readonly weight: Uint32Array;
  /** Four words a row, two's complement. */
  readonly sumWq: Uint32Array;
  readonly sumWq2: Uint32Array;
  readonly min: Float64Array;
  readonly max: Float64Array;
  /** Where a row's buckets begin, and how many they are: none where its metric is ANY_METRIC. */
  readonly firstBucket: Uint32Array;
  readonly buckets: Uint32Array;
  /** Signed indexes, ascending within a row, and counts above 0. */
  readonly bucketIndex: Int32Array;
  readonly bucketCount: Uint32Array;
}

/** Panes of one suite; undefined where there are none. */
export function deltasOfPanes(panes: readonly Pane[]): PaneDeltas | undefined {
  const suiteHash = panes[0]?.suiteHash;
  if (suiteHash === undefined) return undefined;
  const names = new SeriesNames();
  const rows = panes.length;
  const totalBuckets = panes.reduce((total, { sums }) => total + sums.buckets.length, 0);
  const deltas = {
    suiteHash,
    rows,
    series: names.list,
    seriesOf: new Uint32Array(rows),
    resolution: new Uint8Array(rows),
    startMs: new Float64Array(rows),
    n: new Uint32Array(rows * 2),
    weight: new Uint32Array(rows * 2),
    sumWq: new Uint32Array(rows * 4),
    sumWq2: new Uint32Array(rows * 4),
    min: new Float64Array(rows),
    max: new Float64Array(rows),
    firstBucket: new Uint32Array(rows),
    buckets: new Uint32Array(rows),
    bucketIndex: new Int32Array(totalBuckets),
    bucketCount: new Uint32Array(totalBuckets),
  };
  let at = 0;
  panes.forEach((pane, row) => {
    const { sums } = pane;
    assert(pane.suiteHash === suiteHash, 'deltasOfPanes: panes are of one suite');
    deltas.seriesOf[row] = names.indexOf(pane.model, pane.metric);
    deltas.resolution[row] = RESOLUTIONS.indexOf(pane.resolution);
    deltas.startMs[row] = pane.paneStartMs;
    putWords(deltas.n, row, 2, BigInt(sums.n));
    putWords(deltas.weight, row, 2, sums.weight);
    putWords(deltas.sumWq, row, 4, sums.sumWq);
    putWords(deltas.sumWq2, row, 4, sums.sumWq2);
    deltas.min[row] = sums.min;
    deltas.max[row] = sums.max;
    deltas.firstBucket[row] = at;
    deltas.buckets[row] = sums.buckets.length;
    for (const [index, count] of sums.buckets) {
      deltas.bucketIndex[at] = index;
      deltas.bucketCount[at++] = count;
    }
  });
  return deltas;
}

/** The rows of one of the kernel's suites, which lie side by side; `suite` is that suite. Undefined where there are none. */
export function deltasOfColumns(columns: PaneColumns, number: number, suite: Suite): PaneDeltas | undefined {
  const from = columns.suite.indexOf(number);
  if (from === -1) return undefined;
  const to = columns.suite.lastIndexOf(number) + 1;
  const names = new SeriesNames();
  const seriesOf = new Uint32Array(to - from);
  let index = -1;
  for (let row = from; row < to; row++) {
    const metric = columns.metric[row]!;
    // Rows of a series follow one another: a name is looked up once a series.
    const same = row > from && metric === columns.metric[row - 1] && columns.model[row] === columns.model[row - 1];
    if (!same) {
      const name = metric === ANY_METRIC_ROW ? ANY_METRIC : suite.metrics[metric]!.name;
      index = names.indexOf(columns.modelOf(row), name);
    }
    seriesOf[row - from] = index;
  }
  return {
    suiteHash: suite.hash,
    rows: to - from,
    series: names.list,
    seriesOf,
    resolution: columns.part.subarray(from, to),
    startMs: columns.startMs.subarray(from, to),
    n: wordsOf(columns.n.subarray(from, to)),
    weight: wordsOf(columns.weight.subarray(from, to)),
    sumWq: wordsOf(columns.sumWq.subarray(from * 2, to * 2)),
    sumWq2: wordsOf(columns.sumWq2.subarray(from * 2, to * 2)),
    min: columns.min.subarray(from, to),
    max: columns.max.subarray(from, to),
    firstBucket: columns.firstBucket.subarray(from, to),
    buckets: columns.buckets.subarray(from, to),
    bucketIndex: columns.bucketIndex,
    bucketCount: columns.bucketCount,
  };
}

class SeriesNames {
  readonly list: SeriesName[] = [];
  readonly #indexes = new Map<string, number>();

  indexOf(model: string, metric: string): number {
    // No name holds a space.
    const key = `${model} ${metric}`;
    let index = this.#indexes.get(key);
    if (index === undefined) {
      index = this.list.push({ model, metric }) - 1;
      this.#indexes.set(key, index);
    }
    return index;
  }
}

function putWords(words: Uint32Array, row: number, count: number, value: bigint): void {
  let rest = value;
  for (let i = 0; i < count; i++) {
    words[row * count + i] = Number(BigInt.asUintN(32, rest));
    rest >>= 32n;
  }
}

function wordsOf(values: BigUint64Array | BigInt64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}
