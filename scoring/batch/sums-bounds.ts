import { bucketOf, MAX_BUCKET } from '../rules/sketch.ts';
import { type PackedPanes, SUM_LIMBS, wideAt } from './pane-deltas.ts';

/** What the sums of a pane that reports gave can be: docs/scoring.md, Exact arithmetic. Whoever says more has not counted reports. */

/** |q|. */
const MAX_Q = 2 ** 40;
/** w of one report. */
const MAX_W = 2n ** 20n;
/** What a row of the panes table holds. */
const MAX_WEIGHT = 2n ** 63n - 1n;

/** `isAny`: of a row that counts reports of any metric, and so sums no value. */
export function sumsProblem(panes: PackedPanes, row: number, isAny: boolean): string | undefined {
  const n = panes.n[row]!;
  if (!Number.isSafeInteger(n) || n < 1) return 'counts no report';
  const [min, max] = [panes.extremes[row * 2]!, panes.extremes[row * 2 + 1]!];
  for (const q of [min, max])
    if (!Number.isSafeInteger(q) || Math.abs(q) > MAX_Q) return 'has an extreme beyond what is counted';
  if (min > max) return 'has a least value above its greatest';
  const [weight, sumWq, sumWq2] = [0, 2, 4].map((limb) => wideAt(panes.sums, row * SUM_LIMBS + limb)) as [
    bigint,
    bigint,
    bigint,
  ];
  if (weight < BigInt(n) || weight > BigInt(n) * MAX_W || weight > MAX_WEIGHT)
    return 'has a weight that so many reports have not';
  if (isAny && (min !== 0 || max !== 0 || sumWq !== 0n || sumWq2 !== 0n)) return 'has values of no metric';
  if (sumWq < weight * BigInt(min) || sumWq > weight * BigInt(max))
    return 'has a sum of values beyond its least and greatest';
  const greatest = BigInt(Math.max(Math.abs(min), Math.abs(max)));
  if (sumWq2 > weight * greatest * greatest || sumWq2 * weight < sumWq * sumWq)
    return 'has a sum of squares that no such values have';
  return bucketsProblem(panes, row, isAny ? 0 : n, [min, max]);
}

function bucketsProblem(
  { bucketsEnd, bucket, bucketCount }: PackedPanes,
  row: number,
  n: number,
  [min, max]: readonly [number, number],
): string | undefined {
  const [from, to] = [row === 0 ? 0 : bucketsEnd[row - 1]!, bucketsEnd[row]!];
  if (to < from || to > bucket.length) return 'has buckets that are not there';
  let inAll = 0;
  for (let b = from; b < to; b++) {
    if (bucketCount[b] === 0 || (b > from && bucket[b]! <= bucket[b - 1]!)) return 'has buckets out of order, or empty';
    if (Math.abs(bucket[b]!) > MAX_BUCKET) return 'has a bucket beyond the sketch';
    inAll += bucketCount[b]!;
  }
  if (inAll !== n) return `has ${inAll} reports in its buckets in place of ${n}`;
  if (n > 0 && (bucket[from] !== bucketOf(min) || bucket[to - 1] !== bucketOf(max)))
    return 'has buckets that its least and greatest value are not in';
  return undefined;
}
