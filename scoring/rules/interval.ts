import type { MetricRule } from '../../core/suite.ts';
import { clamp } from './normalise.ts';
import type { Sums } from './pane.ts';
import { keepRank, valueAtRank } from './sketch.ts';
import { meanOf, varianceOf } from './statistics.ts';
import { t975, Z95 } from './student.ts';

/** The ends of a statistic's 95 % interval, in the metric's own unit; undefined where it has none (a mean at n = 1). */
export type Interval = { readonly low: number; readonly high: number } | undefined;

export function intervalOf(rule: MetricRule, sums: Sums): Interval {
  const { statistic, factor } = rule;
  if (statistic.kind === 'binary') return wilson(meanOf(sums, factor), Number(sums.weight));
  if (statistic.kind === 'quantile') return sketchInterval(sums, statistic.p, factor);
  return student(meanOf(sums, factor), varianceOf(sums, factor), sums.n, Number(sums.weight));
}

/** Wilson's score interval of a rate over N trials, on (Σwx, Σw). Source: Wilson, Probable inference, JASA 22 (1927). */
export function wilson(rate: number, trials: number): { readonly low: number; readonly high: number } {
  const z2 = Z95 * Z95;
  const denominator = 1 + z2 / trials;
  const centre = (rate + z2 / (2 * trials)) / denominator;
  const half = (Z95 * Math.sqrt((rate * (1 - rate)) / trials + z2 / (4 * trials * trials))) / denominator;
  return { low: clamp(centre - half, 0, 1), high: clamp(centre + half, 0, 1) };
}

/** mean ± t₀.₉₇₅(n−1)·√(variance/Σw). Source: Student, The probable error of a mean, Biometrika 6 (1908). */
export function student(mean: number, variance: number | null, n: number, weight: number): Interval {
  if (variance === null) return undefined;
  const half = t975(n - 1) * Math.sqrt(variance / weight);
  return { low: mean - half, high: mean + half };
}

/**
 * The sketch at ranks ⌈n·p ± z·√(n·p(1−p))⌉, kept within 1…n.
 * Source: David and Nagaraja, Order Statistics (2003), 7.1, by the normal limit.
 */
function sketchInterval(sums: Sums, p: number, factor: number): Interval {
  const n = sums.n;
  const centre = n * p;
  const half = Z95 * Math.sqrt(centre * (1 - p));
  const min = sums.min / factor;
  const max = sums.max / factor;
  const at = (rank: number) => valueAtRank(sums.buckets, keepRank(Math.ceil(rank), n), factor, min, max);
  return { low: at(centre - half), high: at(centre + half) };
}
