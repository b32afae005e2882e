import { describe, expect, test } from 'vitest';
import type { MetricRule } from '../../../../core/suite.ts';
import { Accumulator } from '../../../../scoring/rules/accumulator.ts';
import { intervalOf } from '../../../../scoring/rules/interval.ts';
import type { Sums } from '../../../../scoring/rules/pane.ts';
import { bucketOf, bucketValue } from '../../../../scoring/rules/sketch.ts';
import { smallSuite } from '../../../support/scoring-reports.ts';

function ruleOf(kind: 'mean' | 'quantile' | 'binary', quantile?: number): MetricRule {
  const statistic = quantile === undefined ? { kind } : { kind, quantile };
  return smallSuite({ metrics: { a: { direction: 'higher', scale: 0, floor: 0, ceil: 1, ...statistic } } }).metrics[0]!;
}

function sumsOf(values: readonly number[], w = 1): Sums {
  const sums = new Accumulator();
  for (const q of values) {
    const wq = BigInt(w) * BigInt(q);
    sums.add({ q, wq, wq2: wq * BigInt(q), bucket: bucketOf(q) }, BigInt(w));
  }
  return sums.toSums();
}

describe('the interval of a mean', () => {
  test('is mean ± t₀.₉₇₅(n−1)·√(variance/Σw)', () => {
    // 1, 2, 3: variance 1 and t(2) = 4.302652729749464; a weight of 4 each makes the variance 4 and leaves the error as it was.
    for (const w of [1, 4]) {
      const interval = intervalOf(ruleOf('mean'), sumsOf([1, 2, 3], w));
      expect(interval?.low).toBeCloseTo(2 - 4.302652729749464 / Math.sqrt(3), 12);
      expect(interval?.high).toBeCloseTo(2 + 4.302652729749464 / Math.sqrt(3), 12);
    }
  });

  test('is not there for one report', () => {
    expect(intervalOf(ruleOf('mean'), sumsOf([1]))).toBeUndefined();
  });
});

describe('the interval of a quantile', () => {
  /** 2^0 … 2^(n−1): the value tells its rank. */
  const powers = (n: number) => sumsOf(Array.from({ length: n }, (_, i) => 2 ** i));
  const atRank = (rank: number) => bucketValue(bucketOf(2 ** (rank - 1)));

  test('lies at the ranks ⌈n·p ± z·√(n·p(1−p))⌉', () => {
    // 40·0.75 ± 1.96·√7.5: 24.63 and 35.37.
    expect(intervalOf(ruleOf('quantile', 0.75), powers(40))).toEqual({ low: atRank(25), high: atRank(36) });
    // 36·0.25 ± 1.96·√6.75: 3.91 and 14.09.
    expect(intervalOf(ruleOf('quantile', 0.25), powers(36))).toEqual({ low: atRank(4), high: atRank(15) });
  });

  test('stays within the first and the last report', () => {
    const { low, high } = intervalOf(ruleOf('quantile', 0.99), powers(30))!;
    expect([low, high]).toEqual([atRank(29), 2 ** 29]);
    // 30·0.01 − 1.96·√0.297 is below 0; the first bucket's value is less than the least value, which stands.
    expect(intervalOf(ruleOf('quantile', 0.01), powers(30))?.low).toBe(1);
  });
});

describe('the interval of a rate', () => {
  test('is Wilson’s over all trials, and keeps within 0 and 1', () => {
    // Newcombe (1998), method 3, 15 of 148.
    const interval = intervalOf(ruleOf('binary'), { ...sumsOf([0]), weight: 148n, sumWq: 15n });
    expect(interval?.low).toBeCloseTo(0.0624, 4);
    expect(interval?.high).toBeCloseTo(0.1605, 4);
    expect(intervalOf(ruleOf('binary'), sumsOf([0, 0]))?.low).toBe(0);
    expect(intervalOf(ruleOf('binary'), sumsOf([1, 1]))?.high).toBe(1);
  });
});
