import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bucketOf, bucketValue, MAX_BUCKET, quantileRank, valueAtRank } from '../../../../scoring/rules/sketch.ts';

/** ⌊(101/99)^i⌋ by exact integers. */
function bound(i: number): bigint {
  return i < 0 ? 0n : 101n ** BigInt(i) / 99n ** BigInt(i);
}

describe('the sketch', () => {
  test('bucket i holds ⌊γ^(i−1)⌋ < q ≤ ⌊γ^i⌋, for any q up to 2^40', () => {
    fc.assert(
      fc.property(fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 2 ** 40 })), (q) => {
        const i = bucketOf(q) - 1;
        expect(bound(i - 1) < BigInt(q) && BigInt(q) <= bound(i)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('both sides of every bound fall where the rule says', () => {
    for (let i = 0; i < MAX_BUCKET; i += 7) {
      const top = bound(i);
      if (top > 2n ** 40n || top === bound(i - 1)) continue;
      expect(bucketOf(Number(top))).toBe(i + 1);
      if (top < 2n ** 40n) expect(bucketOf(Number(top) + 1)).toBeGreaterThan(i + 1);
    }
  });

  test('zero has its own bucket, negatives are mirrored, and indexes order as values do', () => {
    expect(bucketOf(0)).toBe(0);
    fc.assert(
      fc.property(
        fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
        fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
        (a, b) => {
          expect(bucketOf(-a) + bucketOf(a)).toBe(0);
          if (a < b) expect(bucketOf(a)).toBeLessThanOrEqual(bucketOf(b));
        },
      ),
    );
  });

  test('a bucket’s value is the double nearest 0.99·γ^i, and within 1 % of every q it holds', () => {
    for (let i = 0; i < MAX_BUCKET; i += 13) {
      const digits = 10n ** 40n;
      const exact = (99n * 101n ** BigInt(i) * digits) / (100n * 99n ** BigInt(i));
      const value = bucketValue(i + 1);
      const asInteger = (BigInt(Math.round(value * 2 ** 10)) * digits) / 2n ** 10n;
      if (value > 2 ** 30) expect(Math.abs(Number(asInteger - exact)) / Number(exact)).toBeLessThan(2 ** -40);
      expect(value / (Number(exact) / 1e40)).toBeCloseTo(1, 14);
    }
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 40 }), (q) => {
        // ⌊·⌋ of the bounds widens the 1 % by less than one unit of q.
        expect(Math.abs(bucketValue(bucketOf(q)) - q)).toBeLessThanOrEqual(0.01 * q + 1);
      }),
    );
  });

  test('the p-quantile is the value at rank ⌈n·p⌉, clamped into [min, max]', () => {
    expect(quantileRank(100, 0.95)).toBe(95);
    expect(quantileRank(10, 0.95)).toBe(10);
    expect(quantileRank(1, 0.001)).toBe(1);
    const low = bucketOf(100);
    const high = bucketOf(1000);
    const buckets = [
      [low, 94],
      [high, 6],
    ] as const;
    expect(valueAtRank(buckets, 94, 1, 0, 2000)).toBe(bucketValue(low));
    expect(valueAtRank(buckets, 95, 1, 0, 2000)).toBe(bucketValue(high));
    expect(valueAtRank(buckets, 95, 1, 100, 1000)).toBe(Math.min(bucketValue(high), 1000));
    expect(valueAtRank(buckets, 1, 1, 100, 1000)).toBe(Math.max(bucketValue(low), 100));
    expect(() => valueAtRank(buckets, 101, 1, 0, 1)).toThrow();
  });
});
