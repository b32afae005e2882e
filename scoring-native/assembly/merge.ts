import {
  CELL, CELL_N, CELL_WEIGHT, SUM_BUCKETS, SUM_FIRST, SUM_MAX, SUM_MIN, SUM_N, SUM_SPAN, SUM_WEIGHT, SUM_WQ, SUM_WQ2, SUMS,
} from './cells';
import { allocate } from './blocks';
import { mostBucket } from './sketch';
import { addWide } from './wide';

/** The sums of several cells of one metric, or of the reports of any, being added up. */
export let mergedN: u64 = 0;
export let mergedWeight: u64 = 0;
export let mergedMin: f64 = 0;
export let mergedMax: f64 = 0;
/** Σwq, then Σwq². */
export const MERGED: usize = memory.data(32, 16);

/** Counts by bucket, index −mostBucket first; those between the two ends may be other than 0. */
let counts: usize = 0;
let leastBucket: i32 = 0;
let greatestBucket: i32 = 0;

export function startMerge(): void {
  const bytes = <usize>(mostBucket * 2 + 1) << 2;
  counts = allocate(bytes + 16);
  memory.fill(counts, 0, bytes + 16);
}

export function beginMerge(): void {
  mergedN = 0;
  mergedWeight = 0;
  mergedMin = 0;
  mergedMax = 0;
  v128.store(MERGED, i64x2.splat(0));
  v128.store(MERGED + 16, i64x2.splat(0));
  leastBucket = mostBucket + 1;
  greatestBucket = -mostBucket - 1;
}

/** Reports of any metric. */
export function mergeAny(cell: usize): void {
  mergedN += load<u64>(cell, CELL_N);
  mergedWeight += load<u64>(cell, CELL_WEIGHT);
}

export function mergeMetric(cell: usize, metric: u32): void {
  const sums = cell + CELL + <usize>metric * SUMS;
  const n = load<u32>(sums, SUM_N);
  if (n == 0) return;
  const least = load<f64>(sums, SUM_MIN);
  const greatest = load<f64>(sums, SUM_MAX);
  if (mergedN == 0 || least < mergedMin) mergedMin = least;
  if (mergedN == 0 || greatest > mergedMax) mergedMax = greatest;
  mergedN += n;
  mergedWeight += load<u64>(sums, SUM_WEIGHT);
  addWide(MERGED, load<u64>(sums, SUM_WQ), load<i64>(sums, SUM_WQ + 8));
  addWide(MERGED + 16, load<u64>(sums, SUM_WQ2), load<i64>(sums, SUM_WQ2 + 8));
  mergeBuckets(load<usize>(sums, SUM_BUCKETS), load<i32>(sums, SUM_FIRST), load<u32>(sums, SUM_SPAN));
}

/** The arrays are wider than the buckets there are; what lies beyond those is 0 and left out. */
function mergeBuckets(buckets: usize, first: i32, span: u32): void {
  const from = max(first, -mostBucket);
  const to = min(first + <i32>span, mostBucket + 1);
  if (from < leastBucket) leastBucket = from;
  if (to - 1 > greatestBucket) greatestBucket = to - 1;
  let at = buckets + (<usize>(from - first) << 2);
  let into = counts + (<usize>(from + mostBucket) << 2);
  let left = to - from;
  while (left >= 4) {
    v128.store(into, i32x4.add(v128.load(into), v128.load(at)));
    at += 16;
    into += 16;
    left -= 4;
  }
  while (left > 0) {
    store<u32>(into, load<u32>(into) + load<u32>(at));
    at += 4;
    into += 4;
    left--;
  }
}

/** How many buckets there may be at most. */
export function bucketRoom(): u32 {
  return greatestBucket < leastBucket ? 0 : <u32>(greatestBucket - leastBucket + 1);
}

/** Writes the buckets that hold something, ascending, indexes to one place and counts to another, and zeroes them; how many. */
export function takeBuckets(indexes: usize, to: usize): u32 {
  let n: usize = 0;
  let bucket = leastBucket;
  while (bucket <= greatestBucket) {
    const at = counts + (<usize>(bucket + mostBucket) << 2);
    // Four at a time: most hold nothing. Behind the last there is room for three more.
    if (v128.any_true(v128.load(at))) {
      for (let i: usize = 0; i < 4; i++) {
        const count = load<u32>(at + (i << 2));
        if (count != 0) {
          store<i32>(indexes + (n << 2), bucket + <i32>i);
          store<u32>(to + (n << 2), count);
          n++;
        }
      }
      v128.store(at, i32x4.splat(0));
    }
    bucket += 4;
  }
  return <u32>n;
}
