import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PaneList } from '../../../../scoring/backtest/model-panes.ts';
import { SlidingWindow } from '../../../../scoring/backtest/sliding-window.ts';
import { Accumulator, type Quantised } from '../../../../scoring/rules/accumulator.ts';
import { bucketOf } from '../../../../scoring/rules/sketch.ts';
import { smallSuite } from '../../../support/scoring-reports.ts';

const PANE_MS = 10;
const LENGTH_MS = 60;
const suite = smallSuite({
  metrics: { a: { direction: 'higher', floor: 0, ceil: 1 }, b: { direction: 'higher', floor: 0, ceil: 1 } },
});

interface Report {
  readonly atMs: number;
  readonly w: number;
  readonly q: readonly (number | null)[];
}

function value(q: number | null, w: bigint): Quantised | undefined {
  if (q === null) return undefined;
  const wq = w * BigInt(q);
  return { q, wq, wq2: wq * BigInt(q), bucket: bucketOf(q) };
}

const q = fc.option(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -(2 ** 40), max: 2 ** 40 })));
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ atMs: fc.nat(400), w: fc.integer({ min: 1, max: 2 ** 20 }), q: fc.tuple(q, q) }),
  },
  { weight: 1, arbitrary: fc.nat(120) },
);

test('a window that slides holds what its panes add up to, whatever comes late, in few or many reports a pane', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), fc.constantFrom(1, 20), (steps, times) => {
      const panes = new PaneList(PANE_MS, 2);
      const window = new SlidingWindow(panes, 2);
      const read: Report[] = [];
      let endMs = 0;
      let version = -1;
      for (const one of steps) {
        if (typeof one === 'number') {
          endMs += Math.floor(one / PANE_MS) * PANE_MS;
          window.moveTo({ startMs: endMs - LENGTH_MS, endMs });
        } else {
          for (let i = 0; i < times; i++) {
            read.push(one);
            const w = BigInt(one.w);
            const row = { w, values: one.q.map((each) => value(each, w)) };
            window.include(row, panes.add(row, one.atMs));
          }
        }
        if (window.version === version) continue;
        version = window.version;
        const inside = read.filter(({ atMs }) => {
          const paneMs = Math.floor(atMs / PANE_MS) * PANE_MS;
          return paneMs >= window.bounds.startMs && paneMs < window.bounds.endMs;
        });
        const sums = window.sums(suite);
        expect([window.n, sums.any.weight]).toEqual([
          inside.length,
          inside.reduce((sum, { w }) => sum + BigInt(w), 0n),
        ]);
        for (const [place, name] of ['a', 'b'].entries()) {
          const anew = new Accumulator();
          for (const report of inside) {
            const own = value(report.q[place] ?? null, BigInt(report.w));
            if (own !== undefined) anew.add(own, BigInt(report.w));
          }
          expect(sums.metrics.get(name)).toEqual(anew.n === 0 ? undefined : anew.toSums());
        }
      }
    }),
    { numRuns: 60 },
  );
});
