import type { KernelExports } from './kernel-module.ts';

/** The metric of rows that count a model's reports of any metric. */
export const ANY_METRIC_ROW = -1;
/** With windows: the row of all reports of a suite and model, in a window or not. */
export const ALL_TIME = 0xffffffff;

/** A row of panes or windows, taken apart. */
export interface PaneSums {
  readonly n: number;
  readonly weight: bigint;
  readonly sumWq: bigint;
  readonly sumWq2: bigint;
  readonly min: number;
  readonly max: number;
  readonly buckets: readonly (readonly [index: number, count: number])[];
}

/** Sums as columns, a row an entry, copied out of the kernel's memory. */
export class PaneColumns {
  readonly rows: number;
  readonly suite: Uint32Array;
  readonly model: Uint32Array;
  /** Of its suite, or ANY_METRIC_ROW. */
  readonly metric: Int32Array;
  /** Panes: 0 for 1m, 1 for 15m, 2 for 1h. Windows: which of them, or ALL_TIME. */
  readonly part: Uint32Array;
  readonly startMs: Float64Array;
  readonly n: BigUint64Array;
  readonly weight: BigUint64Array;
  /** Two a row: the lower 64 bits (unsigned), then the upper. */
  readonly sumWq: BigInt64Array;
  readonly sumWq2: BigInt64Array;
  readonly min: Float64Array;
  readonly max: Float64Array;
  /** Where a row's buckets begin, and how many they are. */
  readonly firstBucket: Uint32Array;
  readonly buckets: Uint32Array;
  /** Signed indexes, ascending within a row, and counts above 0. */
  readonly bucketIndex: Int32Array;
  readonly bucketCount: Uint32Array;
  readonly #modelName: (model: number) => string;

  constructor(wasm: KernelExports, buffer: ArrayBuffer, rows: number, modelName: (model: number) => string) {
    const at = (column: number) => wasm.paneColumn(column);
    const words = (column: number) => new Uint32Array(buffer, at(column), rows).slice();
    const doubles = (column: number) => new Float64Array(buffer, at(column), rows).slice();
    this.rows = rows;
    this.suite = words(0);
    this.model = words(1);
    this.metric = new Int32Array(buffer, at(2), rows).slice();
    this.part = words(3);
    this.startMs = doubles(4);
    this.n = new BigUint64Array(buffer, at(5), rows).slice();
    this.weight = new BigUint64Array(buffer, at(6), rows).slice();
    this.sumWq = new BigInt64Array(buffer, at(7), rows * 2).slice();
    this.sumWq2 = new BigInt64Array(buffer, at(8), rows * 2).slice();
    this.min = doubles(9);
    this.max = doubles(10);
    this.firstBucket = words(11);
    this.buckets = words(12);
    this.bucketIndex = new Int32Array(buffer, wasm.bucketIndexesAt(), wasm.buckets()).slice();
    this.bucketCount = new Uint32Array(buffer, wasm.bucketCountsAt(), wasm.buckets()).slice();
    this.#modelName = modelName;
  }

  modelOf(row: number): string {
    return this.#modelName(this.model[row]!);
  }

  sumsOf(row: number): PaneSums {
    const first = this.firstBucket[row]!;
    return {
      n: Number(this.n[row]),
      weight: this.weight[row]!,
      sumWq: wide(this.sumWq, row),
      sumWq2: wide(this.sumWq2, row),
      min: this.min[row]!,
      max: this.max[row]!,
      buckets: Array.from({ length: this.buckets[row]! }, (_, i) => [
        this.bucketIndex[first + i]!,
        this.bucketCount[first + i]!,
      ]),
    };
  }
}

function wide(pairs: BigInt64Array, row: number): bigint {
  return (pairs[row * 2 + 1]! << 64n) | BigInt.asUintN(64, pairs[row * 2]!);
}
