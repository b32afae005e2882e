import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BoundedCache } from '../../../../scoring/realtime/bounded-cache.ts';
import { SketchBook, type StoredSketch } from '../../../../scoring/realtime/sketch-book.ts';

const sketch = fc
  .tuple(fc.integer({ min: 0, max: 9 }), fc.uniqueArray(fc.integer({ min: -9, max: 9 }), { minLength: 1 }))
  .map(([pane, indexes]): StoredSketch => {
    const buckets = indexes.sort((a, b) => a - b);
    return [pane * 60, buckets, buckets.map((_, i) => i + 1)];
  });

describe('a book of sketches', () => {
  test('adds a window up from the last sketch read of each pane, whatever was read how often and looked at between', () => {
    const step = fc.tuple(fc.array(sketch), fc.nat(4), fc.nat(10));
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
        const book = new SketchBook();
        const last = new Map<number, StoredSketch>();
        let at = [0, 0];
        for (const [i, [list, from, length]] of steps.entries()) {
          book.take([[0, 'a', list]], String(i));
          for (const one of list) last.set(one[0], one);
          const [startMs, endMs] = [from * 60, (from + length) * 60];
          // What lies before a window is let go when it moves.
          const moved = startMs !== at[0] || endMs !== at[1];
          for (const paneMs of last.keys()) if (moved && paneMs < startMs) last.delete(paneMs);
          at = [startMs, endMs];
          const truth = new Map<number, number>();
          for (const [paneMs, buckets, counts] of last.values()) {
            if (paneMs < startMs || paneMs >= endMs) continue;
            for (const [k, bucket] of buckets.entries()) truth.set(bucket, (truth.get(bucket) ?? 0) + counts[k]!);
          }
          const { buckets, n } = book.window(0, 'a', startMs, endMs);
          expect(buckets).toEqual([...truth].sort((a, b) => a[0] - b[0]));
          expect(n).toBe([...truth.values()].reduce((sum, count) => sum + count, 0));
          expect(book.cells).toBe([...last.values()].reduce((sum, [, list]) => sum + 10 + 2 * list.length, 0));
        }
        expect(book.window(1, 'a', 0, 600)).toEqual({ buckets: [], n: 0 });
      }),
    );
  });
});

describe('a bounded cache', () => {
  test('drops what was used longest ago, by number and by size, and never keeps what would fill half of it', () => {
    const cache = new BoundedCache<string>(3, 100);
    for (const key of ['a', 'b', 'c']) cache.set(key, key, 10);
    expect(cache.get('a')).toBe('a');
    cache.set('d', 'd', 10);
    expect(['a', 'b', 'c', 'd'].map((key) => cache.get(key))).toEqual(['a', undefined, 'c', 'd']);
    cache.set('e', 'e', 50);
    cache.set('f', 'f', 45);
    expect(['a', 'c', 'd', 'e', 'f'].map((key) => cache.get(key))).toEqual([undefined, undefined, undefined, 'e', 'f']);
    cache.set('g', 'g', 51);
    expect([cache.get('g'), cache.size, cache.cells]).toEqual([undefined, 2, 95]);
    cache.set('e', 'E', 1);
    expect([cache.get('e'), cache.cells]).toEqual(['E', 46]);
  });
});
