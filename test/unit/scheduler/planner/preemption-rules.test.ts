import { describe, expect, test } from 'vitest';
import { asks, at, type Doc, gpu, plan, runs, told } from '../../../support/scenarios.ts';

/** Published behaviour of Kueue's preemption (its tests of classical and hierarchical preemption), as scenarios of our own. */

interface Case {
  readonly scenario: Doc;
  readonly want: readonly string[];
}

const all = [{ name: 'all', parent: null }];
const policies = { own: 'lower', reclaim: 'any' };

const pair = (alpha: Doc, beta: Doc = {}): Doc => ({
  groups: all,
  divisions: [
    { name: 'alpha', group: 'all', quota: gpu(6), ...alpha },
    { name: 'beta', group: 'all', quota: gpu(6), ...beta },
  ],
});

const gpuAndCpu = (nominal: number): Doc => ({ od: { gpu: { nominal }, cpu: { nominal } } });

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
  'a claim needs quota of all that is asked for': {
    scenario: {
      groups: [
        { name: 'r', parent: null },
        { name: 'c', parent: 'r', quota: { od: { gpu: { nominal: 0 }, cpu: { nominal: 4 } } } },
      ],
      capacity: { od: { gpu: 2, cpu: 4 } },
      divisions: [
        { name: 'q', group: 'c', quota: gpuAndCpu(0), preemption: policies },
        { name: 'outside', group: 'r', quota: gpuAndCpu(0) },
      ],
      running: [runs('o', 'outside', 2, { resources: { gpu: 2, cpu: 4 } })],
      pending: [asks('p', 'q', 2, { resources: { gpu: 2, cpu: 2 } })],
    },
    want: [],
  },
  'work is taken of who is above its nominal in one of the short resources': {
    scenario: {
      groups: all,
      divisions: [
        { name: 'alpha', group: 'all', quota: gpuAndCpu(6), preemption: { reclaim: 'any' } },
        { name: 'beta', group: 'all', quota: { od: { gpu: { nominal: 6 }, cpu: { nominal: 8 } } } },
        { name: 'gamma', group: 'all', quota: gpuAndCpu(0) },
      ],
      running: [
        runs('r', 'beta', 8, { resources: { gpu: 8, cpu: 6 } }),
        runs('g', 'gamma', 4, { resources: { cpu: 4 } }),
      ],
      pending: [asks('p', 'alpha', 6, { resources: { gpu: 6, cpu: 6 } })],
    },
    want: ['r>p'],
  },
  'own lower-or-newer: what is newer and of higher priority is left alone': {
    scenario: {
      ...pair({ preemption: { own: 'lower-or-newer' } }, { quota: gpu(0) }),
      running: [runs('high', 'alpha', 6, { priority: 1, createdAt: at(-30) })],
      pending: [asks('p', 'alpha', 6)],
    },
    want: [],
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
  'claims go before what may only be taken by borrowing, whatever its priority': {
    scenario: {
      groups: [
        { name: 'r', parent: null },
        { name: 'c', parent: 'r', quota: gpu(4) },
      ],
      divisions: [
        { name: 'q', group: 'c', quota: gpu(0), preemption: { reclaim: 'any', borrow: { maxPriority: 0 } } },
        { name: 'sister', group: 'c', quota: gpu(0) },
        { name: 'outside', group: 'r', quota: gpu(0) },
      ],
      running: [runs('s', 'sister', 2, { priority: -10 }), runs('o', 'outside', 2)],
      pending: [asks('p', 'q', 2, { priority: 1 })],
    },
    want: ['o>p'],
  },
  'nor from equal priority, however much it may reclaim': {
    scenario: {
      ...pair({ preemption: { reclaim: 'any', borrow: { maxPriority: 0 } } }),
      running: [runs('r', 'beta', 8)],
      pending: [asks('p', 'alpha', 7)],
    },
    want: [],
  },
  'who may borrow looks first for what lets it, though more would leave it within its nominal': {
    scenario: {
      groups: all,
      divisions: [
        { name: 'alpha', group: 'all', quota: gpu(4), preemption: { ...policies, borrow: { maxPriority: -5 } } },
        { name: 'beta', group: 'all', quota: gpu(1) },
      ],
      running: [
        runs('own1', 'alpha', 1, { startedAt: at(-100) }),
        runs('own2', 'alpha', 2),
        runs('theirs', 'beta', 2, { priority: 1 }),
      ],
      pending: [asks('p', 'alpha', 2, { priority: 1 })],
    },
    want: ['own2>p'],
  },
  'who is at its nominal takes no more of its own than lets it in above it': {
    scenario: {
      ...pair({ quota: gpu(4), preemption: policies }, { quota: gpu(1) }),
      capacity: { od: { gpu: 7 } },
      running: [
        runs('own1', 'alpha', 1, { startedAt: at(-100) }),
        runs('own3', 'alpha', 3),
        runs('theirs', 'beta', 2, { priority: 1 }),
      ],
      pending: [asks('p', 'alpha', 2, { priority: 1 })],
    },
    want: ['own1>p'],
  },
  'of an elastic victim that went whole as much comes back as another one leaves': {
    scenario: {
      ...pair({ quota: gpu(12), preemption: { reclaim: 'any' } }, { quota: gpu(0) }),
      running: [runs('e', 'beta', 1, { replicas: 4, minReplicas: 2, priority: -1 }), runs('x', 'beta', 8)],
      pending: [asks('p', 'alpha', 10)],
    },
    want: ['e>p=2', 'x>p'],
  },
};

describe('without fair sharing', () => {
  test.each(Object.entries(CLASSIC))('%s', (_rule, { scenario, want }) => {
    expect(told(scenario).preempted).toEqual(want);
  });
});

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
    expect(plan(scenario).waiting.map(({ eta }) => eta)).toEqual([at(120), at(120)]);
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

  test('looks for other victims where those that it was to have went for somebody before it', () => {
    const scenario = {
      groups: all,
      divisions: ['a', 'b', 'c'].map((name) => ({
        ...{ name, group: 'all', quota: gpu(name === 'c' ? 0 : 6) },
        preemption: { reclaim: 'any' },
      })),
      running: [runs('r', 'c', 8, { startedAt: at(-60) }), runs('s', 'c', 4)],
      pending: [asks('p', 'a', 6), asks('q', 'b', 6, { createdAt: at(-30) })],
    };
    expect(told(scenario).preempted).toEqual(['r>p', 's>q']);
  });

  test('spares those whom the victims of somebody before it made needless', () => {
    const scenario = {
      groups: all,
      divisions: [
        { name: 'a', group: 'all', quota: gpu(6), preemption: { reclaim: 'any' } },
        { name: 'b', group: 'all', quota: gpu(8), preemption: { own: 'lower' } },
        { name: 'c', group: 'all', quota: gpu(0) },
      ],
      running: [runs('own', 'b', 4, { priority: -1 }), runs('r', 'c', 10)],
      pending: [asks('p', 'a', 6), asks('q', 'b', 4, { createdAt: at(-30) })],
    };
    expect(told(scenario)).toEqual({
      admitted: [],
      preempted: ['r>p'],
      waiting: ['p:awaiting_drain', 'q:awaiting_drain'],
    });
  });

  test('that ends within its nominal goes before who borrows, though it is above it as long as its victims are there', () => {
    const scenario = {
      groups: all,
      divisions: [
        { name: 'a', group: 'all', quota: gpu(10), preemption: { own: 'lower' } },
        { name: 'b', group: 'all', quota: gpu(2) },
        { name: 'c', group: 'all', quota: gpu(0) },
      ],
      running: [runs('r', 'a', 8, { priority: -1 })],
      pending: [asks('p', 'a', 10), asks('q', 'c', 4, { createdAt: at(-900) })],
    };
    expect(told(scenario)).toMatchObject({ admitted: [], preempted: ['r>p'] });
  });

  test('whose place was shut takes what room there is elsewhere, though its division would rather preempt', () => {
    const on = (flavour: string, nominal: number) => ({ [flavour]: { gpu: { nominal } } });
    const scenario = {
      groups: all,
      flavours: [{ name: 'od', cordoned: true }, { name: 'reserved' }, { name: 'spot' }],
      divisions: [
        {
          ...{ name: 'a', group: 'all', quota: { ...on('od', 4), ...on('reserved', 4), ...on('spot', 0) } },
          ...{ preemption: { own: 'lower' }, fallback: { prefer: 'preempt', whenFull: 'preempt' } },
        },
        { name: 'b', group: 'all', quota: on('spot', 4) },
      ],
      running: [
        runs('gone', 'a', 4, { draining: { for: 'p', until: at(60) }, priority: -1 }),
        runs('own', 'a', 4, { on: 'reserved', priority: -1 }),
      ],
      pending: [asks('p', 'a', 4)],
    };
    expect(told(scenario)).toMatchObject({ admitted: ['p@spot*1'], preempted: ['gone>p'] });
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
