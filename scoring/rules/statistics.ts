import type { Sums } from './pane.ts';
import { quantileRank, valueAtRank } from './sketch.ts';

/**
 * The fixed tree of IEEE operations from exact integers to doubles. d(·) is an integer rounded once to double, which
 * Number(bigint) does (ties to even). The order of operations here is the order everywhere: WASM, JavaScript, Postgres.
 * Source: docs/scoring.md, Exact arithmetic.
 */

/** A metric whose Σw in a window passes this is null there, with reason `range`. */
export const MAX_WINDOW_WEIGHT = 2n ** 32n;

export interface Statistics {
  readonly mean: number;
  /** Null at n = 1. */
  readonly variance: number | null;
  readonly min: number;
  readonly max: number;
  readonly p50: number;
  readonly p95: number;
}

/** mean = d(Σwq)/d(Σw)/10^scale. */
export function meanOf(sums: { readonly weight: bigint; readonly sumWq: bigint }, factor: number): number {
  return Number(sums.sumWq) / Number(sums.weight) / factor;
}

/**
 * variance = d(Σw·Σwq² − (Σwq)²)/d(Σw)/(n−1)/10^scale/10^scale; the numerator is exact, up to 144 bits. It is the
 * per-sample variance where a report is a mean over w samples. Null at n = 1.
 */
export function varianceOf(
  sums: { readonly n: number; readonly weight: bigint; readonly sumWq: bigint; readonly sumWq2: bigint },
  factor: number,
): number | null {
  if (sums.n < 2) return null;
  const numerator = sums.weight * sums.sumWq2 - sums.sumWq * sums.sumWq;
  return Number(numerator) / Number(sums.weight) / (sums.n - 1) / factor / factor;
}

/** The p-quantile of the sketch. */
export function quantileOf(sums: Sums, p: number, factor: number): number {
  return valueAtRank(sums.buckets, quantileRank(sums.n, p), factor, sums.min / factor, sums.max / factor);
}

/** Of at least one report with Σw ≤ 2^32. */
export function statisticsOf(sums: Sums, factor: number): Statistics {
  return {
    mean: meanOf(sums, factor),
    variance: varianceOf(sums, factor),
    min: sums.min / factor,
    max: sums.max / factor,
    p50: quantileOf(sums, 0.5, factor),
    p95: quantileOf(sums, 0.95, factor),
  };
}
