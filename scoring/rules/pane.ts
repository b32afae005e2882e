/**
 * Panes: the exact integers of one series over one small stretch of event time. Windows are sums of panes, so order,
 * sharding and batch size cannot change one bit. A pane row is what a database table holds.
 * Source: Li and others, No pane, no gain, SIGMOD Record 34 (2005); sizes, docs/scoring.md, Windows, time, lateness.
 */

/** The three sizes of pane, each the step of one window: 1 m that of 1h, 15 m of 24h, 1 h of 7d. */
export type Resolution = '1m' | '15m' | '1h';

export const RESOLUTIONS: readonly Resolution[] = ['1m', '15m', '1h'];

export const RESOLUTION_MS: Readonly<Record<Resolution, number>> = { '1m': 60_000, '15m': 900_000, '1h': 3_600_000 };

/** The metric name of the row that counts a model's reports of any metric, unknown ones included. */
export const ANY_METRIC = '';

/** One sketch bucket: its signed index (see sketch.ts; 0 is the zero bucket) and how many reports fell into it. */
export type Bucket = readonly [index: number, count: number];

/**
 * The exact sums of some reports of one series. q is the metric's value × 10^scale as an integer, |q| ≤ 2^40; w the
 * report's sampleSize. `min` and `max` are of q (0 where n is 0, and in rows of ANY_METRIC). `buckets` ascend by index,
 * counts > 0. In rows of ANY_METRIC sumWq and sumWq2 are 0 and buckets is empty.
 */
export interface Sums {
  /** Reports. */
  readonly n: number;
  /** Σw. */
  readonly weight: bigint;
  /** Σwq. */
  readonly sumWq: bigint;
  /** Σwq²; within a signed 128-bit integer wherever Σw ≤ 2^32. */
  readonly sumWq2: bigint;
  readonly min: number;
  readonly max: number;
  readonly buckets: readonly Bucket[];
}

export const NO_SUMS: Sums = { n: 0, weight: 0n, sumWq: 0n, sumWq2: 0n, min: 0, max: 0, buckets: [] };

/** Where a pane belongs. A suite's panes are keyed by its hash: another version of the suite has its own. */
export interface PaneKey {
  readonly suiteHash: string;
  readonly model: string;
  /** A metric of the suite, or ANY_METRIC. */
  readonly metric: string;
  readonly resolution: Resolution;
  /** Milliseconds since the epoch; a multiple of the resolution. The pane covers [paneStart, paneStart + resolution). */
  readonly paneStartMs: number;
}

/** A row of the panes table, or a delta to be added to one: both merge by the same rule (accumulator.ts). */
export interface Pane extends PaneKey {
  readonly sums: Sums;
}

/** The start of the pane of `resolution` that holds the instant. */
export function paneStartMs(resolution: Resolution, atMs: number): number {
  const size = RESOLUTION_MS[resolution];
  return Math.floor(atMs / size) * size;
}
