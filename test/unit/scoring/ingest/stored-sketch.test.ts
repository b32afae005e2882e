import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mergeSketches } from '../../../../scoring/ingest/stored-sketch.ts';

const sketch = fc.dictionary(fc.integer({ min: -1400, max: 1400 }).map(String), fc.integer({ min: 1, max: 2 ** 31 }), {
  maxKeys: 40,
});
type Sketch = Readonly<Record<string, number>>;

function entriesOf(one: Sketch): (readonly [number, number])[] {
  return Object.entries(one)
    .map(([index, count]) => [Number(index), count] as const)
    .sort((a, b) => a[0] - b[0]);
}

/** As a Postgres array gives it. */
function textOf(values: readonly number[]): string {
  return `{${values.join(',')}}`;
}

test('stored sketches and deltas add up bucket by bucket, each in its place', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ stored: fc.option(sketch), delta: sketch }), { maxLength: 6 }), (cases) => {
      const deltas = cases.map(({ delta }) => entriesOf(delta));
      const columns = {
        firstBucket: Uint32Array.from(deltas.map((_, i) => deltas.slice(0, i).flat().length)),
        buckets: Uint32Array.from(deltas.map((one) => one.length)),
        bucketIndex: Int32Array.from(deltas.flat().map(([index]) => index)),
        bucketCount: Uint32Array.from(deltas.flat().map(([, count]) => count)),
      };
      const rows = Uint32Array.from(deltas.keys());
      const merged = mergeSketches(columns, rows, (i) => {
        const stored = cases[i]!.stored;
        if (stored === null) return undefined;
        const entries = entriesOf(stored);
        return { buckets: textOf(entries.map(([index]) => index)), counts: textOf(entries.map(([, count]) => count)) };
      });
      const got = Array.from(rows, (i) => {
        const from = i === 0 ? 0 : merged.end[i - 1]!;
        return Array.from(merged.index.subarray(from, merged.end[i]), (index, at) => [index, merged.count[from + at]!]);
      });
      const wanted = cases.map(({ stored, delta }) => {
        const sum = new Map(entriesOf(stored ?? {}));
        for (const [index, count] of entriesOf(delta)) sum.set(index, (sum.get(index) ?? 0) + count);
        return [...sum].sort((a, b) => a[0] - b[0]);
      });
      expect(got).toEqual(wanted);
    }),
  );
});

test('a row that is not asked for is left out', () => {
  const columns = {
    firstBucket: Uint32Array.of(0, 1),
    buckets: Uint32Array.of(1, 2),
    bucketIndex: Int32Array.of(5, -7, 8),
    bucketCount: Uint32Array.of(1, 2, 3),
  };
  const merged = mergeSketches(columns, Uint32Array.of(1), () => ({
    buckets: '{-7,0}',
    counts: '{9007199254740000,4}',
  }));
  expect([...merged.end]).toEqual([3]);
  expect([...merged.index]).toEqual([-7, 0, 8]);
  expect([...merged.count]).toEqual([9_007_199_254_740_002, 4, 3]);
});
