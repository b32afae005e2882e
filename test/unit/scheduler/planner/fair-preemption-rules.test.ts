import { describe, expect, test } from 'vitest';
import { asks, at, type Doc, gpu, runs, told } from '../../../support/scenarios.ts';

/** Published behaviour of Kueue's preemption with fair sharing (its tests of it), as scenarios of our own. */

interface Case {
  readonly scenario: Doc;
  readonly want: readonly string[];
}

const all = [{ name: 'all', parent: null }];
const policies = { own: 'lower', reclaim: 'any' };
const fairBase: Doc = {
  groups: all,
  fairSharing: { enabled: true },
  divisions: [
    ...['a', 'b', 'c'].map((name) => ({ name, group: 'all', quota: gpu(3), preemption: policies })),
    { name: 'd', group: 'all', quota: gpu(0) },
  ],
};
const units = (division: string, count: number, more: Doc = {}) =>
  Array.from({ length: count }, (_, i) => runs(`${division}${i + 1}`, division, 1, more));

const otherFlavour = [
  { name: 'a', group: 'all', quota: gpu(3), flavours: ['od'], preemption: policies },
  { name: 'b', group: 'all', quota: { od: { gpu: { nominal: 3 } }, spot: { gpu: { nominal: 0 } } } },
  { name: 'c', group: 'all', quota: { od: { gpu: { nominal: 0 } }, spot: { gpu: { nominal: 4 } } } },
];

const FAIR: Readonly<Record<string, Case>> = {
  'nominal is reclaimed from who borrows most': {
    scenario: {
      ...fairBase,
      running: [...units('a', 3), ...units('b', 5), ...units('c', 1)],
      pending: [asks('p', 'c', 1)],
    },
    want: ['b1>p'],
  },
  'one victim of each division where shares even out': {
    scenario: {
      ...fairBase,
      running: [
        runs('a1', 'a', 0.5),
        runs('a2', 'a', 0.5),
        runs('a3', 'a', 3),
        runs('b1', 'b', 0.5),
        runs('b2', 'b', 0.5),
        runs('b3', 'b', 3),
      ],
      pending: [asks('p', 'c', 2)],
    },
    want: ['a1>p', 'b1>p'],
  },
  'nobody is preempted while everybody is within nominal': {
    scenario: {
      ...fairBase,
      running: [...units('a', 3), ...units('b', 3), ...units('c', 3)],
      pending: [asks('p', 'c', 1)],
    },
    want: [],
  },
  'nor where that would only turn the imbalance round': {
    scenario: { ...fairBase, running: [...units('a', 3), ...units('b', 5)], pending: [asks('p', 'a', 3)] },
    want: [],
  },
  'one’s own lower priority and the highest share go together': {
    scenario: {
      ...fairBase,
      running: [runs('low', 'a', 1, { priority: -1 }), runs('a2', 'a', 1), runs('a3', 'a', 1), ...units('b', 6)],
      pending: [asks('p', 'a', 2)],
    },
    want: ['b1>p', 'low>p'],
  },
  'a huge one is taken where it is the only way and the victim’s side ends no lower': {
    scenario: { ...fairBase, running: [runs('b1', 'b', 9)], pending: [asks('p', 'a', 2)] },
    want: ['b1>p'],
  },
  'final is tried before initial: the victim that keeps its side above the asker': {
    scenario: {
      ...fairBase,
      running: [runs('b1', 'b', 2), runs('b2', 'b', 1), runs('b3', 'b', 2), runs('c1', 'c', 1)],
      pending: [asks('p', 'a', 3.5)],
    },
    want: ['b2>p'],
  },
  'initial takes the lowest priority, even if it is big': {
    scenario: {
      ...fairBase,
      fairSharing: { enabled: true, strategies: ['initial'] },
      running: [runs('a1', 'a', 3), runs('low', 'b', 5), runs('high', 'b', 1, { priority: 1 })],
      pending: [asks('p', 'a', 1)],
    },
    want: ['low>p'],
  },
  'final takes what does not pass the imbalance on, even if its priority is higher': {
    scenario: {
      ...fairBase,
      fairSharing: { enabled: true, strategies: ['final'] },
      running: [runs('a1', 'a', 3), runs('low', 'b', 5), runs('high', 'b', 1, { priority: 1 })],
      pending: [asks('p', 'a', 1)],
    },
    want: ['high>p'],
  },
  'a division that borrows another flavour is left its nominal of the short one by every single removal': {
    scenario: {
      ...fairBase,
      divisions: otherFlavour,
      running: [
        runs('b1', 'b', 3),
        runs('b2', 'b', 1, { startedAt: at(-10) }),
        runs('b3', 'b', 4, { on: 'spot', priority: 1 }),
      ],
      pending: [asks('p', 'a', 5)],
    },
    want: [],
  },
  'who stays within its nominal of what is short reclaims it, however much it borrows elsewhere': {
    scenario: {
      ...fairBase,
      divisions: otherFlavour,
      running: [runs('a1', 'a', 4, { on: 'spot' }), ...units('b', 6)],
      pending: [asks('p', 'a', 3)],
    },
    want: ['b1>p', 'b2>p', 'b3>p'],
  },
  'final lets shares come out equal': {
    scenario: {
      ...fairBase,
      fairSharing: { enabled: true, strategies: ['final'] },
      running: [...units('a', 3), ...units('b', 5), ...units('c', 1)],
      pending: [asks('p', 'a', 1)],
    },
    want: ['b1>p'],
  },
  'initial does not take from an equal': {
    scenario: {
      ...fairBase,
      fairSharing: { enabled: true, strategies: ['initial'] },
      running: [...units('a', 3), ...units('b', 4), ...units('c', 2)],
      pending: [asks('p', 'a', 1)],
    },
    want: [],
  },
  'a division that borrows in a group that does not is protected from other groups': {
    scenario: {
      groups: [
        { name: 'root', parent: null },
        { name: 'right', parent: 'root', quota: gpu(1) },
      ],
      fairSharing: { enabled: true },
      divisions: [
        { name: 'a', group: 'root', weight: 10, quota: gpu(5), preemption: policies },
        { name: 'b', group: 'right', weight: 0.1, quota: gpu(0) },
      ],
      running: [...units('a', 5, { priority: -1 }), runs('b1', 'b', 1)],
      pending: [asks('p', 'a', 5)],
    },
    want: ['a1>p', 'a2>p', 'a3>p', 'a4>p', 'a5>p'],
  },
  'a group that does not borrow is left alone, even where nothing else may be taken': {
    scenario: {
      groups: [
        { name: 'root', parent: null },
        { name: 'right', parent: 'root', quota: gpu(2) },
      ],
      fairSharing: { enabled: true },
      divisions: [
        { name: 'a', group: 'root', quota: gpu(4), preemption: { reclaim: 'lower' } },
        { name: 'b', group: 'right', quota: gpu(0) },
        { name: 'c', group: 'root', quota: gpu(0) },
      ],
      running: [runs('b1', 'b', 2, { priority: -1 }), runs('c1', 'c', 4, { priority: 9 })],
      pending: [asks('p', 'a', 2)],
    },
    want: [],
  },
  'weight 0 still reclaims its nominal': {
    scenario: {
      groups: all,
      fairSharing: { enabled: true },
      divisions: [
        { name: 'a', group: 'all', weight: 0, quota: gpu(1), preemption: policies },
        { name: 'b', group: 'all', quota: gpu(0) },
      ],
      running: [runs('b1', 'b', 1)],
      pending: [asks('p', 'a', 1)],
    },
    want: ['b1>p'],
  },
  'a division that borrows another flavour keeps its nominal of the short one': {
    scenario: {
      ...fairBase,
      divisions: [
        { name: 'a', group: 'all', quota: gpu(3), preemption: policies },
        { name: 'b', group: 'all', quota: { od: { gpu: { nominal: 3 } }, spot: { gpu: { nominal: 0 } } } },
        { name: 'c', group: 'all', quota: { od: { gpu: { nominal: 0 } }, spot: { gpu: { nominal: 4 } } } },
      ],
      running: [runs('b1', 'b', 3), runs('b2', 'b', 4, { on: 'spot' })],
      pending: [asks('p', 'a', 4)],
    },
    want: [],
  },
  'the second strategy takes of a division one at most': {
    scenario: {
      ...fairBase,
      running: [
        runs('low', 'a', 1, { priority: -1 }),
        runs('a2', 'a', 2),
        runs('b1', 'b', 1),
        runs('b2', 'b', 1),
        runs('b3', 'b', 4),
      ],
      pending: [asks('p', 'a', 2.75)],
    },
    // Of b all are refused while low is there; with it gone both b1 and b2 would pass.
    want: [],
  },
  'it looks at what the first refused, also where the first took another of that division': {
    scenario: {
      ...fairBase,
      running: [...units('a', 3), runs('b1', 'b', 0.5), runs('b2', 'b', 5.5)],
      pending: [asks('p', 'a', 2)],
    },
    want: ['b2>p'],
  },
  'who borrows nothing may still take its own': {
    scenario: {
      groups: all,
      fairSharing: { enabled: true },
      divisions: [
        { name: 'a', group: 'all', quota: gpu(6), preemption: { own: 'lower' } },
        { name: 'b', group: 'all', quota: gpu(0) },
      ],
      running: [runs('low', 'a', 4, { priority: -1 }), runs('b1', 'b', 2)],
      pending: [asks('p', 'a', 2)],
    },
    want: ['low>p'],
  },
  'of equal shares the better candidate goes, in the last division': {
    scenario: {
      ...fairBase,
      running: [...units('a', 1), ...units('b', 4), ...units('c', 4, { priority: -1 })],
      pending: [asks('p', 'a', 1)],
    },
    want: ['c1>p'],
  },
  'or in the first': {
    scenario: {
      ...fairBase,
      running: [...units('a', 1), ...units('b', 4, { priority: -1 }), ...units('c', 4)],
      pending: [asks('p', 'a', 1)],
    },
    want: ['b1>p'],
  },
  'of equal shares a group goes before a division, whatever their candidates': {
    scenario: {
      groups: [...all, { name: 'g', parent: 'all', quota: gpu(3) }],
      fairSharing: { enabled: true },
      divisions: [
        { name: 'a', group: 'all', quota: gpu(3), preemption: policies },
        { name: 'b', group: 'all', quota: gpu(3) },
        { name: 'x', group: 'g', quota: gpu(0) },
      ],
      running: [...units('a', 1), ...units('b', 4, { priority: -5 }), ...units('x', 4)],
      pending: [asks('p', 'a', 1)],
    },
    want: ['x1>p'],
  },
  'of equal shares others’ work goes before one’s own, whatever its priority': {
    scenario: {
      groups: all,
      fairSharing: { enabled: true },
      divisions: [
        { name: 'a', group: 'all', quota: gpu(3), preemption: policies },
        { name: 'b', group: 'all', quota: gpu(3) },
        { name: 'c', group: 'all', quota: gpu(1, {}, 'spot') },
      ],
      running: [
        runs('low', 'a', 1, { priority: -1 }),
        runs('a2', 'a', 1),
        runs('s', 'a', 1, { on: 'spot' }),
        ...units('b', 4),
      ],
      pending: [asks('p', 'a', 1, { flavours: ['od'] })],
    },
    want: ['b1>p'],
  },
  'a group’s candidate is the best of all below it': {
    scenario: {
      groups: [...all, { name: 'g', parent: 'all', quota: gpu(3) }, { name: 'h', parent: 'all', quota: gpu(3) }],
      fairSharing: { enabled: true },
      divisions: [
        { name: 'a', group: 'all', quota: gpu(3), preemption: policies },
        { name: 'x', group: 'g', quota: gpu(0) },
        { name: 'y', group: 'g', quota: gpu(0) },
        { name: 'z', group: 'h', quota: gpu(0) },
      ],
      running: [
        ...units('a', 1),
        ...units('x', 2),
        ...units('y', 2, { priority: -2 }),
        ...units('z', 4, { priority: -1 }),
      ],
      pending: [asks('p', 'a', 1)],
    },
    want: ['y1>p'],
  },
  'shares are compared below the common ancestor: what a division has of its own group’s quota is no borrowing': {
    scenario: {
      groups: [...all, { name: 'g', parent: 'all', quota: gpu(3) }],
      fairSharing: { enabled: true },
      divisions: [
        { name: 'a', group: 'all', quota: gpu(3), preemption: policies },
        { name: 'x', group: 'g', quota: gpu(0) },
        { name: 'e', group: 'all', quota: gpu(1) },
      ],
      running: [...units('a', 3), ...units('x', 4)],
      pending: [asks('p', 'a', 1)],
    },
    want: [],
  },
};

describe('with fair sharing', () => {
  test.each(Object.entries(FAIR))('%s', (_rule, { scenario, want }) => {
    expect(told(scenario).preempted).toEqual(want);
  });
});
