/** The published shapes of docs/scoring.md, exactly as `merit score -o json` and the API show them. */

/** The windows a suite may weigh, in the order in which every sum over windows runs. */
export type WindowName = '1h' | '24h' | '7d';

/** An integer in published JSON: a number up to 2^53, a decimal string above. */
export type PublishedInteger = number | string;

export interface PublishedMetric {
  readonly n: number;
  readonly weight: PublishedInteger;
  readonly mean: number | null;
  /** Null at n ≤ 1. */
  readonly variance: number | null;
  readonly min: number | null;
  readonly max: number | null;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly score: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  /** `range`: Σw passed 2^32, so that every statistic here is null. */
  readonly reason?: 'range';
}

export interface PublishedWindow {
  readonly start: string;
  readonly end: string;
  /** Reports of any metric. */
  readonly n: number;
  readonly weight: PublishedInteger;
  readonly revision: number;
  readonly score: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  /** Optional metrics that dropped out, in code-point order. */
  readonly missing: readonly string[];
  readonly metrics: { readonly [metric: string]: PublishedMetric };
}

export type ModelStatus = 'ranked' | 'no_data' | 'missing_required' | 'insufficient';

export interface PublishedModel {
  readonly model: string;
  readonly rank: number | null;
  readonly status: ModelStatus;
  readonly composite: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  readonly windows: { readonly [name in WindowName]?: PublishedWindow };
}

/** The largest integer that JSON may carry as a number. */
const MAX_JSON_INTEGER = 2n ** 53n;

/** Integers above 2^53 are strings in published and signed records. */
export function publishedInteger(value: bigint): PublishedInteger {
  return value > MAX_JSON_INTEGER || value < -MAX_JSON_INTEGER ? value.toString() : Number(value);
}
