import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Accumulator, mergeSums, type Quantised } from '../../../../scoring/rules/accumulator.ts';
import type { Sums } from '../../../../scoring/rules/pane.ts';
import { bucketOf } from '../../../../scoring/rules/sketch.ts';
import { varianceOf } from '../../../../scoring/rules/statistics.ts';

interface Value {
  readonly q: number;
  readonly w: number;
}

const value = fc.record({
  q: fc.oneof(fc.integer({ min: -(2 ** 40), max: 2 ** 40 }), fc.integer({ min: -5, max: 5 })),
  w: fc.integer({ min: 1, max: 2 ** 20 }),
});

function quantised({ q, w }: Value): Quantised {
  const wq = BigInt(w) * BigInt(q);
  return { q, wq, wq2: wq * BigInt(q), bucket: bucketOf(q) };
}

function accumulated(values: readonly Value[]): Accumulator {
  const accumulator = new Accumulator();
  for (const one of values) accumulator.add(quantised(one), BigInt(one.w));
  return accumulator;
}

function sumsOf(values: readonly Value[]): Sums {
  return accumulated(values).toSums();
}

describe('exact sums', () => {
  test('are the same in any order, split over any number of shards, merged in any order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(value, fc.nat(6)), { maxLength: 60 }),
        fc.infiniteStream(fc.nat()),
        (tagged, keys) => {
          const whole = sumsOf(tagged.map(([one]) => one));
          const shards = [0, 1, 2, 3, 4, 5, 6].map((k) =>
            sumsOf(tagged.filter(([, at]) => at === k).map(([one]) => one)),
          );
          const shuffled = shards.map((shard) => ({ shard, key: keys.next().value })).sort((a, b) => a.key - b.key);
          expect(mergeSums(shuffled.map(({ shard }) => shard))).toEqual(whole);
        },
      ),
    );
  });

  test('what is evicted leaves what remains, pane by pane or report by report, min and max included or told to be lost', () => {
    const extremes = fc.array(value, { maxLength: 30 });
    fc.assert(
      fc.property(extremes, extremes, fc.boolean(), (gone, kept, byReport) => {
        const window = accumulated([]);
        for (const part of [gone, kept]) window.absorb(accumulated(part));
        const lost = byReport
          ? gone.map((one) => window.remove(quantised(one), BigInt(one.w))).includes(true)
          : window.evict(accumulated(gone));
        const remaining = sumsOf(kept);
        if (lost) window.setExtremes(remaining.min, remaining.max);
        expect(window.toSums()).toEqual(remaining);
      }),
    );
  });

  test('hold their extremes exactly: 2^12 reports at both limits neither wrap nor round', () => {
    const values = Array.from({ length: 4096 }, (_, i) => ({ q: i % 2 === 0 ? 2 ** 40 : -(2 ** 40), w: 2 ** 20 }));
    const sums = sumsOf(values);
    expect([sums.weight, sums.sumWq, sums.sumWq2]).toEqual([2n ** 32n, 0n, 2n ** 112n]);
    expect(varianceOf(sums, 1)).toBe(2 ** 112 / 4095);
  });

  test('give no variance of one report, and none that is negative', () => {
    expect(varianceOf(sumsOf([{ q: 5, w: 3 }]), 1)).toBeNull();
    fc.assert(
      fc.property(fc.array(value, { minLength: 2, maxLength: 20 }), (values) => {
        expect(varianceOf(sumsOf(values), 1e6)).toBeGreaterThanOrEqual(0);
      }),
    );
    const same = Array.from({ length: 10 }, () => ({ q: 812_300, w: 7 }));
    expect(Object.is(varianceOf(sumsOf(same), 1e6), 0)).toBe(true);
  });
});
