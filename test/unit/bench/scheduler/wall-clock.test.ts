import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { CycleChanges } from '../../../bench/scheduler/commit-cycle.ts';
import { LimitJudge } from '../../../bench/scheduler/judge.ts';
import { QueuePeer } from '../../../bench/scheduler/queue-peers.ts';
import type { Decisions, Scheduler } from '../../../bench/scheduler/simulate.ts';
import { runOnWallClock } from '../../../bench/scheduler/wall-clock.ts';
import type { Work } from '../../../bench/scheduler/work.ts';
import { aWork } from './support.ts';

test('a work runs from the commit of its booking, and room is made before it is given', async () => {
  const works = Array.from({ length: 6 }, (_, i) => aWork({ id: `w${i}`, createdAtMs: i, runtimeMs: 5 }));
  const held = new Set<string>();
  const commitMs = 10;
  const commit = async ({ released, booked }: CycleChanges) => {
    for (const { work } of released) expect(held.delete(work.id)).toBe(true);
    for (const { work, attempt } of booked) {
      expect(attempt).toBe(1);
      held.add(work.id);
    }
    expect(held.size).toBeLessThanOrEqual(2);
    await sleep(commitMs);
  };
  const room = new Map([['f', 2000]]);
  const { runs, commits } = await runOnWallClock(works, new QueuePeer('first in, first out', room), commit, {
    judge: new LimitJudge(room, ({ flavour }) => [flavour]),
  });
  expect(runs.map(({ work }) => work.id).toSorted()).toEqual(works.map(({ id }) => id));
  for (const { work, fromMs, toMs } of runs) {
    // Timers may be up to 1 ms early.
    expect(fromMs - work.createdAtMs).toBeGreaterThan(commitMs - 2);
    expect(toMs - fromMs).toBeGreaterThanOrEqual(work.runtimeMs);
  }
  expect(held.size).toBe(0);
  expect(commits).toBeLessThanOrEqual(2 * works.length);
});

/** Starts what comes first; evicts it once for what comes next, in the same breath where both are there. */
class Fickle implements Scheduler {
  readonly name = 'fickle';
  readonly #waiting: Work[] = [];
  readonly #evicted = new Set<Work>();
  #holder: Work | undefined;

  wait(work: Work): void {
    this.#waiting.push(work);
  }

  leave(): void {
    this.#holder = undefined;
  }

  decide(): Decisions {
    if (this.#holder !== undefined) {
      const victim = this.#holder;
      if (this.#waiting.length === 0 || this.#evicted.has(victim)) return { started: [], evicted: [] };
      this.#evicted.add(victim);
      return { started: [], evicted: [victim] };
    }
    const work = this.#waiting.shift();
    if (work === undefined) return { started: [], evicted: [] };
    this.#holder = work;
    return { started: [{ work, flavour: 'f' }], evicted: [] };
  }
}

test('what is evicted before its booking was durable was never booked', async () => {
  const booked: string[] = [];
  const commit = async (changes: CycleChanges) => {
    booked.push(...changes.booked.map(({ work, attempt }) => `${work.id}.${attempt}`));
  };
  const works = ['a', 'b'].map((id) => aWork({ id, runtimeMs: 3 }));
  const { runs } = await runOnWallClock(works, new Fickle(), commit);
  expect(runs.filter(({ finished }) => finished)).toHaveLength(2);
  expect(runs).toHaveLength(booked.length);
  expect(booked).toEqual(['a.1', 'b.1']);
});
