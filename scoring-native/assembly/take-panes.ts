import { internedRecord } from '../simd-json-wasm/assembly/intern';
import { allocate, release } from './blocks';
import { CELL_MODEL, CELL_STRETCH, CELL_SUITE, cellCount, dropCells, listCells } from './cells';
import { mergeAny, mergedN, mergeMetric } from './merge';
import { beginPaneRows, putPane } from './pane-rows';
import { covers, floorDiv, windowCount, windowStart } from './stretches';
import { metricsOf } from './suites';

/**
 * The cells as rows in the order of PaneTable.rows(): by suite, model, metric (that of any first), resolution, start. All cells of one suite
 * and model lie together, by time; a pane of 15 minutes or an hour is a run of them.
 */

/** Minutes of the three resolutions, 1m, 15m and 1h. */
const MINUTES: usize = memory.data<i64>([1, 15, 60]);
const RESOLUTIONS: u32 = 3;
const MINUTE_MS: i64 = 60000;
/** The metric of rows of any metric; the window of rows of all time. */
const ANY: i32 = -1;
const ALL_TIME: u32 = 0xffffffff;

let names: usize = 0;

export function startTakePanes(modelTable: usize): void {
  names = modelTable;
}

/** Writes the rows and forgets the cells. */
export function takeRows(): void {
  beginPaneRows();
  const bytes = <usize>(cellCount + 1) << 2;
  const cells = allocate(bytes);
  const spare = allocate(bytes);
  listCells(cells);
  const sorted = sort(cells, spare, cellCount);
  let at = sorted;
  const end = sorted + (<usize>cellCount << 2);
  while (at < end) {
    const next = groupEnd(at, end);
    if (windowCount == 0) putPanes(at, next);
    else putWindows(at, next);
    at = next;
  }
  release(cells, bytes);
  release(spare, bytes);
  dropCells();
}

// @ts-ignore: decorator
@inline
function cellAt(at: usize): usize {
  return load<usize>(at);
}

/** The end of the cells that have the suite and model of the one at `at`. */
function groupEnd(at: usize, end: usize): usize {
  const series = load<u64>(cellAt(at));
  at += 4;
  while (at < end && load<u64>(cellAt(at)) == series) at += 4;
  return at;
}

// @ts-ignore: decorator
@inline
function merge(cell: usize, metric: i32): void {
  if (metric == ANY) mergeAny(cell);
  else mergeMetric(cell, metric);
}

function putPanes(from: usize, to: usize): void {
  const suite = load<u32>(cellAt(from), CELL_SUITE);
  const model = load<u32>(cellAt(from), CELL_MODEL);
  const metrics = <i32>metricsOf(<i32>suite);
  for (let metric = ANY; metric < metrics; metric++) {
    for (let resolution: u32 = 0; resolution < RESOLUTIONS; resolution++) {
      const minutes = load<i64>(MINUTES + (<usize>resolution << 3));
      let at = from;
      while (at < to) {
        const pane = floorDiv(load<i64>(cellAt(at), CELL_STRETCH), minutes);
        const last = (pane + 1) * minutes;
        while (at < to && load<i64>(cellAt(at), CELL_STRETCH) < last) {
          merge(cellAt(at), metric);
          at += 4;
        }
        if (mergedN > 0) putPane(suite, model, metric, resolution, pane * minutes * MINUTE_MS);
      }
    }
  }
}

function putWindows(from: usize, to: usize): void {
  const suite = load<u32>(cellAt(from), CELL_SUITE);
  const model = load<u32>(cellAt(from), CELL_MODEL);
  const metrics = <i32>metricsOf(<i32>suite);
  for (let at = from; at < to; at += 4) mergeAny(cellAt(at));
  putPane(suite, model, ANY, ALL_TIME, 0);
  for (let metric = ANY; metric < metrics; metric++) {
    for (let window: u32 = 0; window < windowCount; window++) {
      for (let at = from; at < to; at += 4) {
        if (covers(window, load<i64>(cellAt(at), CELL_STRETCH))) merge(cellAt(at), metric);
      }
      if (mergedN > 0) putPane(suite, model, metric, window, windowStart(window));
    }
  }
}

/** Merge sort of `count` cells at a with as much room at b; where they lie then. */
function sort(a: usize, b: usize, count: u32): usize {
  let from = a;
  let into = b;
  for (let width: u32 = 1; width < count; width *= 2) {
    for (let i: u32 = 0; i < count; i += 2 * width) {
      mergeRuns(from, into, i, min(i + width, count), min(i + 2 * width, count));
    }
    const last = from;
    from = into;
    into = last;
  }
  return from;
}

function mergeRuns(from: usize, into: usize, left: u32, middle: u32, right: u32): void {
  let i = left;
  let j = middle;
  for (let k = left; k < right; k++) {
    const first = i < middle && (j >= right || !isBefore(load<usize>(from + (<usize>j << 2)), load<usize>(from + (<usize>i << 2))));
    store<usize>(into + (<usize>k << 2), load<usize>(from + (<usize>(first ? i : j) << 2)));
    if (first) i++;
    else j++;
  }
}

function isBefore(a: usize, b: usize): bool {
  const suiteA = load<u32>(a, CELL_SUITE);
  const suiteB = load<u32>(b, CELL_SUITE);
  if (suiteA != suiteB) return suiteA < suiteB;
  const modelA = load<u32>(a, CELL_MODEL);
  const modelB = load<u32>(b, CELL_MODEL);
  return modelA == modelB ? load<i64>(a, CELL_STRETCH) < load<i64>(b, CELL_STRETCH) : isNameBefore(modelA, modelB);
}

/** By code point; names are ASCII. */
function isNameBefore(a: u32, b: u32): bool {
  const recordA = internedRecord(names, a);
  const recordB = internedRecord(names, b);
  const lengthA = load<usize>(recordA, 4);
  const lengthB = load<usize>(recordB, 4);
  const order = memory.compare(load<usize>(recordA), load<usize>(recordB), min(lengthA, lengthB));
  return order < 0 || (order == 0 && lengthA < lengthB);
}
