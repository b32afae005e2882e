import { describe, expect, test } from 'vitest';
import { asks, at, type Doc, gpu, plan, runs, told } from '../../../support/scenarios.ts';

/** Published behaviour of Kueue's preemption (its tests of classical, hierarchical and fair preemption), as scenarios of our own. */

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
};

const pair = (alpha: Doc, beta: Doc = {}): Doc => ({
  groups: all,
  divisions: [
    { name: 'alpha', group: 'all', quota: gpu(6), ...alpha },
    { name: 'beta', group: 'all', quota: gpu(6), ...beta },
  ],
});

const CLASSIC: Readonly<Record<string, Case>> = {
  'own lower-or-newer: what is as old is left alone': {
    scenario: {
      ...pair({ quota: gpu(6), preemption: { own: 'lower-or-newer' } }, { quota: gpu(0) }),
      running: [runs('same', 'alpha', 6, { createdAt: at(-60) })],
      pending: [asks('p', 'alpha', 6, { createdAt: at(-60) })],
    },
    want: [],
  },
  'of victims of which one can be spared the last of them is': {
    scenario: {
      ...pair({ quota: gpu(12), preemption: { reclaim: 'any' } }, { quota: gpu(0) }),
      running: [
        runs('own', 'alpha', 5),
        runs('low', 'beta', 2, { priority: -2 }),
        runs('mid', 'beta', 2, { priority: -1 }),
        runs('high', 'beta', 3),
      ],
      pending: [asks('p', 'alpha', 5)],
    },
    want: ['high>p', 'low>p'],
  },
  'own never: lower priority is left alone': {
    scenario: {
      ...pair({ quota: gpu(6) }, { quota: gpu(0) }),
      running: [runs('r', 'alpha', 6, { priority: -1 })],
      pending: [asks('p', 'alpha', 1)],
    },
    want: [],
  },
  'own lower: the lowest priority goes, and no more of it than needed': {
    scenario: {
      ...pair({ preemption: { own: 'lower' } }, { quota: gpu(0) }),
      running: [
        runs('low', 'alpha', 2, { priority: -1 }),
        runs('mid', 'alpha', 2),
        runs('high', 'alpha', 2, { priority: 1 }),
      ],
      pending: [asks('p', 'alpha', 2, { priority: 1 })],
    },
    want: ['low>p'],
  },
  'own lower-or-newer: of equal priority what was created later': {
    scenario: {
      ...pair({ preemption: { own: 'lower-or-newer' } }, { quota: gpu(0) }),
      running: [runs('older', 'alpha', 3, { createdAt: at(-900) }), runs('newer', 'alpha', 3, { createdAt: at(-30) })],
      pending: [asks('p', 'alpha', 2)],
    },
    want: ['newer>p'],
  },
  'the newest start goes first between equals': {
    scenario: {
      ...pair({ preemption: { own: 'lower' } }, { quota: gpu(0) }),
      running: [
        runs('long', 'alpha', 3, { priority: -1, startedAt: at(-900) }),
        runs('short', 'alpha', 3, { priority: -1, startedAt: at(-100) }),
      ],
      pending: [asks('p', 'alpha', 2)],
    },
    want: ['short>p'],
  },
  'reclaim any takes from who borrows, whatever its priority': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      running: [runs('r', 'beta', 8, { priority: 9 })],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['r>p'],
  },
  'reclaim lower only from lower priority': {
    scenario: {
      ...pair({ preemption: { reclaim: 'lower' } }),
      running: [runs('r', 'beta', 8)],
      pending: [asks('p', 'alpha', 6)],
    },
    want: [],
  },
  'nobody reclaims from a division within its nominal': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      running: [runs('r', 'beta', 6, { priority: -5 }), runs('own', 'alpha', 4)],
      pending: [asks('p', 'alpha', 3)],
    },
    want: [],
  },
  'a victim may take its division below nominal, the next one is spared': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      running: [runs('r1', 'beta', 5), runs('r2', 'beta', 4)],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['r1>p'],
  },
  'who would end above its nominal reclaims nothing': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      running: [runs('r', 'beta', 8)],
      pending: [asks('p', 'alpha', 7)],
    },
    want: [],
  },
  'unless borrow lets it, from low enough priority': {
    scenario: {
      ...pair({ preemption: { reclaim: 'lower', borrow: { maxPriority: 0 } } }),
      running: [runs('r', 'beta', 8)],
      pending: [asks('p', 'alpha', 7, { priority: 1 })],
    },
    want: ['r>p'],
  },
  'and not from higher than that': {
    scenario: {
      ...pair({ preemption: { reclaim: 'lower', borrow: { maxPriority: 0 } } }),
      running: [runs('r', 'beta', 8, { priority: 1 })],
      pending: [asks('p', 'alpha', 7, { priority: 2 })],
    },
    want: [],
  },
  'a claim: the group’s own quota is won back from outside it, though the division has none': {
    scenario: {
      groups: [
        { name: 'r', parent: null },
        { name: 'c', parent: 'r', quota: gpu(2) },
      ],
      divisions: [
        { name: 'q', group: 'c', quota: gpu(0), preemption: policies },
        { name: 'borrowing', group: 'r', quota: gpu(0) },
        { name: 'nominal', group: 'r', quota: gpu(2) },
      ],
      running: [runs('n', 'nominal', 2, { priority: -10 }), runs('b', 'borrowing', 2)],
      pending: [asks('p', 'q', 2)],
    },
    want: ['b>p'],
  },
  'no claim on a sister, whose common ancestor is what holds the ask': {
    scenario: {
      groups: [
        { name: 'r', parent: null },
        { name: 'c', parent: 'r', quota: gpu(4) },
      ],
      divisions: [
        { name: 'q', group: 'c', quota: gpu(0), preemption: policies },
        { name: 'sister', group: 'c', quota: gpu(0) },
        { name: 'outside', group: 'r', quota: gpu(0) },
      ],
      running: [runs('s', 'sister', 2, { priority: -10 }), runs('o', 'outside', 2)],
      pending: [asks('p', 'q', 2)],
    },
    want: ['o>p'],
  },
  'a division is looked at anew before each removal: at its nominal it is left alone': {
    scenario: {
      ...pair({ preemption: { reclaim: 'lower', borrow: { maxPriority: 0 } } }),
      running: [runs('r1', 'beta', 2, { startedAt: at(-10) }), runs('r2', 'beta', 6)],
      pending: [asks('p', 'alpha', 7, { priority: 1 })],
    },
    want: [],
  },
  'every node on the victim’s side must be above its quota': {
    scenario: {
      groups: [
        { name: 'r', parent: null },
        { name: 'c', parent: 'r', quota: gpu(2) },
        { name: 'other', parent: 'r', quota: gpu(4) },
      ],
      divisions: [
        { name: 'q', group: 'c', quota: gpu(0), preemption: policies },
        { name: 'sister', group: 'c', quota: gpu(0) },
        { name: 'deep', group: 'other', quota: gpu(0) },
      ],
      running: [runs('d', 'deep', 4, { priority: -10 }), runs('s', 'sister', 2)],
      pending: [asks('p', 'q', 2)],
    },
    want: [],
  },
  'other divisions’ work goes before one’s own': {
    scenario: {
      ...pair({ preemption: { own: 'lower', reclaim: 'any' } }),
      running: [runs('own', 'alpha', 4, { priority: -9 }), runs('theirs', 'beta', 8)],
      pending: [asks('p', 'alpha', 2)],
    },
    want: ['theirs>p'],
  },
  'an elastic victim shrinks to its minimum where that is enough': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      running: [runs('r', 'beta', 1, { replicas: 12, minReplicas: 6 })],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['r>p=6'],
  },
  'and goes whole where it is not': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any' } }),
      running: [runs('r', 'beta', 1, { replicas: 12, minReplicas: 8 })],
      pending: [asks('p', 'alpha', 6)],
    },
    want: ['r>p'],
  },
  'who is below its nominal and has no claims first looks for what leaves it within its nominal': {
    scenario: {
      groups: all,
      divisions: [
        { name: 'alpha', group: 'all', quota: gpu(4), preemption: policies },
        { name: 'beta', group: 'all', quota: gpu(1) },
      ],
      running: [
        runs('own1', 'alpha', 1, { startedAt: at(-100) }),
        runs('own2', 'alpha', 2),
        runs('theirs', 'beta', 2, { priority: 1 }),
      ],
      pending: [asks('p', 'alpha', 2, { priority: 1 })],
    },
    want: ['own1>p', 'theirs>p'],
  },
  'who has claims takes those first, and may end above its nominal': {
    scenario: {
      groups: [
        { name: 'r', parent: null },
        { name: 'c', parent: 'r', quota: gpu(2) },
      ],
      divisions: [
        { name: 'q', group: 'c', quota: gpu(4), preemption: policies },
        { name: 'sister', group: 'c', quota: gpu(0) },
        { name: 'outside', group: 'r', quota: gpu(0) },
      ],
      running: [
        runs('own1', 'q', 1, { startedAt: at(-100) }),
        runs('own2', 'q', 2),
        runs('s', 'sister', 1),
        runs('x', 'outside', 2, { priority: 9 }),
      ],
      pending: [asks('p', 'q', 2, { priority: 1 })],
    },
    want: ['x>p'],
  },
  'only work on the short flavour is looked at': {
    scenario: {
      groups: all,
      divisions: [
        {
          name: 'alpha',
          group: 'all',
          quota: { od: { gpu: { nominal: 4 } }, spot: { gpu: { nominal: 4 } } },
          preemption: { own: 'lower' },
        },
      ],
      running: [runs('o', 'alpha', 4, { priority: -1 }), runs('s', 'alpha', 4, { on: 'spot', priority: -9 })],
      pending: [asks('p', 'alpha', 1, { flavours: ['od'] })],
    },
    want: ['o>p'],
  },
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

for (const [title, cases] of Object.entries({
  'with fair sharing': FAIR,
  'without fair sharing': CLASSIC,
  guards: GUARDS,
})) {
  describe(title, () => {
    test.each(Object.entries(cases))('%s', (_rule, { scenario, want }) => {
      expect(told(scenario).preempted).toEqual(want);
    });
  });
}

describe('a pending preemption', () => {
  const draining = { for: 'p', until: at(120) };
  const base: Doc = { ...pair({ preemption: { reclaim: 'any' } }), running: [runs('r', 'beta', 12, { draining })] };

  test('keeps what its victims leave for its asker, who goes before all others', () => {
    const scenario = {
      ...base,
      pending: [asks('p', 'alpha', 6), asks('q', 'beta', 7, { priority: 9, createdAt: at(-900) })],
    };
    expect(told(scenario)).toEqual({
      admitted: [],
      preempted: ['r>p'],
      waiting: ['q:quota', 'p:awaiting_drain'],
    });
    expect(plan(scenario).waiting.find(({ id }) => id === 'p')!.eta).toBe(at(120));
  });

  test('lets others have what it leaves over, once it is free', () => {
    const scenario = { ...base, pending: [asks('p', 'alpha', 4), asks('q', 'beta', 6)] };
    expect(told(scenario).waiting).toEqual(['p:awaiting_drain', 'q:awaiting_drain']);
    expect(told(scenario, true).admitted.sort()).toEqual(['p@od*1', 'q@od*1']);
  });

  test('is not started beside one that takes what it would need', () => {
    const scenario = {
      groups: all,
      divisions: ['a', 'b', 'c'].map((name) => ({
        name,
        group: 'all',
        quota: gpu(name === 'c' ? 0 : 6),
        preemption: { reclaim: 'any' },
      })),
      running: [runs('r', 'c', 12)],
      pending: [asks('p', 'a', 6), asks('q', 'b', 6, { createdAt: at(-30) })],
    };
    // Both need the same victim: it goes once, for the first, and the other waits for it too.
    expect(told(scenario)).toEqual({
      admitted: [],
      preempted: ['r>p'],
      waiting: ['p:awaiting_drain', 'q:awaiting_drain'],
    });
    expect(told(scenario, true)).toMatchObject({ admitted: ['p@od*1', 'q@od*1'], preempted: ['r>p'] });
  });

  test('ends: what was preempted waits again with its own age, and takes nothing back', () => {
    const { admitted, preempted, waiting, cycle } = plan(
      {
        ...pair({ preemption: policies }, { preemption: policies }),
        running: [runs('r', 'beta', 12)],
        pending: [asks('p', 'alpha', 6)],
      },
      true,
    );
    expect({ admitted: admitted.map(({ id }) => id), preempted, waiting: waiting.map(({ id }) => id), cycle }).toEqual({
      admitted: ['p'],
      preempted: [{ id: 'r', for: 'p', how: 'evict', keptReplicas: 0 }],
      waiting: ['r'],
      cycle: undefined,
    });
  });
});
