import { describe, expect, test } from 'vitest';
import { fails, type Row, ratioOf, row, tableOf, takeTurns, verdictOf } from '../../bench/harness.ts';
import { openLoop, quantile } from '../../bench/open-loop.ts';

function ratio(value: number | null, parts: Partial<Row> = {}): Row {
  return row({ what: 'w', value, floor: 4, aim: 6, detail: 'd', command: 'c', ...parts });
}

describe('a row of the benchmark', () => {
  test('is below its floor only by more than a quarter of it', () => {
    const verdicts = [6, 5.99, 4, 3.99, 3, 2.99, null].map((value) => verdictOf(ratio(value)));
    expect(verdicts).toEqual([
      'meets its aim',
      'above its floor',
      'above its floor',
      'within slack of its floor',
      'within slack of its floor',
      'BELOW ITS FLOOR',
      'skipped',
    ]);
  });

  test('whose less is better is read the other way round', () => {
    const verdicts = [2, 3, 3.75, 3.76].map((value) => verdictOf(ratio(value, { sense: 'at most', floor: 3, aim: 2 })));
    expect(verdicts).toEqual(['meets its aim', 'above its floor', 'within slack of its floor', 'BELOW ITS FLOOR']);
  });

  test('that is counted and not timed gets no slack', () => {
    const counted = ratio(1.11, { sense: 'at most', floor: 1.1, aim: null, counted: true });
    expect(verdictOf(counted)).toBe('BELOW ITS FLOOR');
    expect(verdictOf({ ...counted, counted: false })).toBe('within slack of its floor');
  });

  test('fails the run by a ratio only, never by time, by what was skipped or by what is for scale', () => {
    expect(fails([ratio(2.9)])).toBe(true);
    const late = ratio(500, { unit: 'ms', sense: 'at most', floor: 20, aim: 5 });
    expect(verdictOf(late)).toBe('BELOW ITS FLOOR');
    expect(fails([late, ratio(3), ratio(null), ratio(0.1, { floor: null, aim: null })])).toBe(false);
  });

  test('tells its limit where it misses its aim, and not where it meets it', () => {
    const limit = 'the speed of light';
    expect(tableOf([ratio(5, { limit })])).toContain(limit);
    expect(tableOf([ratio(7, { limit })])).not.toContain(limit);
  });
});

test('a ratio is the median of the rounds’ own ratios, and warm-ups are none of them', async () => {
  const ours = [9, 1, 2, 4];
  const other = [9, 3, 10, 4];
  const times = await takeTurns(
    [
      { name: 'ours', pass: () => ours.shift() },
      { name: 'other', pass: () => other.shift() },
    ],
    3,
    1,
  );
  expect(times.get('ours')).toEqual([1, 2, 4]);
  expect(ratioOf(times, 'ours', 'other')).toBe(3);
});

test('a door that stands still makes every call that was due meanwhile late', async () => {
  const stallMs = 300;
  const startMs = performance.now();
  const free = new Promise<void>((resolve) => setTimeout(resolve, stallMs));
  const latencies = await openLoop(() => free, 200, 400);
  expect(latencies).toHaveLength(80);
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(stallMs - 1);
  // Calls are due every 5 ms: 60 of them while the door stands still, the first for all of it.
  expect(latencies.filter((ms) => ms > stallMs / 2).length).toBeGreaterThanOrEqual(25);
  expect(latencies.at(-1)).toBeGreaterThanOrEqual(stallMs - 2);
});

test('a quantile is the value at its nearest rank', () => {
  const values = Float64Array.from({ length: 100 }, (_, i) => i + 1);
  expect([0.5, 0.95, 0.99, 1].map((share) => quantile(values, share))).toEqual([50, 95, 99, 100]);
  expect(quantile(Float64Array.of(7), 0.95)).toBe(7);
});
