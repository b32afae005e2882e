import { createInterner, internedRecord } from '../simd-json-wasm/assembly/intern';
import { setLimits, setSeed } from '../simd-json-wasm/assembly/limits';
import { addRows } from './aggregate';
import { allocate } from './blocks';
import { cellBytes, cellsHeld, dropCells, startCells } from './cells';
import { forgetReports, offerRows, remember, reportCount, rollback, startDedup } from './dedup';
import { SECRET_BYTES, secretAt } from './fingerprint';
import { arrived, fileBegins, fileEnds, inputAt, readBlock, room, startLines } from './lines';
import { startMerge } from './merge';
import { numberText } from './number-text';
import { bucketCount, bucketCounts, bucketIndexes, paneColumn, paneCount, startPaneRows } from './pane-rows';
import { clearValues, fillValue, internModel, startReports } from './report';
import {
  acceptedAt, acceptedDigests, CHECKED, digests, fitMetrics, instants, keys, lengths, lines, metricStride, models, offsets, present, presentWords, producerLengths, producers, quantised, QUARANTINED, setStatus, startRows, statuses, suitesOf, values, weights,
} from './rows';
import { hashQueued, queueMessage } from './sha256';
import { forgetShapes, startShapes } from './shapes';
import { boundsAt, startSketch } from './sketch';
import { addWindow } from './stretches';
import { addMetric, addSuite, findSuite, setTenant, startSuites } from './suites';
import { startTakePanes, takeRows } from './take-panes';
import { contentAt, contentBytes, startTexts, takeTexts } from './texts';

export { addMetric, addWindow, arrived, boundsAt, cellBytes, cellsHeld, contentAt, contentBytes, dropCells, fileBegins, fileEnds, forgetReports, inputAt };
export { acceptedAt, acceptedDigests, numberText, paneColumn, readBlock, remember, reportCount, rollback, room, secretAt, setSeed, setTenant };

/** Where the host puts names: one a slot of SCRATCH_SLOT bytes. */
const SCRATCH_SLOT: usize = 512;
let scratch: usize = 0;
let modelNames: usize = 0;

/** Once, after boundsAt and the host's writing of the bounds. */
export function start(
  rows: u32, lineLimit: u32, chunkLimit: u32, reports: u32, modelLimit: u32, paneBytes: u32, depth: u32, withDigests: bool,
): void {
  setLimits(depth, lineLimit, true, true);
  scratch = allocate(4 * SCRATCH_SLOT);
  modelNames = createInterner(modelLimit);
  startSuites();
  startShapes();
  startRows(rows);
  startReports(modelNames);
  startTexts(rows, lineLimit, withDigests);
  startLines(lineLimit, chunkLimit);
  startDedup(reports);
  startSketch();
  startCells(paneBytes);
  startMerge();
  startPaneRows();
  startTakePanes(modelNames);
}

export function scratchAt(): usize {
  return scratch;
}

/** A suite whose name is in the scratch; its number. */
export function suite(length: u32): u32 {
  forgetShapes();
  return addSuite(scratch, length);
}

/** Its next metric. */
export function metric(length: u32, factor: f64, least: f64, greatest: f64): void {
  addMetric(scratch, length, factor, least, greatest);
  fitMetrics();
}

export function tenantIs(length: u32): void {
  setTenant(scratch, length);
}

/** The columns of a block, by number. */
export function rowColumn(column: u32): usize {
  if (column == 0) return statuses;
  if (column == 1) return lines;
  if (column == 2) return offsets;
  if (column == 3) return lengths;
  if (column == 4) return suitesOf;
  if (column == 5) return models;
  if (column == 6) return weights;
  if (column == 7) return instants;
  if (column == 8) return keys;
  if (column == 9) return digests;
  if (column == 10) return present;
  if (column == 11) return values;
  if (column == 12) return quantised;
  return column == 13 ? producers : producerLengths;
}

export function metricsARow(): u32 {
  return metricStride;
}

export function wordsARow(): u32 {
  return presentWords;
}

export function secretBytes(): usize {
  return SECRET_BYTES;
}

export function quarantine(row: u32): void {
  setStatus(row, QUARANTINED);
}

/** A row that the reference read: reportId, producer, model and suite are in the scratch, a slot each. Returns the suite. */
export function report(row: u32, model: u32, suite: u32, instant: f64, weight: u32): i32 {
  const word = <usize>row << 2;
  const found = findSuite(scratch + 3 * SCRATCH_SLOT, suite);
  store<i32>(suitesOf + word, found);
  store<u32>(models + word, internModel(scratch + 2 * SCRATCH_SLOT, model));
  store<u32>(weights + word, weight);
  store<f64>(instants + (word << 1), instant);
  clearValues(row);
  return found;
}

/** One value of that row; false where the suite refuses it. */
export function value(row: u32, suite: i32, metric: u32, x: f64): bool {
  return fillValue(row, suite, metric, x);
}

/** That row's content, `length` bytes of which were written at contentAt, and its key. */
export function content(row: u32, length: u32, id: u32, producer: u32): void {
  takeTexts(row, contentAt() + length, scratch + SCRATCH_SLOT, producer, scratch, id);
  setStatus(row, CHECKED);
}

/** Offers the rows [from, to) to the memory of reports. */
export function offers(from: u32, to: u32): void {
  offerRows(from, to);
}

export function aggregates(from: u32, to: u32): u32 {
  return addRows(from, to);
}

export function takePanes(): u32 {
  takeRows();
  return paneCount;
}

export function buckets(): u32 {
  return bucketCount;
}

export function bucketIndexesAt(): usize {
  return bucketIndexes;
}

export function bucketCountsAt(): usize {
  return bucketCounts;
}

export function modelAt(model: u32): usize {
  return load<usize>(internedRecord(modelNames, model));
}

export function modelLength(model: u32): u32 {
  return <u32>load<usize>(internedRecord(modelNames, model), 4);
}

/** SHA-256 of the message at p, which the padding follows in place; 32 bytes to `to`. */
export function sha256(p: usize, length: usize, to: usize): void {
  queueMessage(p, length, to, 32);
  hashQueued();
}
