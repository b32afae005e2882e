import { assert } from '../../core/assert.ts';
import type { Bucket, Pane } from '../rules/pane.ts';
import { RESOLUTIONS } from '../rules/pane.ts';

/**
 * Pane deltas on their way from a shard's thread: typed arrays whose buffers are moved. Only the names of series, which are
 * few, are copied.
 */
export interface PackedPanes {
  /** `model metric`; names hold no space. */
  readonly series: readonly string[];
  /** The rest has one entry a pane. Index into `series`. */
  readonly seriesOf: Uint32Array;
  /** Index into RESOLUTIONS. */
  readonly resolution: Uint8Array;
  readonly startMs: Float64Array;
  readonly n: Float64Array;
  /** Integers of 128 bits as two limbs, the lower one first: Σw, Σwq, Σwq². */
  readonly sums: BigUint64Array;
  /** Of q: min, max. */
  readonly extremes: Float64Array;
  /** Where the pane's buckets end; they begin where those of the pane before end. */
  readonly bucketsEnd: Uint32Array;
  readonly bucket: Int32Array;
  readonly bucketCount: Uint32Array;
}

/** Limbs of a row's sums. */
export const SUM_LIMBS = 6;
const LIMB_BITS = 64n;

/** Panes of one version; resolution, start and sums as they are. */
export function packPanes(panes: readonly Pane[]): PackedPanes {
  const buckets = panes.reduce((total, pane) => total + pane.sums.buckets.length, 0);
  const series = new Map<string, number>();
  const packed = {
    seriesOf: new Uint32Array(panes.length),
    resolution: new Uint8Array(panes.length),
    startMs: new Float64Array(panes.length),
    n: new Float64Array(panes.length),
    sums: new BigUint64Array(panes.length * SUM_LIMBS),
    extremes: new Float64Array(panes.length * 2),
    bucketsEnd: new Uint32Array(panes.length),
    bucket: new Int32Array(buckets),
    bucketCount: new Uint32Array(buckets),
  };
  let at = 0;
  panes.forEach(({ model, metric, resolution, paneStartMs, sums }, i) => {
    const name = `${model} ${metric}`;
    const index = series.get(name) ?? series.size;
    series.set(name, index);
    packed.seriesOf[i] = index;
    packed.resolution[i] = RESOLUTIONS.indexOf(resolution);
    packed.startMs[i] = paneStartMs;
    packed.n[i] = sums.n;
    setWide(packed.sums, i * SUM_LIMBS, sums.weight);
    setWide(packed.sums, i * SUM_LIMBS + 2, sums.sumWq);
    setWide(packed.sums, i * SUM_LIMBS + 4, sums.sumWq2);
    packed.extremes[i * 2] = sums.min;
    packed.extremes[i * 2 + 1] = sums.max;
    for (const [bucket, count] of sums.buckets) {
      packed.bucket[at] = bucket;
      packed.bucketCount[at] = count;
      at++;
    }
    packed.bucketsEnd[i] = at;
  });
  return { series: [...series.keys()], ...packed };
}

/** What is moved with it. */
export function buffersOf(packed: PackedPanes): ArrayBuffer[] {
  return Object.values(packed).flatMap((part) => (ArrayBuffer.isView(part) ? [part.buffer as ArrayBuffer] : []));
}

/** All, in the order in which they were packed. */
export function unpackPanes(packed: PackedPanes, suiteHash: string): Pane[] {
  return unpackRows(packed, suiteHash, [...packed.seriesOf.keys()]);
}

/** Those at `rows`, in their order. */
export function unpackRows(packed: PackedPanes, suiteHash: string, rows: readonly number[]): Pane[] {
  const names = packed.series.map((name) => {
    const space = name.indexOf(' ');
    return { model: name.slice(0, space), metric: name.slice(space + 1) };
  });
  return rows.map((i) => {
    const buckets: Bucket[] = [];
    for (let b = i === 0 ? 0 : packed.bucketsEnd[i - 1]!; b < packed.bucketsEnd[i]!; b++)
      buckets.push([packed.bucket[b]!, packed.bucketCount[b]!]);
    return {
      suiteHash,
      ...names[packed.seriesOf[i]!]!,
      resolution: RESOLUTIONS[packed.resolution[i]!]!,
      paneStartMs: packed.startMs[i]!,
      sums: {
        n: packed.n[i]!,
        weight: wideAt(packed.sums, i * SUM_LIMBS),
        sumWq: wideAt(packed.sums, i * SUM_LIMBS + 2),
        sumWq2: wideAt(packed.sums, i * SUM_LIMBS + 4),
        min: packed.extremes[i * 2]!,
        max: packed.extremes[i * 2 + 1]!,
        buckets,
      },
    };
  });
}

function setWide(limbs: BigUint64Array, at: number, value: bigint): void {
  const high = BigInt.asIntN(64, value >> LIMB_BITS);
  assert((high << LIMB_BITS) + BigInt.asUintN(64, value) === value, 'a pane’s sum fits 128 bits');
  limbs[at] = BigInt.asUintN(64, value);
  limbs[at + 1] = BigInt.asUintN(64, high);
}

export function wideAt(limbs: BigUint64Array, at: number): bigint {
  return (BigInt.asIntN(64, limbs[at + 1]!) << LIMB_BITS) + limbs[at]!;
}
