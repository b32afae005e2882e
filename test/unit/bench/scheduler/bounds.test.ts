import { describe, expect, test } from 'vitest';
import { earliestEnd, quotaBound } from '../../../bench/scheduler/bounds.ts';
import { BASELINE, LARGE_SCALE, workloadsOf } from '../../../bench/scheduler/kueue-generators.ts';
import { aWork } from './support.ts';

describe('no schedule ends before', () => {
  test('all work is done at full capacity', () => {
    const works = [aWork({ askMilli: 4000, runtimeMs: 10 }), aWork({ askMilli: 1000, runtimeMs: 20 })];
    expect(earliestEnd(works, 4000)).toBe(20);
    expect(earliestEnd(works, 1000)).toBe(60);
  });

  test('what comes last has run, however much capacity there is', () => {
    expect(earliestEnd([aWork({ createdAtMs: 90, runtimeMs: 10 })], 1e9)).toBeCloseTo(100, 5);
  });

  test('what could not be done before is done: capacity that no work had yet asked for is gone', () => {
    // 1000 milli of 2000 for 100 ms, and then 100 ms of 2000: 200 ms, though the work is 300/2 = 150 ms of the capacity.
    const works = [aWork({ runtimeMs: 100 }), aWork({ createdAtMs: 100, askMilli: 2000, runtimeMs: 100 })];
    expect(earliestEnd(works, 2000)).toBe(200);
  });

  test('the tightest of roots and queues: a queue cannot hold more than nominal and its borrowing limit', () => {
    const works = [aWork({ queue: 'a', runtimeMs: 60 }), aWork({ queue: 'a', runtimeMs: 60 })];
    const quota = (queue: string, borrowMilli: number) => ({ queue, root: 'r', nominalMilli: 1000, borrowMilli });
    expect(quotaBound(works, [quota('a', 1000), quota('b', 0)])).toBe(60);
    expect(quotaBound(works, [quota('a', 0), quota('b', 0)])).toBe(120);
  });
});

test('Kueue’s generators come to the numbers that its files give', () => {
  const [baseline, large] = [workloadsOf(BASELINE), workloadsOf(LARGE_SCALE)];
  expect([baseline.length, large.length]).toEqual([5 * 6 * 500, 10 * 100 * 50]);
  expect(baseline[0]).toMatchObject({ className: 'small', createdAtMs: 100 });
  expect(baseline.at(-1)).toMatchObject({ className: 'large', createdAtMs: 60_000 });
  const cpuMs = baseline.reduce((sum, { askMilli, runtimeMs }) => sum + (askMilli / 1000) * runtimeMs, 0);
  expect(cpuMs).toBe(30 * (350 * 200 + 100 * 500 * 5 + 50 * 1000 * 20));
});
