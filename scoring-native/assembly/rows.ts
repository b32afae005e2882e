import { allocate, release } from './blocks';
import { mostMetrics } from './suites';

/** The rows of a block, a column each. What a row's status says: */
export const CHECKED: u32 = 0;
export const QUARANTINED: u32 = 1;
export const TOO_LONG: u32 = 2;
export const ACCEPTED: u32 = 3;
export const DUPLICATE: u32 = 4;
export const CONFLICT: u32 = 5;

export const KEY_BYTES: usize = 16;
export const DIGEST_BYTES: usize = 32;

/** Rows a block, metrics a row, 32-bit words of bits a row that say which metrics it has. */
export let rowLimit: u32 = 0;
export let metricStride: u32 = 0;
export let presentWords: u32 = 0;

export let statuses: usize = 0;
export let lines: usize = 0;
export let offsets: usize = 0;
export let lengths: usize = 0;
export let suitesOf: usize = 0;
export let models: usize = 0;
export let weights: usize = 0;
export let instants: usize = 0;
export let keys: usize = 0;
export let digests: usize = 0;
export let present: usize = 0;
export let values: usize = 0;
export let quantised: usize = 0;
/** Where the producer's name lies in the input, and its length: 0 where the reference read the row. */
export let producers: usize = 0;
export let producerLengths: usize = 0;

let accepted: usize = 0;
let presentBytes: usize = 0;
let valuesBytes: usize = 0;

export function startRows(limit: u32): void {
  rowLimit = limit;
  const n = <usize>limit;
  statuses = allocate(n);
  lines = allocate(n << 2);
  offsets = allocate(n << 2);
  lengths = allocate(n << 2);
  suitesOf = allocate(n << 2);
  models = allocate(n << 2);
  weights = allocate(n << 2);
  instants = allocate(n << 3);
  keys = allocate(n * KEY_BYTES);
  digests = allocate(n * DIGEST_BYTES);
  accepted = allocate(n * DIGEST_BYTES);
  producers = allocate(n << 2);
  producerLengths = allocate(n);
  fitMetrics();
}

/** Makes room for the suite with the most metrics; what a block holds in them is lost. */
export function fitMetrics(): void {
  if (metricStride != 0 && metricStride >= mostMetrics) return;
  release(present, presentBytes);
  release(values, valuesBytes);
  release(quantised, valuesBytes);
  metricStride = max<u32>(mostMetrics, 1);
  presentWords = (metricStride + 31) >> 5;
  presentBytes = (<usize>rowLimit * presentWords) << 2;
  valuesBytes = (<usize>rowLimit * metricStride) << 3;
  present = allocate(presentBytes);
  values = allocate(valuesBytes);
  quantised = allocate(valuesBytes);
}

// @ts-ignore: decorator
@inline
export function statusOf(row: u32): u32 {
  return <u32>load<u8>(statuses + <usize>row);
}

// @ts-ignore: decorator
@inline
export function setStatus(row: u32, status: u32): void {
  store<u8>(statuses + <usize>row, <u8>status);
}

export function acceptedAt(): usize {
  return accepted;
}

/** Puts the digests of the accepted among the first `rows` side by side at acceptedAt; how many there are. */
export function acceptedDigests(rows: u32): u32 {
  let count: u32 = 0;
  for (let row: u32 = 0; row < rows; row++) {
    if (statusOf(row) == ACCEPTED) {
      const from = digests + <usize>row * DIGEST_BYTES;
      const to = accepted + <usize>count * DIGEST_BYTES;
      v128.store(to, v128.load(from));
      v128.store(to + 16, v128.load(from + 16));
      count++;
    }
  }
  return count;
}
