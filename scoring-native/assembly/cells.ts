import { allocate, release } from './blocks';
import { bucketOf } from './sketch';
import { metricsOf } from './suites';
import { addProduct, addSmall } from './wide';

/**
 * Exact sums by (suite, model, stretch of time): a cell, found by hash, with one accumulator a metric behind it. A stretch is a minute, or
 * what the bounds of fixed windows cut out; coarser panes and windows are sums of cells, made when they are taken, so that a report is added
 * once, whatever it counts for.
 */

/** A cell: suite, model, stretch, reports, Σw, next of its list; then its accumulators. */
export const CELL_SUITE: usize = 0;
export const CELL_MODEL: usize = 4;
export const CELL_STRETCH: usize = 8;
export const CELL_N: usize = 16;
export const CELL_WEIGHT: usize = 24;
export const CELL: usize = 32;

/** An accumulator: n, buckets (place, first index, how many), Σw, Σwq and Σwq² (128 bits each), min, max. */
export const SUM_N: usize = 0;
export const SUM_BUCKETS: usize = 4;
export const SUM_FIRST: usize = 8;
export const SUM_SPAN: usize = 12;
export const SUM_WEIGHT: usize = 16;
export const SUM_WQ: usize = 24;
export const SUM_WQ2: usize = 40;
export const SUM_MIN: usize = 56;
export const SUM_MAX: usize = 64;
export const SUMS: usize = 80;

const FIRST_SLOTS: u32 = 1024;
const FIRST_SPAN: u32 = 16;

let slots: usize = 0;
let slotCount: u32 = FIRST_SLOTS;
export let cellCount: u32 = 0;

/** Memory of the cells: chunks in a list, each with its successor and size in front; kept for the next time when they are dropped. */
const CHUNK: usize = 1 << 18;
const CHUNK_HEAD: usize = 16;
let firstChunk: usize = 0;
let chunk: usize = 0;
let free: usize = 0;
let chunkEnd: usize = 0;
/** Freed bucket arrays by size. */
const SPANS: usize = memory.data(32 << 2, 16);
/** Bytes of cells in use, and how many are allowed. */
let bytes: usize = 0;
let byteLimit: usize = 0;

export function startCells(limit: usize): void {
  byteLimit = limit;
  slots = allocate(<usize>FIRST_SLOTS << 2);
  memory.fill(slots, 0, <usize>FIRST_SLOTS << 2);
  firstChunk = newChunk(CHUNK);
  useChunk(firstChunk);
}

function newChunk(size: usize): usize {
  const at = allocate(size);
  store<usize>(at, 0);
  store<usize>(at, size, 4);
  return at;
}

function useChunk(at: usize): void {
  chunk = at;
  free = at + CHUNK_HEAD;
  chunkEnd = at + load<usize>(at, 4);
}

/** Zeroed, a multiple of 16. */
function claim(size: usize): usize {
  if (free + size > chunkEnd) nextChunk(size);
  const at = free;
  free += size;
  bytes += size;
  memory.fill(at, 0, size);
  return at;
}

/** Goes on to a chunk with that much room; one that is too small for it stays behind until the cells are dropped. */
function nextChunk(size: usize): void {
  let next = load<usize>(chunk);
  if (next == 0 || load<usize>(next, 4) < size + CHUNK_HEAD) {
    const fresh = newChunk(max(CHUNK, size + CHUNK_HEAD));
    store<usize>(fresh, next);
    store<usize>(chunk, fresh);
    next = fresh;
  }
  useChunk(next);
}

/** Forgets every cell; the memory stays for the next. */
export function dropCells(): void {
  memory.fill(slots, 0, <usize>slotCount << 2);
  memory.fill(SPANS, 0, 32 << 2);
  cellCount = 0;
  bytes = 0;
  useChunk(firstChunk);
}

export function cellsHeld(): u32 {
  return cellCount;
}

export function cellBytes(): usize {
  return bytes;
}

/** Is there no room for the cell of another report, however wide its values? */
export function cellsAreFull(): bool {
  return bytes >= byteLimit;
}

// @ts-ignore: decorator
@inline
function placeOf(suite: u32, model: u32, stretch: i64): u32 {
  const h = (<u64>stretch * 0x9e3779b97f4a7c15) ^ ((<u64>model << 32 | suite) * 0xc2b2ae3d27d4eb4f);
  return <u32>((h ^ (h >> 29)) * 0xff51afd7ed558ccd >> 32);
}

// @ts-ignore: decorator
@inline
function isCell(cell: usize, suite: u32, model: u32, stretch: i64): bool {
  return load<u64>(cell) == (<u64>model << 32 | suite) && load<i64>(cell, CELL_STRETCH) == stretch;
}

/** The cell, a new one where there is none. */
// @ts-ignore: decorator
@inline
export function cellOf(suite: u32, model: u32, stretch: i64): usize {
  let index = placeOf(suite, model, stretch) & (slotCount - 1);
  let cell = load<usize>(slots + (<usize>index << 2));
  while (cell != 0 && !isCell(cell, suite, model, stretch)) {
    index = (index + 1) & (slotCount - 1);
    cell = load<usize>(slots + (<usize>index << 2));
  }
  return cell != 0 ? cell : addCell(suite, model, stretch, index);
}

function addCell(suite: u32, model: u32, stretch: i64, index: u32): usize {
  const cell = claim(CELL + <usize>metricsOf(<i32>suite) * SUMS);
  store<u32>(cell, suite, CELL_SUITE);
  store<u32>(cell, model, CELL_MODEL);
  store<i64>(cell, stretch, CELL_STRETCH);
  store<usize>(slots + (<usize>index << 2), cell);
  cellCount++;
  if (cellCount > slotCount >> 1) growSlots();
  return cell;
}

function growSlots(): void {
  const old = slots;
  const oldCount = slotCount;
  slotCount *= 2;
  slots = allocate(<usize>slotCount << 2);
  memory.fill(slots, 0, <usize>slotCount << 2);
  for (let i: u32 = 0; i < oldCount; i++) {
    const cell = load<usize>(old + (<usize>i << 2));
    if (cell != 0) {
      let index = placeOf(load<u32>(cell, CELL_SUITE), load<u32>(cell, CELL_MODEL), load<i64>(cell, CELL_STRETCH)) & (slotCount - 1);
      while (load<usize>(slots + (<usize>index << 2)) != 0) index = (index + 1) & (slotCount - 1);
      store<usize>(slots + (<usize>index << 2), cell);
    }
  }
  release(old, <usize>oldCount << 2);
}

/** Writes the places of all cells to `to`, in no order. */
export function listCells(to: usize): void {
  for (let i: u32 = 0; i < slotCount; i++) {
    const cell = load<usize>(slots + (<usize>i << 2));
    if (cell != 0) {
      store<usize>(to, cell);
      to += 4;
    }
  }
}

/** One report of any metric. */
// @ts-ignore: decorator
@inline
export function countReport(cell: usize, weight: u32): void {
  store<u64>(cell, load<u64>(cell, CELL_N) + 1, CELL_N);
  store<u64>(cell, load<u64>(cell, CELL_WEIGHT) + weight, CELL_WEIGHT);
}

/** 1.5 · 2^52: a double below 2^51 added to it shows its integer in the lower bits. */
const LIFT: f64 = 6755399441055744;

// @ts-ignore: decorator
@inline
function integerOf(q: f64): i64 {
  return reinterpret<i64>(q + LIFT) - reinterpret<i64>(LIFT);
}

/** One report's value of one metric. */
// @ts-ignore: decorator
@inline
export function addValue(cell: usize, metric: u32, q: f64, weight: u32): void {
  const sums = cell + CELL + <usize>metric * SUMS;
  const n = load<u32>(sums, SUM_N);
  store<u32>(sums, n + 1, SUM_N);
  store<u64>(sums, load<u64>(sums, SUM_WEIGHT) + weight, SUM_WEIGHT);
  const exact = integerOf(q);
  const wq = exact * <i64>weight;
  addSmall(sums + SUM_WQ, wq);
  addProduct(sums + SUM_WQ2, wq, exact);
  if (n == 0 || q < load<f64>(sums, SUM_MIN)) store<f64>(sums, q, SUM_MIN);
  if (n == 0 || q > load<f64>(sums, SUM_MAX)) store<f64>(sums, q, SUM_MAX);
  const bucket = bucketOf(q);
  const place = <u32>(bucket - load<i32>(sums, SUM_FIRST));
  const at = place < load<u32>(sums, SUM_SPAN) ? load<usize>(sums, SUM_BUCKETS) + (<usize>place << 2) : reach(sums, bucket);
  store<u32>(at, load<u32>(at) + 1);
}

/** Widens the buckets of the sums so that they hold one more; its place. */
function reach(sums: usize, bucket: i32): usize {
  const span = load<u32>(sums, SUM_SPAN);
  const first = load<i32>(sums, SUM_FIRST);
  const from = span == 0 ? bucket : min(first, bucket);
  const to = span == 0 ? bucket + 1 : max(first + <i32>span, bucket + 1);
  let wide = FIRST_SPAN;
  while (wide < <u32>(to - from)) wide *= 2;
  // What is to spare lies on both sides.
  const start = from - ((<i32>wide - (to - from)) >> 1);
  const buckets = claimBuckets(wide);
  if (span != 0) {
    memory.copy(buckets + (<usize>(first - start) << 2), load<usize>(sums, SUM_BUCKETS), <usize>span << 2);
    releaseBuckets(load<usize>(sums, SUM_BUCKETS), span);
  }
  store<usize>(sums, buckets, SUM_BUCKETS);
  store<i32>(sums, start, SUM_FIRST);
  store<u32>(sums, wide, SUM_SPAN);
  return buckets + (<usize>(bucket - start) << 2);
}

function claimBuckets(span: u32): usize {
  const list = SPANS + (<usize>ctz(span) << 2);
  const freed = load<usize>(list);
  if (freed == 0) return claim(<usize>span << 2);
  store<usize>(list, load<usize>(freed));
  memory.fill(freed, 0, <usize>span << 2);
  return freed;
}

function releaseBuckets(at: usize, span: u32): void {
  const list = SPANS + (<usize>ctz(span) << 2);
  store<usize>(at, load<usize>(list));
  store<usize>(list, at);
}
