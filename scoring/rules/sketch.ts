import { assert } from '../../core/assert.ts';
import type { Bucket } from './pane.ts';

/**
 * DDSketch over the integer q, relative accuracy 1 %: bucket i holds ⌊γ^(i−1)⌋ < q ≤ ⌊γ^i⌋, γ = 1.01/0.99 = 101/99; zero
 * has its own bucket and negatives are mirrored. Source: Masson, Rim, Lee, DDSketch, PVLDB 12 (2019).
 * Bounds and values come from exact rational arithmetic, so no engine's logarithm can move a bucket.
 *
 * A stored index is signed so that indexes order as the values do: i + 1 for positive q, 0 for zero, −(i + 1) for
 * negative q.
 */
const NUMERATOR = 101n;
const DENOMINATOR = 99n;
/** |q| ≤ 2^40. */
const MAX_Q = 2 ** 40;
/** Bits kept below the point when a rational is rounded; 53 are needed, the rest and a sticky bit make it one rounding. */
const SPARE_BITS = 80n;

interface Tables {
  /** ⌊γ^i⌋. */
  readonly bounds: Float64Array;
  /** 2γ^i/(γ+1) = 0.99·γ^i, each the nearest double. */
  readonly values: Float64Array;
}

function buildTables(): Tables {
  const bounds: number[] = [];
  const values: number[] = [];
  let numerator = 1n;
  let denominator = 1n;
  for (;;) {
    const bound = Number(numerator / denominator);
    bounds.push(bound);
    values.push(nearestDouble(99n * numerator, 100n * denominator));
    if (bound >= MAX_Q) break;
    numerator *= NUMERATOR;
    denominator *= DENOMINATOR;
  }
  return { bounds: Float64Array.from(bounds), values: Float64Array.from(values) };
}

/** a/b rounded once to double, for quotients far from the ends of the exponent range. */
function nearestDouble(a: bigint, b: bigint): number {
  const shifted = a << SPARE_BITS;
  const quotient = shifted / b;
  const sticky = quotient * b === shifted ? 0n : 1n;
  return Number((quotient << 1n) | sticky) / 2 ** Number(SPARE_BITS + 1n);
}

const { bounds, values } = buildTables();
const LN_GAMMA = Math.log(101 / 99);

/** The largest stored index: that of q = 2^40. */
export const MAX_BUCKET = bounds.length;

/** ⌊γ^i⌋ from i = 0 on, the last not below 2^40: what a kernel needs to put q into the same buckets. */
export function bucketBounds(): Float64Array {
  return bounds.slice();
}

/** The signed bucket index of q, an integer with |q| ≤ 2^40. */
export function bucketOf(q: number): number {
  if (q === 0) return 0;
  return q > 0 ? positiveBucket(q) + 1 : -positiveBucket(-q) - 1;
}

function positiveBucket(q: number): number {
  assert(q <= MAX_Q, 'bucketOf: |q| must be at most 2^40');
  // The guess may be off by some buckets where ⌊·⌋ is coarse or Math.log is; the table decides.
  let i = Math.min(Math.max(Math.ceil(Math.log(q) / LN_GAMMA), 0), bounds.length - 1);
  while (bounds[i]! < q) i++;
  while (i > 0 && bounds[i - 1]! >= q) i--;
  return i;
}

/** The value that stands for every q of a bucket, before division by 10^scale. */
export function bucketValue(index: number): number {
  if (index === 0) return 0;
  return index > 0 ? values[index - 1]! : -values[-index - 1]!;
}

/**
 * The value at rank r (1…n) of the sketch: bucket value / 10^scale, clamped into [min, max] (both already divided).
 * `buckets` ascend by index and their counts add up to n.
 */
export function valueAtRank(
  buckets: readonly Bucket[],
  rank: number,
  factor: number,
  min: number,
  max: number,
): number {
  let seen = 0;
  for (const [index, count] of buckets) {
    seen += count;
    if (seen >= rank) return Math.min(Math.max(bucketValue(index) / factor, min), max);
  }
  throw new Error('valueAtRank: the rank lies beyond the sketch');
}

/** The rank of the p-quantile of n reports: ⌈n·p⌉ (one IEEE product), kept within 1…n. */
export function quantileRank(n: number, p: number): number {
  return keepRank(Math.ceil(n * p), n);
}

export function keepRank(rank: number, n: number): number {
  return Math.min(Math.max(rank, 1), n);
}
