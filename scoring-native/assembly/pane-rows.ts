import { allocate, doubled } from './blocks';
import { beginMerge, bucketRoom, MERGED, mergedMax, mergedMin, mergedN, mergedWeight, takeBuckets } from './merge';

/** What takePanes gives: a column each, in memory that is used again by the next call. */
const COLUMNS: usize = 13;
/** Place and bytes an entry of each column. */
const TABLE: usize = memory.data(104, 16);
const WIDTHS: usize = memory.data<u8>([4, 4, 4, 4, 8, 8, 8, 16, 16, 8, 8, 4, 4]);
const FIRST_ROWS: u32 = 1024;
const FIRST_BUCKETS: u32 = 16384;

let capacity: u32 = FIRST_ROWS;
export let paneCount: u32 = 0;
let bucketCapacity: u32 = FIRST_BUCKETS;
export let bucketCount: u32 = 0;
export let bucketIndexes: usize = 0;
export let bucketCounts: usize = 0;

export function startPaneRows(): void {
  for (let i: usize = 0; i < COLUMNS; i++) store<usize>(TABLE + (i << 2), allocate(<usize>FIRST_ROWS * widthOf(i)));
  bucketIndexes = allocate(<usize>FIRST_BUCKETS << 2);
  bucketCounts = allocate(<usize>FIRST_BUCKETS << 2);
}

// @ts-ignore: decorator
@inline
function widthOf(column: usize): usize {
  return <usize>load<u8>(WIDTHS + column);
}

/** Suite, model, metric, resolution or window (32 bits each), start (double), n, Σw (64 bits), Σwq, Σwq² (128 bits), min, max (double), first bucket, buckets (32 bits). */
// @ts-ignore: decorator
@inline
export function paneColumn(column: usize): usize {
  return load<usize>(TABLE + (column << 2));
}

export function beginPaneRows(): void {
  paneCount = 0;
  bucketCount = 0;
  beginMerge();
}

function grow(): void {
  for (let i: usize = 0; i < COLUMNS; i++) {
    store<usize>(TABLE + (i << 2), doubled(paneColumn(i), <usize>capacity * widthOf(i)));
  }
  capacity *= 2;
}

function growBuckets(): void {
  bucketIndexes = doubled(bucketIndexes, <usize>bucketCapacity << 2);
  bucketCounts = doubled(bucketCounts, <usize>bucketCapacity << 2);
  bucketCapacity *= 2;
}

/** Turns what was merged into a row, and begins the next merge. */
export function putPane(suite: u32, model: u32, metric: i32, part: u32, start: i64): void {
  if (paneCount == capacity) grow();
  while (bucketCount + bucketRoom() > bucketCapacity) growBuckets();
  const word = <usize>paneCount << 2;
  const wide = <usize>paneCount << 3;
  store<u32>(paneColumn(0) + word, suite);
  store<u32>(paneColumn(1) + word, model);
  store<i32>(paneColumn(2) + word, metric);
  store<u32>(paneColumn(3) + word, part);
  store<f64>(paneColumn(4) + wide, <f64>start);
  store<u64>(paneColumn(5) + wide, mergedN);
  store<u64>(paneColumn(6) + wide, mergedWeight);
  v128.store(paneColumn(7) + (wide << 1), v128.load(MERGED));
  v128.store(paneColumn(8) + (wide << 1), v128.load(MERGED + 16));
  store<f64>(paneColumn(9) + wide, mergedMin);
  store<f64>(paneColumn(10) + wide, mergedMax);
  store<u32>(paneColumn(11) + word, bucketCount);
  const buckets = takeBuckets(bucketIndexes + (<usize>bucketCount << 2), bucketCounts + (<usize>bucketCount << 2));
  store<u32>(paneColumn(12) + word, buckets);
  bucketCount += buckets;
  paneCount++;
  beginMerge();
}
