import { describe, expect, test } from 'vitest';
import type { RefusedInput } from '../../../../core/refusal.ts';
import { Planner } from '../../../../scheduler/admission/planner.ts';
import { parseScenario } from '../../../../scheduler/admission/scenario.ts';
import { asks, at, type Doc, gpu, NOW, plan, runs, told } from '../../../support/scenarios.ts';

const HOUR = 3600;
const alone = (size: number, more: Doc = {}): Doc => ({ divisions: [{ name: 'alpha', quota: gpu(size), ...more }] });
const waitsFor = (scenario: Doc, id: string, stable = false) =>
  plan(scenario, stable).waiting.find((one) => one.id === id)!;

describe('leases', () => {
  const blocked: Doc = {
    ...alone(10),
    running: [runs('r', 'alpha', 8, { leaseEndsAt: at(HOUR) })],
    pending: [asks('big', 'alpha', 8, { lease: '1h', createdAt: at(-900) })],
  };
  const beside = (id: string, size: number, lease: string): Doc => ({
    ...blocked,
    pending: [...(blocked.pending as Doc[]), asks(id, 'alpha', size, { lease })],
  });

  test('that run out give a blocked head its slot, which is its ETA', () => {
    expect(waitsFor(blocked, 'big').eta).toBe(at(HOUR));
  });

  test('let a later one start that ends before the slot of the head', () => {
    expect(told(beside('short', 2, '60m'), true).admitted).toEqual(['short@od*1']);
  });

  test('or that fits beside it', () => {
    expect(told(beside('long', 2, '9h'), true).admitted).toEqual(['long@od*1']);
  });

  test('and hold back one that would delay it, without a lease too', () => {
    const nine: Doc = { ...beside('long', 2, '61m'), divisions: [{ name: 'alpha', quota: gpu(10) }] };
    const pending = [
      asks('big', 'alpha', 9, { lease: '1h', createdAt: at(-900) }),
      asks('long', 'alpha', 2, { lease: '61m' }),
    ];
    const { admitted, waiting } = told({ ...nine, pending }, true);
    expect({ admitted, waiting }).toEqual({ admitted: [], waiting: ['big:quota', 'long:backfill'] });
    const endless = [pending[0]!, asks('long', 'alpha', 2)];
    expect(told({ ...nine, pending: endless }, true).waiting).toEqual(['big:quota', 'long:backfill']);
    expect(told({ ...nine, pending: [pending[0]!, asks('one', 'alpha', 1)] }, true).admitted).toEqual(['one@od*1']);
  });

  test('of borrowers do not delay the head of a division that waits for its own', () => {
    const scenario: Doc = {
      groups: [{ name: 'org', parent: null }],
      divisions: [
        { name: 'alpha', group: 'org', quota: gpu(8), preemption: { reclaim: 'any' } },
        { name: 'beta', group: 'org', quota: gpu(0) },
      ],
      guards: { minRunTime: '9h' },
      running: [runs('r', 'beta', 4, { leaseEndsAt: at(HOUR) })],
    };
    const head = asks('own', 'alpha', 8, { lease: '1h' });
    const with_ = (lease: string) => told({ ...scenario, pending: [head, asks('b', 'beta', 4, { lease })] });
    expect(with_('1h').admitted).toEqual(['b@od*1']);
    expect(with_('2h').admitted).toEqual([]);
    expect(with_('2h').waiting).toContain('b:backfill');
  });

  test('of its own division do not delay a head that borrows, though they would not', () => {
    const scenario = (lease: string): Doc => ({
      groups: [{ name: 'org', parent: null }],
      divisions: [
        { name: 'a', group: 'org', quota: gpu(4) },
        { name: 'b', group: 'org', quota: gpu(6) },
      ],
      running: [runs('r', 'b', 6, { leaseEndsAt: at(HOUR) })],
      pending: [asks('head', 'a', 8, { lease: '1h', createdAt: at(-900) }), asks('small', 'a', 4, { lease })],
    });
    expect(told(scenario('1h'), true).admitted).toContain('small@od*1');
    expect(told(scenario('2h'), true)).toMatchObject({ admitted: [], waiting: ['head:quota', 'small:backfill'] });
  });

  describe('of other divisions delay a head', () => {
    // 10 to be borrowed, 6 of them until the slot of a's head, which needs 8: of b 4 would fit now, and not beside it.
    const scenario = (other: Doc): Doc => ({
      groups: [{ name: 'org', parent: null, quota: gpu(10) }],
      divisions: ['a', 'b', 'c'].map((name) => ({ name, group: 'org', quota: gpu(0) })),
      running: [runs('r', 'c', 6, { leaseEndsAt: at(HOUR) })],
      pending: [
        asks('head', 'a', 8, { lease: '1h', createdAt: at(-900) }),
        asks('other', 'b', 4, { lease: '2h', ...other }),
      ],
    });

    test('not where they come after it', () => {
      expect(told(scenario({}))).toMatchObject({ admitted: [], waiting: ['head:quota', 'other:backfill'] });
    });

    test('where their priority is higher', () => {
      expect(told(scenario({ priority: 1 })).admitted).toEqual(['other@od*1']);
    });
  });

  test('that end before the slot of a second head, which is behind that of the first, delay neither', () => {
    const scenario = (lease: string): Doc => ({
      groups: [{ name: 'org', parent: null, quota: gpu(10) }],
      divisions: ['a', 'b', 'c'].map((name) => ({ name, group: 'org', quota: gpu(0) })),
      running: [runs('r', 'c', 8, { leaseEndsAt: at(HOUR) })],
      pending: [
        asks('first', 'a', 8, { lease: '1h', createdAt: at(-900) }),
        asks('second', 'b', 10, { lease: '1h', createdAt: at(-90) }),
        asks('third', 'c', 2, { lease }),
      ],
    });
    expect(told(scenario('2h')).admitted).toEqual(['third@od*1']);
    expect(told(scenario('121m')).waiting).toContain('third:backfill');
  });

  test('of others do not delay the least of an elastic head, from which its ETA is reckoned', () => {
    // 3 of 10 are free, in an hour 7: six of its ten replicas fit then, all of them never.
    const scenario = (lease: string): Doc => ({
      ...alone(10),
      running: [runs('r', 'alpha', 4, { leaseEndsAt: at(HOUR) }), runs('s', 'alpha', 3)],
      pending: [
        asks('head', 'alpha', 1, { replicas: 10, minReplicas: 6, lease: '1h', createdAt: at(-900) }),
        asks('other', 'alpha', 3, { lease }),
      ],
    });
    expect(waitsFor(scenario('90m'), 'head', true).eta).toBe(at(HOUR));
    expect(told(scenario('1h'), true).admitted).toEqual(['other@od*1']);
    expect(told(scenario('90m'), true).waiting).toContain('other:backfill');
  });

  test('of work that is leaving end with it, once', () => {
    const scenario: Doc = {
      ...alone(8),
      running: [runs('r', 'alpha', 8, { draining: { for: 'p', until: at(120) }, leaseEndsAt: at(HOUR) })],
      pending: [asks('p', 'alpha', 8), asks('q', 'alpha', 8)],
    };
    expect(plan(scenario).waiting.map(({ id, eta }) => [id, eta])).toEqual([
      ['p', at(120)],
      ['q', null],
    ]);
  });

  test('that run out as a slot begins take nothing of the room beside it', () => {
    const scenario = (lease: string): Doc => ({
      groups: [{ name: 'org', parent: null }],
      divisions: ['a', 'b', 'c'].map((name) => ({
        ...{ name, group: 'org', quota: gpu(name === 'a' ? 10 : 0) },
        preemption: { reclaim: 'any' },
      })),
      guards: { minRunTime: '9h' },
      running: [runs('r', 'b', 6, { leaseEndsAt: at(HOUR) })],
      pending: [
        asks('head', 'a', 8, { lease: '1h', createdAt: at(-900) }),
        asks('one', 'b', 2, { lease, createdAt: at(-90) }),
        asks('two', 'c', 2, { lease: '9h' }),
      ],
    });
    expect(told(scenario('1h')).admitted).toEqual(['one@od*1', 'two@od*1']);
    expect(told(scenario('61m')).admitted).toEqual(['one@od*1']);
  });

  test('of what is booked ahead are kept free', () => {
    const reservations = [
      { id: 'exam', division: 'alpha', flavour: 'od', resources: { gpu: 8 }, from: at(HOUR), until: at(2 * HOUR) },
    ];
    const scenario = (lease: string): Doc => ({
      ...alone(10),
      reservations,
      pending: [asks('p', 'alpha', 4, { lease })],
    });
    expect(told(scenario('1h')).admitted).toEqual(['p@od*1']);
    expect(told(scenario('90m')).waiting).toEqual(['p:backfill']);
    expect(waitsFor(scenario('90m'), 'p').eta).toBe(at(2 * HOUR));
  });

  test('that run out as what is booked ahead begins are before it', () => {
    const reservations = [
      { id: 'exam', division: 'alpha', flavour: 'od', resources: { gpu: 8 }, from: at(HOUR), until: at(2 * HOUR) },
    ];
    const scenario = (lease: string): Doc => ({
      ...alone(10),
      reservations,
      running: [runs('r', 'alpha', 10, { leaseEndsAt: at(HOUR / 2) })],
      pending: [asks('p', 'alpha', 4, { lease })],
    });
    expect(waitsFor(scenario('30m'), 'p').eta).toBe(at(HOUR / 2));
    expect(waitsFor(scenario('31m'), 'p').eta).toBe(at(2 * HOUR));
  });

  test('of all that is booked ahead for one time are kept free together', () => {
    const exam = (id: string, from: number): Doc => ({
      ...{ id, division: 'alpha', flavour: 'od', resources: { gpu: 4 } },
      ...{ from: at(from), until: at(3 * HOUR) },
    });
    const scenario = (...reservations: readonly Doc[]): Doc => ({
      ...alone(10),
      reservations,
      pending: [asks('p', 'alpha', 4, { lease: '2h' })],
    });
    expect(told(scenario(exam('a', HOUR))).admitted).toEqual(['p@od*1']);
    expect(told(scenario(exam('a', HOUR), exam('b', HOUR))).waiting).toEqual(['p:backfill']);
    expect(told(scenario(exam('a', -HOUR), exam('b', HOUR))).waiting).toEqual(['p:backfill']);
  });

  test('start in the window that they ask for', () => {
    const window = [{ from: at(HOUR), until: at(3 * HOUR) }];
    const scenario: Doc = { ...alone(10), pending: [asks('p', 'alpha', 4, { lease: '1h', window })] };
    expect(told(scenario).waiting).toEqual(['p:window_closed']);
    expect(waitsFor(scenario, 'p').eta).toBe(at(HOUR));
    expect(told({ ...scenario, now: at(HOUR) }).admitted).toEqual(['p@od*1']);
    expect(told({ ...scenario, now: at(3 * HOUR) }).waiting).toEqual(['p:window_closed']);
  });

  test('of those before it move the ETA of one further back', () => {
    const scenario: Doc = {
      ...alone(8, { queueing: 'strict' }),
      running: [runs('r', 'alpha', 8, { leaseEndsAt: at(HOUR) })],
      pending: [asks('one', 'alpha', 8, { lease: '2h', createdAt: at(-90) }), asks('two', 'alpha', 8, { lease: '1h' })],
    };
    expect(waitsFor(scenario, 'two').eta).toBe(at(3 * HOUR));
  });

  test('are reckoned behind at most 200 others; whoever stands further back is told that', () => {
    const pending = Array.from({ length: 203 }, (_, i) =>
      asks(`p${i}`, 'alpha', 1, { lease: '1h', createdAt: at(i - 900) }),
    );
    const { config, nowMs, ...told } = parseScenario({
      apiVersion: 'merit/v1',
      kind: 'Scenario',
      now: NOW,
      ...alone(1),
      pending,
    });
    const planner = new Planner(config);
    for (const ask of told.pending) planner.addPending(ask);
    planner.cycle(nowMs);
    expect(planner.explain('p201', nowMs)).toMatchObject({ position: 201, etaMs: nowMs + 201 * HOUR * 1000 });
    const { etaMs, reasons } = planner.explain('p202', nowMs);
    expect([etaMs, reasons.at(-1)?.code]).toEqual([null, 'far_back']);
    expect(reasons.at(-1)?.text).toContain('201 of alpha go before it; starts are reckoned behind at most 200');
  });

  test('that never end leave the ETA unknown', () => {
    expect(
      waitsFor({ ...alone(8), running: [runs('r', 'alpha', 8)], pending: [asks('p', 'alpha', 1)] }, 'p').eta,
    ).toBeNull();
  });
});

describe('a flavour with windows', () => {
  const open = [
    { from: at(-HOUR), until: at(HOUR) },
    { from: at(2 * HOUR), until: at(2.5 * HOUR) },
    { from: at(3 * HOUR), until: at(4 * HOUR) },
  ];
  const scenario = (more: Doc, now = NOW): Doc => ({
    ...alone(10),
    now,
    flavours: [{ name: 'od', open }],
    pending: [asks('p', 'alpha', 1, more)],
  });

  test('takes work whose lease ends with its window', () => {
    expect(told(scenario({ lease: '60m' })).admitted).toEqual(['p@od*1']);
  });

  test('takes none that would run on, before a window that is as long as its lease', () => {
    const late = scenario({ lease: '60m' }, at(60));
    expect(told(late).waiting).toEqual(['p:window_closed']);
    expect(waitsFor(late, 'p').eta).toBe(at(3 * HOUR));
    expect(waitsFor(late, 'p').smallestChange).toMatchObject({ kind: 'wait', text: `wait until ${at(3 * HOUR)}` });
  });

  test.each([
    ['work that is longer than all of them', { lease: '3h' }],
    ['work without an end', {}],
  ])('takes %s never', (_what, more) => {
    expect(waitsFor(scenario(more), 'p')).toMatchObject({ reasons: [{ code: 'window_closed' }], eta: null });
  });

  test('is shut from the end of a window on', () => {
    expect(waitsFor(scenario({ lease: '1m' }, at(HOUR)), 'p').eta).toBe(at(2 * HOUR));
  });
});

describe('a machine that is shut', () => {
  const node = (name: string, more: Doc = {}): Doc => ({ name, flavour: 'od', gpu: 8, ...more });
  const shut = { cordoned: true };
  const [one, two] = [
    asks('one', 'alpha', 8, { lease: '2h', createdAt: at(-900) }),
    asks('two', 'alpha', 8, { lease: '1h' }),
  ];
  const small = asks('small', 'alpha', 4, { lease: '9h' });
  const on = (name: string, size: number, ends: number): Doc =>
    runs(`on-${name}`, 'alpha', size, { node: name, leaseEndsAt: at(ends) });
  const cases: Readonly<
    Record<string, { nodes: Doc[]; running?: Doc[]; pending: Doc[]; want: Record<string, number | null> }>
  > = {
    'is no room, now or later: the next one starts behind the first, on the machine that is open': {
      nodes: [node('open'), node('shut', shut)],
      running: [on('open', 8, HOUR)],
      pending: [one, two],
      want: { one: HOUR, two: 3 * HOUR },
    },
    'which is open: both start as the first leaves': {
      nodes: [node('open'), node('shut')],
      running: [on('open', 8, HOUR), on('shut', 8, HOUR)],
      pending: [one, two],
      want: { one: HOUR, two: HOUR },
    },
    'leaves nothing to others when what runs on it ends': {
      nodes: [node('open'), node('shut', shut)],
      running: [on('open', 8, 2 * HOUR), on('shut', 8, HOUR)],
      pending: [one, two],
      want: { one: 2 * HOUR, two: 4 * HOUR },
    },
    'of which only a part is used is kept out whole': {
      nodes: [node('open'), node('shut', shut)],
      running: [on('open', 8, 2 * HOUR), on('shut', 4, HOUR)],
      pending: [one, two],
      want: { one: 2 * HOUR, two: 4 * HOUR },
    },
    'and the only one gives no start time': { nodes: [node('shut', shut)], pending: [one], want: { one: null } },
    'adds nothing where there are more machines than their flavour declares': {
      nodes: [node('open'), node('second'), node('third'), node('shut', shut)],
      running: [on('open', 8, HOUR), on('second', 4, 9 * HOUR)],
      pending: [one, two],
      want: { one: HOUR, two: 3 * HOUR },
    },
  };
  test.each(Object.entries(cases))('%s', (_rule, { nodes, running = [], pending, want }) => {
    const { waiting } = plan({
      ...alone(32),
      overcommit: true,
      capacity: { od: { gpu: 16 } },
      nodes,
      running,
      pending,
    });
    const etas = Object.fromEntries(waiting.map(({ id, eta }) => [id, eta]));
    expect(etas).toEqual(Object.fromEntries(Object.entries(want).map(([id, s]) => [id, s === null ? null : at(s)])));
  });

  const exam = (from: number, more: Doc = {}): Doc => ({
    ...{ id: 'exam', division: 'alpha', flavour: 'od', resources: { gpu: 8 }, from: at(from), until: at(4 * HOUR) },
    ...more,
  });
  const ahead = (second: Doc, reservations: readonly Doc[], more: Doc = {}): Doc => ({
    ...alone(16),
    nodes: [node('open'), node('second', second)],
    reservations,
    pending: [asks('p', 'alpha', 8, { lease: '2h' })],
    ...more,
  });

  test('is not where what is booked ahead will be', () => {
    expect(told(ahead({}, [exam(HOUR)])).admitted).toEqual(['p@od*1']);
    expect(told(ahead(shut, [exam(HOUR)])).waiting).toEqual(['p:backfill']);
    expect(waitsFor(ahead(shut, [exam(HOUR)]), 'p').eta).toBe(at(4 * HOUR));
  });

  test('is not where what was booked ahead is: who waits starts as that ends', () => {
    expect(told(ahead({}, [exam(-HOUR)])).admitted).toEqual(['p@od*1']);
    expect(told(ahead(shut, [exam(-HOUR)])).admitted).toEqual([]);
    expect(waitsFor(ahead(shut, [exam(-HOUR)]), 'p').eta).toBe(at(4 * HOUR));
    const leaves = { running: [on('second', 8, HOUR)] };
    expect(waitsFor(ahead(shut, [exam(-HOUR)], leaves), 'p').eta).toBe(at(4 * HOUR));
    const half = { running: [on('open', 4, HOUR)], pending: [asks('p', 'alpha', 4, { lease: '2h' })] };
    expect(waitsFor(ahead(shut, [exam(-HOUR, { resources: { gpu: 4 } })], half), 'p').eta).toBe(at(HOUR));
  });

  test('is not taken for the room that is left beside the slot of a head', () => {
    const scenario = (second: Doc) => ({
      ...alone(16),
      nodes: [node('open'), node('second', second)],
      running: [on('open', 4, HOUR), ...(second === shut ? [] : [on('second', 4, HOUR)])],
      pending: [one, small],
    });
    expect(told(scenario(shut), true)).toMatchObject({ admitted: [], waiting: ['one:no_node', 'small:backfill'] });
    expect(told(scenario({}), true).admitted).toEqual(['small@od*1']);
  });
});

describe('reasons', () => {
  const org = [{ name: 'org', parent: null }];

  test('name every flavour, what is short of it and who holds it, the first to end first', () => {
    const scenario: Doc = {
      groups: org,
      divisions: [
        { name: 'alpha', group: 'org', quota: { od: { gpu: { nominal: 8 } }, spot: { gpu: { nominal: 4 } } } },
      ],
      running: [
        runs('late', 'alpha', 4, { leaseEndsAt: at(9000) }),
        runs('soon', 'alpha', 3, { leaseEndsAt: at(60) }),
        runs('s', 'alpha', 3, { on: 'spot' }),
      ],
      pending: [asks('p', 'alpha', 4)],
    };
    expect(waitsFor(scenario, 'p').reasons).toEqual([
      { code: 'quota', flavour: 'od', resource: 'gpu', shortfall: 3, holders: ['soon', 'late'] },
      { code: 'quota', flavour: 'spot', resource: 'gpu', shortfall: 3, holders: ['s'] },
    ]);
  });

  test('say which limit binds, and the smallest change is one that lets it in', () => {
    const base = (borrow: number, nominal: number): Doc => ({
      groups: org,
      divisions: [
        { name: 'alpha', group: 'org', quota: gpu(4, { borrow }) },
        { name: 'beta', group: 'org', quota: gpu(nominal) },
      ],
      running: [runs('r', 'alpha', 4), runs('s', 'beta', 3)],
      pending: [asks('p', 'alpha', 3)],
    });
    const limited = waitsFor(base(2, 8), 'p');
    expect(limited.reasons[0]).toMatchObject({ code: 'borrow_limit', shortfall: 1 });
    expect(limited.smallestChange).toMatchObject({ kind: 'raise_borrow', node: 'alpha', amount: 1 });
    expect(told(base(2 + limited.smallestChange!.amount!, 8)).admitted).toEqual(['p@od*1']);
    const full = waitsFor(base(9, 5), 'p');
    expect(full.reasons[0]).toMatchObject({ code: 'quota', shortfall: 1, holders: ['r', 's'] });
    expect(full.smallestChange).toMatchObject({ kind: 'free', node: 'org', amount: 1 });
    expect(told(base(9, 5 + full.smallestChange!.amount!)).admitted).toEqual(['p@od*1']);
  });

  test('tell a flavour that could never hold it, whatever quotas say, as that', () => {
    const scenario: Doc = {
      groups: org,
      divisions: [
        { name: 'alpha', group: 'org', quota: { ...gpu(10), ...gpu(20, {}, 'spot') } },
        { name: 'beta', group: 'org', quota: gpu(10) },
      ],
      capacity: { od: { gpu: 12 }, spot: { gpu: 20 } },
      overcommit: true,
      running: [runs('s', 'alpha', 20, { on: 'spot' })],
      pending: [asks('p', 'alpha', 15)],
    };
    const { reasons, smallestChange } = waitsFor(scenario, 'p');
    expect(reasons.map(({ code, flavour, shortfall }) => [code, flavour, shortfall])).toEqual([
      ['infeasible', 'od', 3],
      ['quota', 'spot', 15],
    ]);
    expect(smallestChange).toMatchObject({ kind: 'free', flavour: 'spot', amount: 15 });
  });

  test('offer fewer replicas where that is the smaller change', () => {
    const scenario: Doc = {
      ...alone(8),
      running: [runs('r', 'alpha', 1)],
      pending: [asks('p', 'alpha', 1, { replicas: 8, createdAt: at(-90) })],
    };
    expect(waitsFor(scenario, 'p').smallestChange).toMatchObject({ kind: 'fewer_replicas', amount: 7 });
    expect(told({ ...scenario, pending: [asks('p', 'alpha', 1, { replicas: 7 })] }).admitted).toEqual(['p@od*7']);
  });
});

describe('nodes', () => {
  const nodes = (sizes: Readonly<Record<string, number>>) =>
    Object.entries(sizes).map(([name, size]) => ({ name, flavour: 'od', gpu: size }));

  test('hold whole replicas: what only fits on two of them waits', () => {
    const scenario: Doc = {
      ...alone(8),
      nodes: nodes({ n1: 4, n2: 4 }),
      running: [runs('a', 'alpha', 2, { node: 'n1' }), runs('b', 'alpha', 2, { node: 'n2' })],
    };
    expect(told({ ...scenario, pending: [asks('p', 'alpha', 4)] }).waiting).toEqual(['p:no_node']);
    expect(told({ ...scenario, pending: [asks('p', 'alpha', 2, { replicas: 2 })] }).admitted).toEqual(['p@od*2']);
  });

  test('are chosen so that the fewest GPUs are out of reach of what is asked for here', () => {
    const scenario: Doc = {
      ...alone(12),
      nodes: nodes({ n1: 8, n2: 4 }),
      running: [runs('r', 'alpha', 2, { node: 'n2' })],
      pending: [asks('small', 'alpha', 2, { createdAt: at(-900) }), asks('whole', 'alpha', 8)],
    };
    const { admitted } = plan(scenario, true);
    expect(admitted.map(({ id, nodes: where }) => [id, where?.map(({ node }) => node)])).toEqual([
      ['small', ['n2']],
      ['whole', ['n1']],
    ]);
  });

  test('are not taken for being the fullest where that breaks the room of a larger one', () => {
    const { admitted } = plan(
      {
        ...alone(9),
        nodes: nodes({ n1: 4, n2: 5 }),
        pending: [
          asks('small', 'alpha', 1, { createdAt: at(-900) }),
          asks('large1', 'alpha', 4, { createdAt: at(-90) }),
          asks('large2', 'alpha', 4),
        ],
      },
      true,
    );
    expect(admitted.map(({ id, nodes: where }) => [id, where?.map(({ node }) => node)])).toEqual([
      ['small', ['n2']],
      ['large1', ['n1']],
      ['large2', ['n2']],
    ]);
  });

  test('share a GPU between parts of one, never a part between two', () => {
    const scenario = (size: number): Doc => ({
      ...alone(2),
      nodes: nodes({ n1: 2 }),
      running: [runs('a', 'alpha', 0.6, { node: 'n1' }), runs('b', 'alpha', 0.6, { node: 'n1' })],
      pending: [asks('p', 'alpha', size)],
    });
    expect(told(scenario(0.4)).admitted).toEqual(['p@od*1']);
    expect(told(scenario(0.5)).waiting).toEqual(['p:no_node']);
  });

  test('give way to a preemptor as quotas do: only the victims on its node go', () => {
    const scenario: Doc = {
      ...alone(8, { preemption: { own: 'lower' } }),
      nodes: nodes({ n1: 4, n2: 4 }),
      running: ['n1', 'n2'].flatMap((node) =>
        [0, 1].map((i) => runs(`${node}-${i}`, 'alpha', 2, { node, priority: i - 9 })),
      ),
      pending: [asks('p', 'alpha', 4)],
    };
    expect(told(scenario).preempted).toEqual(['n1-0>p', 'n1-1>p']);
  });
});

describe('a scenario', () => {
  const refusals = (more: Doc) => {
    try {
      parseScenario({ apiVersion: 'merit/v1', kind: 'Scenario', now: NOW, ...alone(8), ...more });
      return [];
    } catch (error) {
      return (error as RefusedInput).refusals.map(({ code, field }) => `${code} ${field}`);
    }
  };

  test('tells all of its problems at once, each with its field', () => {
    expect(
      refusals({
        now: 'yesterday',
        running: [runs('r', 'nobody', 1, { on: 'ods' })],
        pending: [asks('p', 'alpha', 0.0001, { lease: '1 hour', minReplicas: 2 }), asks('p', 'alpha', 1)],
      }).sort(),
    ).toEqual([
      'duplicate pending.1',
      'duration pending.0.lease',
      'range pending.0.minReplicas',
      'scale pending.0.resources.gpu',
      'time_format now',
      'unknown running.0.division',
      'unknown running.0.on',
    ]);
  });

  test.each<[string, Doc, string]>([
    ['an unknown field', { quotas: {} }, 'unknown_field quotas'],
    [
      'a group that is its own ancestor',
      {
        groups: [
          { name: 'g', parent: 'h' },
          { name: 'h', parent: 'g' },
        ],
      },
      'loop groups.0.parent',
    ],
    [
      'quotas beyond a capacity that is not overcommitted',
      { capacity: { od: { gpu: 7 } } },
      'overcommit capacity.od.gpu',
    ],
    [
      'pod sets beside resources',
      { pending: [asks('p', 'alpha', 1, { podSets: [{ count: 1, resources: { gpu: 1 } }] })] },
      'conflict pending.0.resources',
    ],
    [
      'a policy that does not exist',
      { divisions: [{ name: 'a', preemption: { own: 'always' } }] },
      'enum divisions.0.preemption.own',
    ],
    ['a negative quantity', { divisions: [{ name: 'a', quota: gpu(-1) }] }, 'range divisions.0.quota.od.gpu.nominal'],
  ])('with %s is refused', (_what, more, refusal) => {
    expect(refusals(more)).toContain(refusal);
  });

  test('plans the same whatever the order of its lists', () => {
    const scenario: Doc = {
      groups: [
        { name: 'org', parent: null },
        { name: 'sub', parent: 'org' },
      ],
      fairSharing: {},
      divisions: ['a', 'b', 'c'].map((name, i) => ({
        name,
        group: i === 0 ? 'sub' : 'org',
        quota: gpu(4),
        preemption: { reclaim: 'any', own: 'lower' },
      })),
      running: [runs('r1', 'b', 5), runs('r2', 'b', 4), runs('r3', 'c', 3)],
      pending: [asks('p1', 'a', 3), asks('p2', 'c', 2), asks('p3', 'a', 1), asks('p4', 'b', 1)],
    };
    const backwards = Object.fromEntries(
      Object.entries(scenario).map(([name, value]) => [name, Array.isArray(value) ? value.toReversed() : value]),
    );
    expect(plan(backwards)).toEqual(plan(scenario));
    expect(plan(backwards, true)).toEqual(plan(scenario, true));
  });
});
