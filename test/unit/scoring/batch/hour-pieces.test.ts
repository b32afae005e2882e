import { describe, expect, test } from 'vitest';
import { areIn, hourPieces } from '../../../../scoring/batch/hour-pieces.ts';
import { hourOf } from '../../../../scoring/batch/hour-share.ts';
import { packPanes } from '../../../../scoring/batch/pane-deltas.ts';
import type { Pane } from '../../../../scoring/rules/pane.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const NONE: ReadonlySet<number> = new Set();
const sums = { n: 1, weight: 1n, sumWq: 0n, sumWq2: 0n, min: 0, max: 0, buckets: [] };

/** Of each series a pane a minute of these hours, one a quarter of an hour, and one an hour, as files have them: series by series. */
function panesOf(series: number, hours: readonly number[]) {
  const panes = Array.from({ length: series }, (_, metric) =>
    hours.flatMap((hour) =>
      (['1m', '15m', '1h'] as const).flatMap((resolution) => {
        const each = resolution === '1m' ? MINUTE : resolution === '15m' ? 15 * MINUTE : HOUR;
        return Array.from({ length: HOUR / each }, (_, i): Pane => {
          const paneStartMs = hour * HOUR + i * each;
          return { suiteHash: 'h', model: 'm', metric: `x${metric}`, resolution, paneStartMs, sums };
        });
      }),
    ),
  );
  return packPanes(panes.flat());
}

const AN_HOUR = 60 + 4 + 1;

describe('panes are cut into pieces', () => {
  test('of whole hours, the oldest first, each pane in one', () => {
    const panes = panesOf(2, [7, 3, 5, 4, 6]);
    const pieces = [...hourPieces(panes, NONE, 4 * AN_HOUR)];
    expect(pieces.map(({ hours }) => hours)).toEqual([[3, 4], [5, 6], [7]]);
    for (const { hours, rows } of pieces)
      expect(new Set(rows.map((row) => hourOf(panes.startMs[row]!)))).toEqual(new Set(hours));
    const rows = pieces.flatMap((piece) => piece.rows).sort((a, b) => a - b);
    expect(rows).toEqual([...panes.startMs.keys()]);
  });

  test('of one hour alone where that has more than fit', () => {
    const pieces = [...hourPieces(panesOf(3, [1, 2]), NONE, AN_HOUR)];
    expect(pieces.map(({ hours, rows }) => [hours, rows.length])).toEqual([
      [[1], 3 * AN_HOUR],
      [[2], 3 * AN_HOUR],
    ]);
  });

  test('without the hours that are merged, and of none where all are', () => {
    const panes = panesOf(1, [1, 2, 3]);
    expect([...hourPieces(panes, new Set([2]), 10 * AN_HOUR)].map(({ hours }) => hours)).toEqual([[1, 3]]);
    expect([...hourPieces(panes, new Set([1, 2, 3]), AN_HOUR)]).toEqual([]);
    expect([...hourPieces(packPanes([]), NONE, AN_HOUR)]).toEqual([]);
    expect([areIn(panes, new Set([1, 2])), areIn(panes, new Set([1, 2, 3, 4]))]).toEqual([false, true]);
  });
});
