import { describe, expect, test } from 'vitest';
import {
  fairnessOf,
  idleWhileWaiting,
  jainIndex,
  lostShare,
  makespanOf,
  usagePercent,
  waitsOf,
} from '../../../bench/scheduler/figures.ts';
import { Heap } from '../../../bench/scheduler/heap.ts';
import { LimitJudge } from '../../../bench/scheduler/judge.ts';
import { QueuePeer } from '../../../bench/scheduler/queue-peers.ts';
import { type Decisions, type Scheduler, simulate } from '../../../bench/scheduler/simulate.ts';
import type { Run, Work } from '../../../bench/scheduler/work.ts';
import { aWork } from './support.ts';

const ONE = new Map([['f', 2000]]);

async function startsOf(works: readonly Work[], scheduler: Scheduler): Promise<Readonly<Record<string, number>>> {
  const judge = new LimitJudge(ONE, ({ flavour }) => [flavour]);
  const { runs } = await simulate(works, scheduler, { judge });
  return Object.fromEntries(runs.map(({ work, fromMs }) => [work.id, fromMs]));
}

/** 1000 of 2000 runs until 100; the head asks for all; behind it wait one that ends before 100 and one that does not. */
const crowd = [
  aWork({ id: 'runs', runtimeMs: 100 }),
  aWork({ id: 'head', createdAtMs: 1, askMilli: 2000, runtimeMs: 10 }),
  aWork({ id: 'long', createdAtMs: 2, runtimeMs: 200 }),
  aWork({ id: 'short', createdAtMs: 3, runtimeMs: 20 }),
];

describe('a plain queue', () => {
  test('first in, first out, overtakes nobody', async () => {
    const starts = await startsOf(crowd, new QueuePeer('first in, first out', ONE));
    expect(starts).toEqual({ runs: 0, head: 100, long: 110, short: 110 });
  });

  test('with EASY backfill lets overtake what ends before the head’s slot, and does not move the head', async () => {
    const starts = await startsOf(crowd, new QueuePeer('EASY backfill', ONE));
    expect(starts).toEqual({ runs: 0, head: 100, short: 3, long: 110 });
  });

  test('with EASY backfill lets overtake for longer what leaves room for the head', async () => {
    const room = new Map([['f', 3000]]);
    const works = [
      aWork({ id: 'runs', runtimeMs: 100 }),
      aWork({ id: 'head', createdAtMs: 1, askMilli: 2500 }),
      aWork({ id: 'beside', createdAtMs: 2, askMilli: 500, runtimeMs: 200 }),
      aWork({ id: 'in its way', createdAtMs: 3, askMilli: 501, runtimeMs: 200 }),
    ];
    const { runs } = await simulate(works, new QueuePeer('EASY backfill', room));
    const starts = Object.fromEntries(runs.map(({ work, fromMs }) => [work.id, fromMs]));
    expect(starts).toEqual({ runs: 0, head: 100, beside: 2, 'in its way': 110 });
  });
});

/** Starts the newest, and evicts what runs for it. */
class Usurper implements Scheduler {
  readonly name = 'usurper';
  readonly #waiting: Work[] = [];
  #holder: Work | undefined;

  wait(work: Work): void {
    this.#waiting.push(work);
    this.#waiting.sort((a, b) => b.createdAtMs - a.createdAtMs);
  }

  leave(): void {
    this.#holder = undefined;
  }

  decide(): Decisions {
    const next = this.#waiting[0];
    if (next === undefined) return { started: [], evicted: [] };
    if (this.#holder !== undefined) {
      const evicted = this.#holder.createdAtMs < next.createdAtMs ? [this.#holder] : [];
      return { started: [], evicted };
    }
    this.#holder = this.#waiting.shift()!;
    return { started: [{ work: this.#holder, flavour: 'f' }], evicted: [] };
  }
}

describe('in virtual time', () => {
  const works = [aWork({ id: 'old', runtimeMs: 100 }), aWork({ id: 'new', createdAtMs: 60, runtimeMs: 50 })];

  test('what is evicted starts over, and what it had done counts as lost', async () => {
    const { runs } = await simulate(works, new Usurper());
    expect(runs.map(({ work, fromMs, toMs, finished }) => [work.id, fromMs, toMs, finished])).toEqual([
      ['old', 0, 60, false],
      ['new', 60, 110, true],
      ['old', 110, 210, true],
    ]);
    expect(makespanOf(runs)).toBe(210);
    expect(lostShare(runs)).toBeCloseTo(60 / 210);
    expect(waitsOf(runs).get('all')).toEqual({ count: 2, meanMs: 55, p95Ms: 110, worstMs: 110, evictions: 1 });
    expect(usagePercent(runs, 2000)).toBe(50);
  });

  test('a scheduler that over-commits, or lets a work wait for ever, is found out', async () => {
    const judge = new LimitJudge(new Map([['f', 999]]), ({ flavour }) => [flavour]);
    await expect(simulate(works, new Usurper(), { judge })).rejects.toThrow(/brings f to 1000 milli of 999/);
    const lazy: Scheduler = { name: 'lazy', wait() {}, leave() {}, decide: () => ({ started: [], evicted: [] }) };
    await expect(simulate(works, lazy)).rejects.toThrow(/lazy lets 2 works wait for ever/);
  });
});

describe('figures', () => {
  const run = (parts: Partial<Work>, fromMs: number, toMs: number): Run => ({
    work: aWork({ runtimeMs: toMs - fromMs, ...parts }),
    flavour: parts.flavours?.[0] ?? 'f',
    fromMs,
    toMs,
    finished: true,
  });

  test('Jain’s index is 1 where all have the same and 1/n where one has all', () => {
    expect(jainIndex([3, 3, 3])).toBeCloseTo(1);
    expect(jainIndex([7, 0, 0, 0])).toBeCloseTo(0.25);
  });

  test('fairness looks at what was held until each twentieth, root by root', () => {
    const queues = ['a', 'b'].map((name) => ({ name, root: 'r' }));
    const together = [run({ queue: 'a' }, 0, 100), run({ queue: 'b' }, 0, 100)];
    expect(fairnessOf(together, queues)).toEqual({ jain: 1, worst: 1 });
    const inTurn = [run({ queue: 'a' }, 0, 50), run({ queue: 'b' }, 50, 100)];
    const { jain, worst } = fairnessOf(inTurn, queues);
    expect(worst).toBe(0.5);
    expect(jain).toBeGreaterThan(0.5);
    expect(jain).toBeLessThan(0.95);
  });

  test('capacity is idle only while work waits that may take it, and as much as it asks for', () => {
    const capacity = new Map([
      ['f', 2000],
      ['g', 5000],
    ]);
    // 1000 of f is free for 10 ms while 500 wait for it; nobody waits for g.
    const runs = [run({}, 0, 10), run({ askMilli: 500 }, 10, 20)];
    expect(idleWhileWaiting(runs, capacity)).toBe(500 * 10);
    expect(idleWhileWaiting([run({}, 0, 10), run({ askMilli: 500, flavours: ['g', 'f'] }, 10, 20)], capacity)).toBe(
      2 * 500 * 10,
    );
  });
});

test('a heap gives the least key first, and equal keys in the order pushed', () => {
  const heap = new Heap<string>();
  const keys = [5, 1, 4, 1, 5, 9, 2, 6, 5, 3];
  for (const [at, key] of keys.entries()) heap.push(key, `${key}:${at}`);
  const popped = keys.map(() => heap.pop());
  expect(popped).toEqual(['1:1', '1:3', '2:6', '3:9', '4:2', '5:0', '5:4', '5:8', '6:7', '9:5']);
  expect(heap.pop()).toBeUndefined();
});
