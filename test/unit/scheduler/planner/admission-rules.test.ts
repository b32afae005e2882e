import { describe, expect, test } from 'vitest';
import { asks, at, type Doc, gpu, plan, runs, told } from '../../../support/scenarios.ts';

interface Case {
  readonly scenario: Doc;
  readonly stable?: boolean;
  readonly want: Partial<ReturnType<typeof told>>;
}

const org = [{ name: 'org', parent: null }];
const two = (alpha: Doc = {}, beta: Doc = {}): Doc => ({
  groups: org,
  divisions: [
    { name: 'alpha', group: 'org', quota: gpu(10), ...alpha },
    { name: 'beta', group: 'org', quota: gpu(10), ...beta },
  ],
});

const QUOTA: Readonly<Record<string, Case>> = {
  'a division borrows what another of its group does not use': {
    scenario: { ...two(), pending: [asks('p', 'alpha', 15)] },
    want: { admitted: ['p@od*1'], waiting: [] },
  },
  'it borrows up to its borrowing limit': {
    scenario: {
      ...two({ quota: gpu(10, { borrow: 2 }) }),
      running: [runs('r', 'alpha', 10)],
      pending: [asks('p', 'alpha', 3)],
    },
    want: { admitted: [], waiting: ['p:borrow_limit'] },
  },
  'it lends no more than its lending limit': {
    scenario: {
      ...two({}, { quota: gpu(10, { lend: 3 }) }),
      running: [runs('r', 'alpha', 10)],
      pending: [asks('p', 'alpha', 3)],
    },
    want: { admitted: ['p@od*1'] },
  },
  'what it does not lend stays its own, whatever others use': {
    scenario: {
      ...two({}, { quota: gpu(10, { lend: 3 }) }),
      running: [runs('r', 'alpha', 13)],
      pending: [asks('p', 'beta', 7)],
    },
    want: { admitted: ['p@od*1'] },
  },
  'a division without a group neither borrows nor lends': {
    scenario: {
      divisions: [
        { name: 'alone', quota: gpu(4) },
        { name: 'other', quota: gpu(8) },
      ],
      pending: [asks('p', 'alone', 5)],
    },
    want: { admitted: [], waiting: ['p:infeasible'] },
  },
  'nothing flows between roots': {
    scenario: {
      groups: [...org, { name: 'second', parent: null, quota: gpu(100) }],
      divisions: [{ name: 'alpha', group: 'org', quota: gpu(2) }],
      pending: [asks('p', 'alpha', 3)],
    },
    want: { waiting: ['p:infeasible'] },
  },
  'capacity that nobody has as nominal is the root’s, to be borrowed': {
    scenario: { ...two(), capacity: { od: { gpu: 30 } }, pending: [asks('p', 'alpha', 25)] },
    want: { admitted: ['p@od*1'] },
  },
  'an overcommitted pool is full when its capacity is': {
    scenario: {
      ...two(),
      capacity: { od: { gpu: 12 } },
      overcommit: true,
      running: [runs('r', 'alpha', 8)],
      pending: [asks('p', 'beta', 8)],
    },
    want: { admitted: [], waiting: ['p:capacity'] },
  },
  'what could not be had of an empty tree is refused at once, head or not': {
    scenario: { ...two(), pending: [asks('p', 'alpha', 1, { createdAt: at(-90) }), asks('big', 'alpha', 21)] },
    want: { admitted: ['p@od*1'], waiting: ['big:infeasible'] },
  },
};

const HEADS: Readonly<Record<string, Case>> = {
  'one head a division a cycle: the highest priority, then the oldest; others wait as not_head': {
    scenario: {
      ...two(),
      pending: [
        asks('old', 'alpha', 1, { createdAt: at(-90) }),
        asks('high', 'alpha', 1, { priority: 5 }),
        asks('young', 'alpha', 2),
      ],
    },
    want: { admitted: ['high@od*1'], waiting: ['old:not_head', 'young:not_head'] },
  },
  'of one age the id decides, whether they ask for the same': {
    scenario: {
      ...two(),
      capacity: { od: { gpu: 1 } },
      overcommit: true,
      pending: ['b', 'a', 'c'].map((id) => asks(id, 'alpha', 1)),
    },
    stable: true,
    want: { admitted: ['a@od*1'] },
  },
  'or not': {
    scenario: {
      ...two(),
      pending: ['b', 'a', 'c'].map((id) => asks(id, 'alpha', 15, { lease: id === 'a' ? '2h' : '1h' })),
    },
    stable: true,
    want: { admitted: ['a@od*1'] },
  },
  'a best-effort queue lets smaller ones by': {
    scenario: {
      ...two(),
      running: [runs('r', 'beta', 15)],
      pending: [asks('big', 'alpha', 8, { createdAt: at(-90) }), asks('small', 'alpha', 2)],
    },
    stable: true,
    want: { admitted: ['small@od*1'], waiting: ['big:quota'] },
  },
  'a strict queue does not': {
    scenario: {
      ...two({ queueing: 'strict' }),
      running: [runs('r', 'beta', 15)],
      pending: [asks('big', 'alpha', 8, { createdAt: at(-90) }), asks('small', 'alpha', 2)],
    },
    stable: true,
    want: { admitted: [], waiting: ['big:quota', 'small:not_head'] },
  },
  'a gang starts whole or not at all': {
    scenario: { ...two(), running: [runs('r', 'beta', 15)], pending: [asks('p', 'alpha', 2, { replicas: 4 })] },
    want: { admitted: [], waiting: ['p:quota'] },
  },
  'an elastic booking takes all of it where that fits': {
    scenario: { ...two(), pending: [asks('p', 'alpha', 1, { replicas: 20, minReplicas: 2 })] },
    want: { admitted: ['p@od*20'] },
  },
  'else all of it by preemption': {
    scenario: {
      ...two({ preemption: { own: 'lower' } }),
      running: [runs('r', 'alpha', 15, { priority: -1 })],
      pending: [asks('p', 'alpha', 1, { replicas: 20, minReplicas: 2 })],
    },
    want: { admitted: [], preempted: ['r>p'], waiting: ['p:awaiting_drain'] },
  },
  'and only then the largest count that fits': {
    scenario: {
      ...two(),
      running: [runs('r', 'alpha', 13)],
      pending: [asks('p', 'alpha', 1, { replicas: 20, minReplicas: 2 })],
    },
    want: { admitted: ['p@od*7'] },
  },
  'a booking that backs off is nobody’s head': {
    scenario: { ...two(), pending: [asks('p', 'alpha', 1, { notBefore: at(60), priority: 9 }), asks('q', 'alpha', 1)] },
    want: { admitted: ['q@od*1'], waiting: ['p:backing_off'] },
  },
};

const both = { od: { gpu: { nominal: 10 } }, spot: { gpu: { nominal: 10 } } };
const small = asks('small', 'alpha', 1, { createdAt: at(-900) });
const large = [asks('large1', 'alpha', 4, { createdAt: at(-90) }), asks('large2', 'alpha', 4)];
const packing = (fallback: Doc): Doc => ({
  divisions: [{ name: 'alpha', quota: { od: { gpu: { nominal: 4 } }, spot: { gpu: { nominal: 5 } } }, fallback }],
  nodes: [
    { name: 'n1', flavour: 'od', gpu: 4 },
    { name: 'n2', flavour: 'spot', gpu: 5 },
  ],
});
const leaving = (fallback: Doc): Doc => ({
  ...two({ quota: both, fallback }, { quota: gpu(10, {}, 'spot') }),
  running: [runs('r', 'alpha', 10, { draining: { for: null, until: at(60) } }), runs('s', 'alpha', 10, { on: 'spot' })],
  pending: [asks('p', 'alpha', 1)],
});
const OPTIONS: Readonly<Record<string, Case>> = {
  'flavours are tried in the division’s order': {
    scenario: { ...two({ quota: both, flavours: ['spot', 'od'] }), pending: [asks('p', 'alpha', 1)] },
    want: { admitted: ['p@spot*1'] },
  },
  'a booking may name its own': {
    scenario: {
      ...two({ quota: both, flavours: ['spot', 'od'] }),
      pending: [asks('p', 'alpha', 1, { flavours: ['od'] })],
    },
    want: { admitted: ['p@od*1'] },
  },
  'nominal of a later flavour comes before borrowing of an earlier one': {
    scenario: { ...two({ quota: both }), running: [runs('r', 'alpha', 10)], pending: [asks('p', 'alpha', 1)] },
    want: { admitted: ['p@spot*1'] },
  },
  'borrowing comes before preempting': {
    scenario: {
      ...two({ quota: both, preemption: { own: 'lower' } }, { quota: gpu(10, {}, 'spot') }),
      running: [runs('r', 'alpha', 10, { priority: -1 }), runs('s', 'alpha', 10, { on: 'spot' })],
      pending: [asks('p', 'alpha', 1)],
    },
    want: { admitted: ['p@spot*1'], preempted: [] },
  },
  'unless the division prefers to preempt': {
    scenario: {
      ...two(
        { quota: both, preemption: { own: 'lower' }, fallback: { prefer: 'preempt' } },
        { quota: gpu(10, {}, 'spot') },
      ),
      running: [runs('r', 'alpha', 10, { priority: -1 }), runs('s', 'alpha', 10, { on: 'spot' })],
      pending: [asks('p', 'alpha', 1)],
    },
    want: { admitted: [], preempted: ['r>p'] },
  },
  'whenFull next looks at every flavour before it preempts': {
    scenario: {
      ...two({ quota: both, preemption: { own: 'lower' } }, { quota: gpu(0) }),
      running: [runs('r', 'alpha', 10, { priority: -1 })],
      pending: [asks('p', 'alpha', 1)],
    },
    want: { admitted: ['p@spot*1'], preempted: [] },
  },
  'whenFull preempt stops at the first where preemption would succeed': {
    scenario: {
      ...two({ quota: both, preemption: { own: 'lower' }, fallback: { whenFull: 'preempt' } }, { quota: gpu(0) }),
      running: [runs('r', 'alpha', 10, { priority: -1 })],
      pending: [asks('p', 'alpha', 1)],
    },
    want: { admitted: [], preempted: ['r>p'] },
  },
  'reclaiming from others comes before preempting one’s own': {
    scenario: {
      ...two({ quota: both, preemption: { own: 'lower', reclaim: 'any' } }, { quota: gpu(0, {}, 'spot') }),
      running: [runs('own', 'alpha', 10, { priority: -1 }), runs('theirs', 'beta', 10, { on: 'spot' })],
      pending: [asks('p', 'alpha', 1)],
    },
    want: { preempted: ['theirs>p'] },
  },
  'also where the division prefers to preempt': {
    scenario: {
      ...two(
        { quota: both, preemption: { own: 'lower', reclaim: 'any' }, fallback: { prefer: 'preempt' } },
        { quota: gpu(0, {}, 'spot') },
      ),
      running: [runs('own', 'alpha', 10, { priority: -1 }), runs('theirs', 'beta', 10, { on: 'spot' })],
      pending: [asks('p', 'alpha', 1)],
    },
    want: { preempted: ['theirs>p'] },
  },
  'borrowing comes before waiting for what is leaving': {
    scenario: leaving({}),
    want: { admitted: ['p@spot*1'], waiting: [] },
  },
  'unless the division prefers to preempt: then it waits': {
    scenario: leaving({ prefer: 'preempt' }),
    want: { admitted: [], waiting: ['p:awaiting_drain'] },
  },
  'who asks for the cheapest gets it, whatever the order': {
    scenario: {
      ...two({ quota: both }),
      flavours: [
        { name: 'od', price: '3.00' },
        { name: 'spot', price: '1.00' },
      ],
      pending: [asks('p', 'alpha', 1, { prefer: 'price', lease: '1h' })],
    },
    want: { admitted: ['p@spot*1'] },
  },
  'a division that decides ties by price gets the cheapest without being asked': {
    scenario: {
      ...two({ quota: both, fallback: { ties: 'price' } }),
      flavours: [
        { name: 'od', price: '3.00' },
        { name: 'spot', price: '1.00' },
      ],
      pending: [asks('p', 'alpha', 1, { lease: '1h' })],
    },
    want: { admitted: ['p@spot*1'] },
  },
  'by order a small one goes to the first flavour, though a large one then has no machine': {
    scenario: { ...packing({}), pending: [small, ...large] },
    stable: true,
    want: { admitted: ['small@od*1', 'large1@spot*1'] },
  },
  'by packing it goes to the machine where it strands the least, of all flavours': {
    scenario: { ...packing({ ties: 'packing' }), pending: [small, ...large] },
    stable: true,
    want: { admitted: ['small@spot*1', 'large1@od*1', 'large2@spot*1'] },
  },
  'of flavours where it strands as much the order decides': {
    scenario: {
      ...packing({ ties: 'packing' }),
      nodes: [
        { name: 'n1', flavour: 'od', gpu: 4 },
        { name: 'n2', flavour: 'spot', gpu: 4 },
      ],
      pending: [small],
    },
    want: { admitted: ['small@od*1'] },
  },
  'packing decides between equals only: nominal comes before borrowing': {
    scenario: {
      ...packing({ ties: 'packing' }),
      groups: org,
      divisions: [
        {
          name: 'alpha',
          group: 'org',
          quota: { od: { gpu: { nominal: 4 } }, spot: { gpu: { nominal: 0 } } },
          fallback: { ties: 'packing' },
        },
        { name: 'beta', group: 'org', quota: gpu(5, {}, 'spot') },
      ],
      pending: [small, ...large],
    },
    want: { admitted: ['small@od*1'] },
  },
  'a pod set takes one flavour whole, and each may take another': {
    scenario: {
      ...two({ quota: { od: { gpu: { nominal: 4 } }, spot: { gpu: { nominal: 4 } } } }, { quota: gpu(0) }),
      pending: [
        {
          id: 'p',
          division: 'alpha',
          podSets: [
            { count: 3, resources: { gpu: 1 } },
            { count: 2, resources: { gpu: 2 } },
          ],
        },
      ],
    },
    want: { admitted: ['p@od,spot*5'] },
  },
  'a provider that is away, a cordon and a closed window shut a flavour': {
    scenario: {
      ...two({ quota: { ...both, late: { gpu: { nominal: 1 } } } }),
      flavours: [
        { name: 'od', away: 'no answer' },
        { name: 'spot', cordoned: true },
        { name: 'late', open: [{ from: at(3600), until: at(7200) }] },
      ],
      pending: [asks('p', 'alpha', 1, { lease: '30m' })],
    },
    want: { waiting: ['p:provider_unreachable+cordoned+window_closed'] },
  },
};

const ORDER: Readonly<Record<string, Case>> = {
  'who stays within nominal goes before who would borrow, however old': {
    scenario: {
      ...two(),
      pending: [asks('borrower', 'alpha', 15, { createdAt: at(-900), priority: 9 }), asks('own', 'beta', 6)],
    },
    want: { admitted: ['own@od*1'], waiting: ['borrower:quota'] },
  },
  'without fair sharing priority and then age decide between equals': {
    scenario: { ...two(), pending: [asks('a', 'alpha', 15), asks('b', 'beta', 15, { priority: 1 })] },
    want: { admitted: ['b@od*1'], waiting: ['a:quota'] },
  },
  'with it the lower share with the ask added goes first': {
    scenario: {
      groups: [{ name: 'org', parent: null, quota: gpu(20) }],
      divisions: [
        { name: 'alpha', group: 'org', quota: gpu(0) },
        { name: 'beta', group: 'org', quota: gpu(0), weight: 0.25 },
      ],
      fairSharing: { enabled: true },
      pending: [asks('a', 'alpha', 12), asks('b', 'beta', 10, { priority: 9 })],
    },
    want: { admitted: ['a@od*1'], waiting: ['b:quota'] },
  },
  'whose group does not borrow what is asked for goes before one whose group does, however much it borrows elsewhere': {
    scenario: {
      groups: [
        { name: 'org', parent: null, quota: { od: { gpu: { nominal: 1 } }, spot: { gpu: { nominal: 10 } } } },
        { name: 'left', parent: 'org' },
        { name: 'right', parent: 'org' },
      ],
      divisions: [
        { name: 'a', group: 'left', quota: gpu(2) },
        { name: 'a2', group: 'left', quota: gpu(0) },
        { name: 'b', group: 'right', quota: gpu(2) },
        { name: 'b2', group: 'right', quota: gpu(0, {}, 'spot') },
      ],
      fairSharing: { enabled: true },
      running: [runs('r', 'a2', 3), runs('s', 'b2', 8, { on: 'spot' })],
      pending: [asks('first', 'a', 2, { priority: 9, createdAt: at(-900) }), asks('second', 'b', 2)],
    },
    want: { admitted: ['second@od*1'] },
  },
  'shares are looked at anew once victims are told to go': {
    scenario: {
      groups: [{ name: 'org', parent: null, quota: { ...gpu(20), ...gpu(6, {}, 'spot') } }],
      divisions: [
        { name: 'a', group: 'org', quota: gpu(0), preemption: { reclaim: 'any' } },
        ...['x', 'y'].map((name) => ({ name, group: 'org', quota: gpu(0), flavours: ['od', 'spot'] })),
      ],
      fairSharing: { enabled: true },
      running: [runs('x1', 'x', 8, { priority: -1 }), runs('x2', 'x', 4), runs('y1', 'y', 8)],
      pending: [
        asks('p', 'a', 2, { flavours: ['od'] }),
        ...['x', 'y'].map((division) => asks(`of-${division}`, division, 6, { flavours: ['spot'] })),
      ],
    },
    want: { preempted: ['x1>p'], admitted: ['of-x@spot*1'] },
  },
  'and once a sister was let in': {
    scenario: {
      groups: [
        { name: 'org', parent: null, quota: gpu(10) },
        { name: 'g', parent: 'org' },
        { name: 'h', parent: 'org' },
      ],
      divisions: [
        { name: 'x', group: 'g', quota: gpu(0) },
        { name: 'y', group: 'g', quota: gpu(0) },
        { name: 'z', group: 'h', quota: gpu(0) },
      ],
      fairSharing: { enabled: true },
      pending: [asks('px', 'x', 4, { createdAt: at(-90) }), asks('py', 'y', 4), asks('pz', 'z', 6)],
    },
    want: { admitted: ['px@od*1', 'pz@od*1'] },
  },
  'and once a sister that waits keeps what is its own': {
    scenario: {
      groups: [
        { name: 'org', parent: null, quota: gpu(9, {}, 'spot') },
        { name: 'g', parent: 'org' },
        { name: 'h', parent: 'org' },
      ],
      capacity: { od: { gpu: 8 }, spot: { gpu: 9 } },
      divisions: [
        { name: 'x', group: 'g', quota: gpu(4) },
        { name: 'y', group: 'g', quota: gpu(0), flavours: ['od', 'spot'] },
        { name: 'z', group: 'h', quota: gpu(0), flavours: ['od', 'spot'] },
      ],
      fairSharing: { enabled: true },
      running: [runs('r', 'y', 6)],
      pending: [
        asks('px', 'x', 6, { flavours: ['od'] }),
        asks('py', 'y', 3, { flavours: ['spot'] }),
        asks('pz', 'z', 8.5, { flavours: ['spot'] }),
      ],
    },
    want: { admitted: ['pz@spot*1'] },
  },
  'of divisions in trees of their own that share a pool the older goes first': {
    scenario: {
      groups: ['left', 'right'].map((name) => ({ name, parent: null })),
      divisions: [
        { name: 'a', group: 'left', quota: gpu(10) },
        { name: 'b', group: 'right', quota: gpu(10) },
      ],
      capacity: { od: { gpu: 10 } },
      overcommit: true,
      fairSharing: { enabled: true },
      pending: [asks('young', 'a', 8), asks('old', 'b', 8, { createdAt: at(-900) })],
    },
    want: { admitted: ['old@od*1'] },
  },
  'or who borrows from fewer, however young': {
    scenario: {
      groups: ['left', 'right'].map((name) => ({ name, parent: null })),
      divisions: [
        { name: 'a', group: 'left', quota: gpu(2) },
        { name: 'idle', group: 'left', quota: gpu(8) },
        { name: 'b', group: 'right', quota: gpu(10) },
      ],
      capacity: { od: { gpu: 10 } },
      overcommit: true,
      fairSharing: { enabled: true },
      pending: [asks('old', 'a', 8, { createdAt: at(-900) }), asks('young', 'b', 8)],
    },
    want: { admitted: ['young@od*1'] },
  },
  'of equal shares the older goes first': {
    scenario: {
      groups: [{ name: 'org', parent: null, quota: gpu(10) }],
      divisions: ['a', 'b'].map((name) => ({ name, group: 'org', quota: gpu(0) })),
      fairSharing: { enabled: true },
      pending: [asks('young', 'a', 8), asks('old', 'b', 8, { createdAt: at(-900) })],
    },
    want: { admitted: ['old@od*1'] },
  },
  'weight 0 goes last while it borrows': {
    scenario: {
      groups: [{ name: 'org', parent: null, quota: gpu(20) }],
      divisions: [
        { name: 'alpha', group: 'org', quota: gpu(0), weight: 0 },
        { name: 'beta', group: 'org', quota: gpu(0) },
      ],
      fairSharing: { enabled: true },
      pending: [asks('a', 'alpha', 1, { priority: 9 }), asks('b', 'beta', 20)],
    },
    want: { admitted: ['b@od*1'] },
  },
  'shares are compared between children of one group: a busy division of an idle group is let in': {
    scenario: {
      groups: [
        { name: 'org', parent: null, quota: gpu(20) },
        { name: 'idle', parent: 'org' },
        { name: 'busy', parent: 'org' },
      ],
      divisions: [
        { name: 'a1', group: 'idle', quota: gpu(0) },
        { name: 'b1', group: 'busy', quota: gpu(0) },
        { name: 'b2', group: 'busy', quota: gpu(0) },
      ],
      fairSharing: { enabled: true },
      running: [runs('r', 'a1', 4), runs('s', 'b2', 8)],
      pending: [asks('a', 'a1', 6), asks('b', 'b1', 6, { createdAt: at(-900) })],
    },
    want: { admitted: ['a@od*1'] },
  },
  'a waiting head within nominal keeps it from borrowers for the rest of the cycle': {
    scenario: {
      ...two({ preemption: { reclaim: 'lower' } }, { quota: gpu(0) }),
      running: [runs('r', 'beta', 4)],
      pending: [asks('own', 'alpha', 8, { createdAt: at(-90) }), asks('borrower', 'beta', 5)],
    },
    want: { admitted: [], waiting: ['own:quota+no_victims', 'borrower:kept_for_head'] },
  },
  'unless it could win it back': {
    scenario: {
      ...two({ preemption: { reclaim: 'any' } }, { quota: gpu(0) }),
      guards: { minRunTime: '1h' },
      running: [runs('r', 'beta', 4)],
      pending: [asks('own', 'alpha', 8, { createdAt: at(-90) }), asks('borrower', 'beta', 5)],
    },
    want: { admitted: ['borrower@od*1'], waiting: ['own:quota+guarded+no_victims'] },
  },
  'who waits for its window keeps nothing': {
    scenario: {
      ...two({ quota: gpu(8) }, { quota: gpu(0) }),
      running: [runs('r', 'beta', 4)],
      pending: [
        asks('late', 'alpha', 8, { createdAt: at(-900), window: [{ from: at(3600), until: at(7200) }], lease: '30m' }),
        asks('borrower', 'beta', 4),
      ],
    },
    want: { admitted: ['borrower@od*1'] },
  },
  'who was outrun keeps its own from borrowers, too': {
    scenario: {
      groups: org,
      divisions: ['alpha', 'beta', 'gamma'].map((name) => ({
        ...{ name, group: 'org', quota: gpu(name === 'gamma' ? 0 : 10) },
      })),
      capacity: { od: { gpu: 12 } },
      overcommit: true,
      pending: [
        asks('first', 'beta', 8, { createdAt: at(-900) }),
        asks('outrun', 'alpha', 8, { createdAt: at(-90) }),
        asks('borrower', 'gamma', 3),
      ],
    },
    want: { admitted: ['first@od*1'] },
  },
  'whom a waiting head stops takes another flavour': {
    scenario: {
      ...two({ quota: gpu(8) }, { quota: { ...gpu(0), ...gpu(0, {}, 'spot') }, flavours: ['od', 'spot'] }),
      capacity: { od: { gpu: 8 }, spot: { gpu: 4 } },
      running: [runs('r', 'beta', 4)],
      pending: [asks('own', 'alpha', 8, { createdAt: at(-90) }), asks('other', 'beta', 4)],
    },
    stable: true,
    want: { admitted: ['other@spot*1'], waiting: ['own:quota'] },
  },
  'what it keeps it goes on keeping in later cycles': {
    scenario: {
      ...two({}, { quota: gpu(0) }),
      running: [runs('r', 'beta', 4)],
      pending: [asks('own', 'alpha', 8, { createdAt: at(-90) }), asks('borrower', 'beta', 5)],
    },
    stable: true,
    want: { admitted: [], waiting: ['own:quota', 'borrower:kept_for_head'] },
  },
};

const LIMITS: Readonly<Record<string, Case>> = {
  'a user passes no limit of its own inside a division': {
    scenario: {
      ...two({ perUser: [{ resource: 'gpu', limit: 4 }] }),
      running: [runs('r', 'alpha', 3, { user: 'ann' })],
      pending: [asks('a', 'alpha', 2, { user: 'ann' }), asks('b', 'alpha', 2, { user: 'bob', createdAt: at(-30) })],
    },
    stable: true,
    want: { admitted: ['b@od*1'], waiting: ['a:user_limit'] },
  },
  'a budget holds the whole lease of what starts': {
    scenario: {
      ...two(),
      flavours: [{ name: 'od', price: '2.00' }],
      budgets: [{ division: 'alpha', limit: '10.00', spent: '1.00' }],
      pending: [asks('a', 'alpha', 2, { lease: '2h', createdAt: at(-90) }), asks('b', 'alpha', 1, { lease: '1h' })],
    },
    stable: true,
    want: { admitted: ['a@od*1'], waiting: ['b:budget'] },
  },
  'as much as the limit, the budget or its own bound allows starts': {
    scenario: {
      ...two({ perUser: [{ resource: 'gpu', limit: 4 }] }),
      flavours: [{ name: 'od', price: '2.00' }],
      budgets: [{ division: 'beta', limit: '10.00' }],
      pending: [
        asks('limit', 'alpha', 4, { user: 'ann', createdAt: at(-90) }),
        asks('budget', 'beta', 5, { lease: '1h' }),
        asks('bound', 'alpha', 1, { user: 'bob', lease: '3h', maxCost: '6.00' }),
      ],
    },
    stable: true,
    want: { admitted: ['limit@od*1', 'budget@od*1', 'bound@od*1'], waiting: [] },
  },
  'what needs all of a limit or budget waits until all of it is there': {
    scenario: {
      ...two({ perUser: [{ resource: 'gpu', limit: 4 }] }),
      flavours: [{ name: 'od', price: '2.00' }],
      budgets: [{ division: 'beta', limit: '10.00', spent: '0.01' }],
      running: [runs('r', 'alpha', 1, { user: 'ann' })],
      pending: [asks('limit', 'alpha', 4, { user: 'ann' }), asks('budget', 'beta', 5, { lease: '1h' })],
    },
    stable: true,
    want: { admitted: [], waiting: ['budget:budget', 'limit:user_limit'] },
  },
  'a limit of one flavour counts nothing of another': {
    scenario: {
      ...two({ quota: both, perUser: [{ flavour: 'od', resource: 'gpu', limit: 4 }] }),
      running: [runs('r', 'alpha', 4, { user: 'ann', on: 'spot' })],
      pending: [asks('a', 'alpha', 4, { user: 'ann' })],
    },
    want: { admitted: ['a@od*1'] },
  },
  'a gang costs what all of it costs, each pod set on its flavour': {
    scenario: {
      ...two({ quota: { od: { gpu: { nominal: 4 } }, spot: { gpu: { nominal: 4 } } } }, { quota: gpu(4) }),
      flavours: [
        { name: 'od', price: '2.00' },
        { name: 'spot', price: '1.00' },
      ],
      budgets: [
        { division: 'alpha', limit: '9.99' },
        { division: 'beta', limit: '6.00' },
      ],
      pending: [
        {
          ...{ id: 'mixed', division: 'alpha', lease: '1h', createdAt: at(-60) },
          podSets: [
            { count: 3, resources: { gpu: 1 } },
            { count: 2, resources: { gpu: 2 } },
          ],
        },
        asks('equal', 'beta', 1, { replicas: 3, lease: '1h' }),
        asks('more', 'beta', 1, { replicas: 4, lease: '1h' }),
      ],
    },
    want: {
      admitted: ['equal@od*3'],
      // On whichever flavours its two sets are.
      waiting: [`mixed:${Array(4).fill('infeasible').join('+')}`, 'more:infeasible'],
    },
  },
  'a part of a cent costs a cent': {
    scenario: {
      ...two(),
      flavours: [{ name: 'od', price: '1.00' }],
      budgets: ['alpha', 'beta'].map((division) => ({ division, limit: '0.01' })),
      pending: [asks('a', 'alpha', 1, { lease: '36s' }), asks('b', 'beta', 1, { lease: '37s' })],
    },
    want: { admitted: ['a@od*1'], waiting: ['b:infeasible'] },
  },
  'what costs more than the whole budget, or its own bound, can never start': {
    scenario: {
      ...two(),
      flavours: [{ name: 'od', price: '2.00' }],
      budgets: [{ division: 'alpha', limit: '10.00' }],
      pending: [asks('a', 'alpha', 6, { lease: '1h' }), asks('b', 'beta', 1, { lease: '3h', maxCost: '5.99' })],
    },
    want: { waiting: ['a:infeasible', 'b:infeasible'] },
  },
};

for (const [title, cases] of Object.entries({
  quotas: QUOTA,
  heads: HEADS,
  options: OPTIONS,
  order: ORDER,
  limits: LIMITS,
})) {
  describe(title, () => {
    test.each(Object.entries(cases))('%s', (_rule, { scenario, stable, want }) => {
      expect(told(scenario, stable)).toMatchObject(want);
    });
  });
}

describe('what is told of an admission', () => {
  test('is the part of the ask above the division’s nominal', () => {
    const { admitted } = plan({ ...two(), running: [runs('r', 'alpha', 8)], pending: [asks('p', 'alpha', 5.5)] });
    expect(admitted).toEqual([{ id: 'p', flavour: 'od', replicas: 1, borrowed: { gpu: 3.5 } }]);
  });
});
