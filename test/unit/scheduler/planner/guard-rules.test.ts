import { describe, expect, test } from 'vitest';
import { asks, at, type Doc, gpu, plan, runs, told } from '../../../support/scenarios.ts';

/** What keeps preemption from thrashing. */

interface Case {
  readonly scenario: Doc;
  readonly want: readonly string[];
}

const all = [{ name: 'all', parent: null }];
const pair = (alpha: Doc, beta: Doc = {}): Doc => ({
  groups: all,
  divisions: [
    { name: 'alpha', group: 'all', quota: gpu(6), ...alpha },
    { name: 'beta', group: 'all', quota: gpu(6), ...beta },
  ],
});

const gpuAndCpu = (nominal: number): Doc => ({ od: { gpu: { nominal }, cpu: { nominal } } });

/** A gang on a flavour of each of two pools, in the way on the second. */
const onTwoPools: Doc = {
  groups: all,
  flavours: [
    { name: 'od', pool: 'east' },
    { name: 'spot', pool: 'west' },
  ],
  divisions: [
    { name: 'alpha', group: 'all', quota: gpu(4, {}, 'spot'), preemption: { reclaim: 'any' } },
    { name: 'beta', group: 'all', quota: gpu(4) },
  ],
  running: [
    {
      ...{ id: 'r', division: 'beta', createdAt: at(-600), startedAt: at(-600) },
      podSets: [
        { count: 1, resources: { gpu: 4 }, on: 'od' },
        { count: 1, resources: { gpu: 4 }, on: 'spot' },
      ],
    },
  ],
  pending: [asks('p', 'alpha', 4)],
};

const GUARDS: Readonly<Record<string, Case>> = {
  'work younger than the minimum run time is no victim': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      guards: { minRunTime: '5m' },
      running: [runs('young', 'beta', 4, { startedAt: at(-299) }), runs('old', 'beta', 4, { startedAt: at(-301) })],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['old>p'],
  },
  'nor what has worked too long since its checkpoint': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      guards: { maxCheckpointAge: '10m' },
      running: [
        runs('fresh', 'beta', 6, { checkpointedAt: at(-60), priority: 1 }),
        runs('stale', 'beta', 6, { checkpointedAt: at(-700) }),
      ],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['fresh>p'],
  },
  'but what was checkpointed as long ago as is allowed': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      guards: { maxCheckpointAge: '10m' },
      running: [
        runs('just', 'beta', 6, { checkpointedAt: at(-600), priority: 1 }),
        runs('past', 'beta', 6, { checkpointedAt: at(-601) }),
      ],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['just>p'],
  },
  'of work on several pools the longest minimum run time counts': {
    scenario: {
      ...onTwoPools,
      guards: { pools: { east: { minRunTime: '20m' }, west: { minRunTime: '5m' } } },
    },
    want: [],
  },
  'a victim counts once against its pool, whatever it has of it': {
    scenario: {
      ...pair({ quota: gpuAndCpu(6), preemption: { reclaim: 'any' } }, { quota: gpuAndCpu(6) }),
      guards: { rate: { burst: 1, perHour: 0 } },
      running: [runs('r', 'beta', 8, { resources: { gpu: 8, cpu: 8 } })],
      pending: [asks('p', 'alpha', 6, { resources: { gpu: 6, cpu: 6 } })],
    },
    want: ['r>p'],
  },
  'who is spared counts against nobody’s bucket': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      guards: { rate: { burst: 1, perHour: 6 } },
      running: [runs('small', 'beta', 2, { priority: -1 }), runs('large', 'beta', 8)],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['large>p'],
  },
  'nor with fair sharing': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      fairSharing: { enabled: true },
      guards: { rate: { burst: 1, perHour: 6 } },
      running: [runs('small', 'beta', 2, { priority: -1 }), runs('large', 'beta', 8)],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['large>p'],
  },
  'nor does an elastic one that is spared whole': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      guards: { rate: { burst: 1, perHour: 6 } },
      running: [runs('e', 'beta', 1, { replicas: 4, minReplicas: 2, priority: -1 }), runs('x', 'beta', 8)],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['x>p'],
  },
  'who goes first in a cycle takes of the bucket of who comes after': {
    scenario: {
      ...pair({ preemption: { own: 'lower' } }, { preemption: { own: 'lower' } }),
      guards: { rate: { burst: 1, perHour: 6 } },
      running: [runs('a', 'alpha', 6, { priority: -1 }), runs('b', 'beta', 6, { priority: -1 })],
      pending: [asks('p', 'alpha', 6, { createdAt: at(-90) }), asks('q', 'beta', 6)],
    },
    want: ['a>p'],
  },
  'a pool’s bucket of preemptions holds more of them back': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      guards: { rate: { burst: 1, perHour: 6 } },
      running: [runs('r1', 'beta', 2), runs('r2', 'beta', 2), runs('r3', 'beta', 8)],
      pending: [asks('p', 'alpha', 3)],
    },
    want: [],
  },
};

describe('guards', () => {
  test.each(Object.entries(GUARDS))('%s', (_rule, { scenario, want }) => {
    expect(told(scenario).preempted).toEqual(want);
  });
});

test('a victim on several pools has the longest of their graces', () => {
  const { preempted, waiting } = plan({
    ...onTwoPools,
    guards: { pools: { east: { grace: '3m' }, west: { grace: '1m' } } },
  });
  expect(preempted.map(({ id }) => id)).toEqual(['r']);
  expect(waiting.map(({ id, eta }) => [id, eta])).toEqual([['p', at(180)]]);
});
