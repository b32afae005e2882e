import { beforeEach, describe, expect, test } from 'vitest';
import { type BookingState, newBooking } from '../../../../core/booking.ts';
import type { BookingId } from '../../../../core/ids.ts';
import { type JobSpec, jobSpec, specHash } from '../../../../core/job.ts';
import type { DivisionInput, PlannerConfig } from '../../../../pools/planner-input.ts';
import type { PoolFacts } from '../../../../pools/pool-facts.ts';
import { Planner } from '../../../../scheduler/admission/planner.ts';
import type { Booking } from '../../../../scheduler/apply/booking-store.ts';
import { TenantPlan } from '../../../../scheduler/apply/tenant-plan.ts';

const NOW = Date.UTC(2026, 10, 26);
const HOUR = 3_600_000;

const division = (over: Partial<DivisionInput> = {}): DivisionInput => ({
  name: 'vision',
  group: null,
  weightMilli: 1000,
  quota: [
    { flavour: 'east/h100', resource: 'gpu', nominalMilli: 4000, borrowMilli: 0, lendMilli: 0 },
    { flavour: 'east/spot', resource: 'gpu', nominalMilli: 4000, borrowMilli: 0, lendMilli: 0 },
  ],
  flavours: ['east/h100', 'east/spot'],
  preemption: { own: 'lower', reclaim: 'never', borrow: null },
  fallback: { whenFull: 'next', prefer: 'borrow' },
  queueing: 'best-effort',
  userLimits: [],
  budgets: [{ currency: 'USD', limitMinor: 1_000_000n, spentMinor: 0n }],
  ...over,
});

const flavour = (name: string, spot: boolean) => ({
  id: `east/${name}`,
  pool: 'east',
  provider: 'ray',
  spot,
  price: { currency: 'USD', minorPerUnitHour: { gpu: spot ? 100n : 300n } },
  capacity: { gpu: 4000 },
  away: null,
  cordoned: false,
  open: null,
});

const config = (over: Partial<DivisionInput> = {}): PlannerConfig => ({
  fairSharing: { enabled: false, strategies: ['final', 'initial'] },
  flavours: [flavour('h100', false), flavour('spot', true)],
  nodes: [],
  groups: [],
  divisions: [division(over)],
  guards: [],
  reservations: [],
});

const facts = (over: Partial<DivisionInput> = {}): PoolFacts => ({
  config: config(over),
  gpuTypes: new Map([['east/h100', 'H100']]),
  offPeak: new Map(),
  draining: new Set(),
  drainingMachines: new Set(),
});

let plan: TenantPlan;
let made = 0;
beforeEach(() => {
  plan = new TenantPlan(facts(), new Planner(config()));
  made = 0;
});

function booking(file: object = {}, state: BookingState = newBooking(), over: Partial<JobSpec> = {}): Booking {
  made++;
  const spec = {
    ...jobSpec({
      name: 'train',
      division: 'vision',
      resources: { gpus: 4 },
      pools: ['east'],
      run: 'x',
      lease: '1h',
      ...file,
    }),
    ...over,
  };
  return {
    bookingId: `b${made}` as BookingId,
    tenant: 'acme',
    division: spec.division,
    jobName: spec.name,
    requester: 'ada',
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spec,
    specHash: specHash(spec),
    state,
    version: 1n,
    createdAtMs: NOW + made,
    updatedAtMs: NOW + made,
  };
}

const put = (one: Booking, needs: Readonly<Record<string, BookingState['state']>> = {}) => {
  plan.put({ booking: one, needs: new Map(Object.entries(needs)) });
  return one;
};
const withState = (one: Booking, state: object): Booking => ({
  ...one,
  state: { attempt: 1, ...state } as BookingState,
  version: one.version + 1n,
});
const admitted = () => plan.decide(NOW + 100).admitted.map(({ booking: { bookingId } }) => bookingId);
const gatesOf = (id: string) => plan.explain(id, NOW + 100).gates.map((reason) => reason.code);
const released = { state: 'released', reason: { code: 'succeeded', text: 'it ended well', mend: 'nothing' } };
const failed = { state: 'failed', reason: { code: 'job_failed', text: 'it failed', mend: 'mend it' } };

/** As it stands once it runs on a flavour. */
function running(one: Booking, on = 'h100', over: object = {}): Booking {
  const placement = {
    pool: 'east',
    flavour: on,
    provider: 'ray',
    gpuMilli: String(one.spec.gpuMilli),
    cpuMilli: '1000',
    holdCents: '300',
    currency: 'USD',
    centsPerUnitHour: '300',
  };
  const state = {
    state: 'applied',
    placement,
    holdId: 'h',
    handle: { provider: 'ray', id: 'x' },
    appliedAtMs: NOW,
    leaseEndsAtMs: NOW + HOUR,
  };
  return withState(one, { ...state, ...over });
}

describe('where something was admitted', () => {
  const at = { pool: 'east', flavour: 'h100', machines: [{ node: 'm1', replicas: 1 }] };
  const closed = (change: (config: PlannerConfig) => PlannerConfig) => {
    const one = put(booking());
    const [admission] = plan.decide(NOW + 100).admitted;
    const placement = { ...admission!.placement, ...at };
    expect(plan.isClosed(one, placement)).toBe(false);
    plan.setFacts({ ...facts(), config: change(config()) });
    return plan.isClosed(one, placement);
  };
  const h100 = (over: object) => (of: PlannerConfig) => ({
    ...of,
    flavours: of.flavours.map((one) => (one.id === 'east/h100' ? { ...one, ...over } : one)),
  });
  const spotOnly = (of: PlannerConfig): PlannerConfig => ({
    ...of,
    flavours: of.flavours.slice(1),
    divisions: of.divisions.map((one) => ({ ...one, quota: one.quota.slice(1), flavours: one.flavours.slice(1) })),
  });
  const machine = (name: string) => (of: PlannerConfig) => ({
    ...of,
    nodes: ['m1', 'm2'].map((node) => {
      const capacity = { gpu: 2000 };
      return { name: node, flavour: 'east/h100', capacity, cordoned: node === name };
    }),
  });

  test.each([
    ['its pool is cordoned', true, h100({ cordoned: true })],
    ['its pool’s provider is away', true, h100({ away: 'connect ECONNREFUSED' })],
    ['its flavour is declared no more', true, spotOnly],
    ['a machine of it is cordoned', true, machine('m1')],
    ['another machine is cordoned', false, machine('m2')],
  ])('nothing starts once %s: %s', (_what, isClosed, change) => {
    expect(closed(change)).toBe(isClosed);
  });
});

describe('an admission', () => {
  test('names pool, flavour, nodes and the price of the whole lease', () => {
    put(booking({ resources: { gpus: 1 }, num_nodes: 3, lease: '2h' }));
    const [only] = plan.decide(NOW + 100).admitted;
    expect(only?.placement).toMatchObject({
      pool: 'east',
      flavour: 'h100',
      gpuMilli: '3000',
      nodes: 3,
      holdCents: '1800',
      centsPerUnitHour: '300',
    });
  });

  test.each([
    ['spot flavours only, where it says so', { resources: { gpus: 1, use_spot: true } }, 'spot'],
    ['none, where it says so', { resources: { gpus: 1, use_spot: false } }, 'h100'],
    ['the GPU type that it asks for', { resources: { accelerators: 'h100:1' } }, 'h100'],
  ])('is of %s', (_what, file, expected) => {
    put(booking(file));
    expect(plan.decide(NOW + 100).admitted[0]?.placement.flavour).toBe(expected);
  });

  test('of a job that names no kind is where its division tries first', () => {
    plan = new TenantPlan(
      facts({ flavours: ['east/spot', 'east/h100'] }),
      new Planner(config({ flavours: ['east/spot', 'east/h100'] })),
    );
    for (let i = 0; i < 2; i++) put(booking({ resources: { gpus: 4 } }));
    expect(plan.decide(NOW + 100).admitted.map(({ placement }) => placement.flavour)).toEqual(['spot', 'h100']);
  });

  /** With a second pool, whose flavour the division tries last. */
  const withWest = (): PlannerConfig => ({
    ...config({
      quota: [...division().quota, { ...division().quota[0]!, flavour: 'west/h100' }],
      flavours: ['east/h100', 'east/spot', 'west/h100'],
    }),
    flavours: [...config().flavours, { ...flavour('h100', false), id: 'west/h100', pool: 'west' }],
  });

  test('is in the first of the pools that it names, whatever flavour its division tries first', () => {
    plan = new TenantPlan({ ...facts(), config: withWest() }, new Planner(withWest()));
    put(booking({ resources: { gpus: 1 }, pools: ['west', 'east'] }));
    put(booking({ resources: { gpus: 1 }, pools: ['east', 'west'] }));
    expect(plan.decide(NOW + 100).admitted.map(({ placement }) => placement.pool)).toEqual(['west', 'east']);
  });

  test('of an off-peak job is in the first window of any of its pools', () => {
    const offPeak = new Map([
      ['east', [{ fromMs: NOW + 5 * HOUR, untilMs: NOW + 8 * HOUR }]],
      ['west', [{ fromMs: NOW + HOUR, untilMs: NOW + 4 * HOUR }]],
    ]);
    plan = new TenantPlan({ ...facts(), config: withWest(), offPeak }, new Planner(withWest()));
    put(booking({ resources: { gpus: 1 }, pools: ['east', 'west'], schedule: { window: 'off-peak' } }));
    expect(admitted()).toEqual([]);
    expect(plan.nextWakeMs(NOW + 100)).toBe(NOW + HOUR);
    expect(plan.decide(NOW + HOUR).admitted).toHaveLength(1);
  });

  test('is on the machines that the planner chose, and holds them while it runs', () => {
    const machines = ['m1', 'm2'].map((name) => ({
      name,
      flavour: 'east/h100',
      capacity: { gpu: 2000 },
      cordoned: false,
    }));
    const placed = { ...facts(), config: { ...config(), nodes: machines } };
    plan = new TenantPlan(placed, new Planner(placed.config));
    const first = put(booking({ resources: { gpus: 2, use_spot: false } }));
    const [taken] = plan.decide(NOW + 100).admitted;
    expect(taken?.placement.machines).toEqual([{ node: 'm1', replicas: 1 }]);
    put(running(first, 'h100', { placement: taken?.placement }));
    put(booking({ resources: { gpus: 2, use_spot: false } }));
    expect(plan.decide(NOW + 200).admitted[0]?.placement.machines).toEqual([{ node: 'm2', replicas: 1 }]);
  });

  test('of a job that prefers spot is there, and elsewhere once that is full', () => {
    put(booking({ resources: { gpus: 4 } }, newBooking(), { prefersSpot: true }));
    put(booking({ resources: { gpus: 4 } }, newBooking(), { prefersSpot: true }));
    expect(plan.decide(NOW + 100).admitted.map(({ placement }) => placement.flavour)).toEqual(['spot', 'h100']);
  });

  test('of an off-peak job waits for a window of its pools, where there are any', () => {
    const windows = { ...facts(), offPeak: new Map([['east', [{ fromMs: NOW + HOUR, untilMs: NOW + 3 * HOUR }]]]) };
    plan = new TenantPlan(windows, new Planner(windows.config));
    put(booking({ resources: { gpus: 1 }, schedule: { window: 'off-peak' } }));
    expect(admitted()).toEqual([]);
    expect(plan.explain('b1', NOW + 100).planned?.reasons.map((reason) => reason.code)).toContain('window_closed');
    expect(plan.decide(NOW + HOUR).admitted).toHaveLength(1);
    plan = new TenantPlan(facts(), new Planner(config()));
    put(booking({ resources: { gpus: 1 }, schedule: { window: 'off-peak' } }));
    expect(admitted()).toEqual(['b2']);
  });

  test('of a GPU type that no pool has can never be', () => {
    put(booking({ resources: { accelerators: 'B200:1' } }));
    const { refused } = plan.decide(NOW + 100);
    expect(refused.map(({ type }) => type)).toEqual(['declare_infeasible']);
  });

  test('holds what it was given until it is put back, and is then planned again', () => {
    const first = put(booking());
    put(booking({ resources: { gpus: 4, use_spot: false } }));
    expect(admitted()).toEqual(['b1']);
    expect(admitted()).toEqual([]);
    put(withState(first, failed));
    expect(admitted()).toEqual(['b2']);
  });

  test('that could not be reserved is tried again at its time', () => {
    const first = put(booking());
    expect(admitted()).toEqual(['b1']);
    plan.put({ booking: first, needs: new Map() }, NOW + 5_000);
    expect(admitted()).toEqual([]);
    expect(plan.nextWakeMs(NOW + 100)).toBe(NOW + 5_000);
    expect(plan.decide(NOW + 5_000).admitted).toHaveLength(1);
  });
});

test('what drains still runs in its pool, what is on its way there does not, nor does what runs elsewhere', () => {
  const reason = { code: 'preempted', text: 'makes room', mend: 'nothing', for: 'b9' };
  const one = () => booking({ resources: { gpus: 1 } });
  put(running(one()));
  put(running(one(), 'h100', { state: 'draining', deadlineMs: NOW + HOUR, outcome: 'retry', reason }));
  put(running(one(), 'h100', { state: 'requesting' }));
  expect(plan.runningIn('east')).toBe(2);
  expect(plan.runningIn('west')).toBe(0);
});

test('money alone that backs off is admitted at its time, once', () => {
  const money = { cents: '500', currency: 'USD', purpose: 'labels' };
  const one = booking({}, { ...newBooking(), notBeforeMs: NOW + 5_000 } as BookingState, { money });
  put(one);
  expect(plan.decide(NOW + 4_999).admitted).toEqual([]);
  expect(plan.nextWakeMs(NOW + 4_999)).toBe(NOW + 5_000);
  const starts = [5_000, 5_001].map((ms) => plan.decide(NOW + ms).admitted.map(({ placement }) => placement.holdCents));
  expect(starts).toEqual([['500'], []]);
});

test.each([
  ['its own', 8_000, 5_000],
  ['that of who could not reserve it', 5_000, 8_000],
])('of two back-offs the longer counts: %s', (_whose, ownMs, otherMs) => {
  const one = booking({}, { ...newBooking(), notBeforeMs: NOW + ownMs } as BookingState);
  plan.put({ booking: one, needs: new Map() }, NOW + otherMs);
  expect(plan.decide(NOW + 7_999).admitted).toEqual([]);
  expect(plan.decide(NOW + 8_000).admitted).toHaveLength(1);
});

test('a booking of a division that is not configured, or no more, can never start, and keeps nobody else', () => {
  put(booking({ division: 'nobody', resources: { gpus: 1 } }));
  put(booking({ resources: { gpus: 1 } }));
  const { refused, admitted: started } = plan.decide(NOW + 100);
  expect(refused.map(({ booking: { bookingId }, type }) => [bookingId, type])).toEqual([['b1', 'declare_infeasible']]);
  expect(started.map(({ booking: { bookingId } }) => bookingId)).toEqual(['b2']);
  put(booking({ resources: { gpus: 1 } }));
  plan.setFacts({ ...facts(), config: { ...config(), divisions: [] } });
  expect(plan.decide(NOW + 200).refused.map(({ booking: { bookingId } }) => bookingId)).toContain('b3');
});

describe('a waiting booking is kept from the planner', () => {
  test('by a hold, until it is let go', () => {
    const one = booking({}, { ...newBooking(), held: { by: 'ada', atMs: NOW } } as BookingState);
    put(one);
    expect(admitted()).toEqual([]);
    expect(gatesOf('b1')).toEqual(['held']);
    put(withState(one, { ...newBooking() }));
    expect(admitted()).toEqual(['b1']);
  });

  test('by a job it depends on, until that has ended well', () => {
    const first = put(booking({ resources: { gpus: 1 } }));
    put(booking({ resources: { gpus: 1 } }), { b1: 'waiting' });
    expect(admitted()).toEqual(['b1']);
    expect(gatesOf('b2')).toEqual(['dependency']);
    put(withState(first, released));
    expect(admitted()).toEqual(['b2']);
  });

  test('by a job that ended badly it is rejected, at once or as soon as that is known', () => {
    put(booking({ resources: { gpus: 1 } }), { gone: 'failed' });
    const second = put(booking({ resources: { gpus: 1 } }));
    put(booking({ resources: { gpus: 1 } }), { b2: 'waiting' });
    expect(
      plan.decide(NOW + 100).refused.map(({ booking: { bookingId }, reason }) => [bookingId, reason.code]),
    ).toEqual([['b1', 'dependency_failed']]);
    put(withState(second, failed));
    expect(plan.decide(NOW + 100).refused.map(({ booking: { bookingId } }) => bookingId)).toEqual(['b1', 'b3']);
  });

  test('by a job that came and went unheard until it is asked after; how that ended is final', () => {
    const first = booking({ resources: { gpus: 1 } });
    const second = put(booking({ resources: { gpus: 1 } }), { b1: 'waiting' });
    expect([...plan.awaited()]).toEqual(['b1']);
    expect(admitted()).toEqual([]);
    put(withState(first, released));
    expect([...plan.awaited()]).toEqual([]);
    put(second, { b1: 'waiting' });
    expect([...plan.awaited()]).toEqual([]);
    expect(admitted()).toEqual(['b2']);
  });

  test('by a job of which a later look tells more', () => {
    const second = put(booking({ resources: { gpus: 1 } }), { gone: 'waiting' });
    put(second, { gone: 'failed' });
    expect(plan.decide(NOW + 100).refused.map(({ reason }) => reason.code)).toEqual(['dependency_failed']);
  });

  test('by the width of its array, task after task', () => {
    const task = (index: number) =>
      booking({ resources: { gpus: 1 } }, newBooking(), { array: { count: 3, maxParallel: 1, index, id: 'b1' } });
    const tasks = [put(task(0)), put(task(1)), put(task(2))];
    expect(admitted()).toEqual(['b1']);
    expect(gatesOf('b2')).toEqual(['array_full']);
    put(running(tasks[0]!));
    expect(admitted()).toEqual([]);
    put(withState(tasks[0]!, released));
    expect(admitted()).toEqual(['b2']);
    put(withState(tasks[1]!, failed));
    expect(admitted()).toEqual(['b3']);
  });

  test('by the width of its array, also where a task that runs is read after those that wait', () => {
    const task = (index: number) =>
      booking({ resources: { gpus: 1 } }, newBooking(), { array: { count: 3, maxParallel: 1, index, id: 'b1' } });
    const tasks = [task(0), task(1), task(2)];
    put(tasks[0]!);
    put(running(tasks[2]!));
    put(tasks[1]!);
    expect(admitted()).toEqual([]);
    put(withState(tasks[2]!, released));
    expect(admitted()).toEqual(['b1']);
  });

  test('by nothing once its deadline has passed: it has expired', () => {
    put(booking({ resources: { gpus: 4, use_spot: true } }));
    put(
      booking({
        resources: { gpus: 4, use_spot: true },
        schedule: { deadline: new Date(NOW + HOUR / 2).toISOString() },
      }),
    );
    expect(admitted()).toEqual(['b1']);
    expect(plan.nextWakeMs(NOW + 100)).toBeLessThanOrEqual(NOW + HOUR / 2);
    expect(plan.decide(NOW + HOUR / 2).refused.map(({ type, reason }) => [type, reason.code])).toEqual([
      ['expire', 'deadline_passed'],
    ]);
  });
});

describe('a victim', () => {
  const urgent = { resources: { gpus: 4, use_spot: false }, priority: 10 };

  test('is owed its notice until it is seen to leave, and is not taken twice', () => {
    const low = put(booking({ resources: { gpus: 4, use_spot: false } }));
    expect(admitted()).toEqual(['b1']);
    put(running(low));
    put(booking(urgent));
    const { preempted } = plan.decide(NOW + 100);
    expect(preempted.map(({ decision }) => decision)).toMatchObject([{ id: 'b1', for: 'b2', how: 'evict' }]);
    for (const one of preempted) plan.owe(one);
    expect(plan.decide(NOW + 200).preempted).toEqual([]);
    expect(plan.owed()).toHaveLength(1);
    // Its own step moved it meanwhile: it is still owed.
    put({ ...running(low), version: 5n });
    expect(plan.owed()).toHaveLength(1);
    expect(plan.decide(NOW + 300).preempted).toEqual([]);
    const reason = { code: 'preempted', text: 'makes room', mend: 'nothing', for: 'b2' };
    put(running(low, 'h100', { state: 'draining', deadlineMs: NOW + 500, outcome: 'retry', reason }));
    expect(plan.owed()).toEqual([]);
    put(running(low, 'h100', { state: 'releasing', outcome: 'retry', reason }));
    expect(plan.decide(NOW + 400).preempted).toEqual([]);
    put(withState(low, { ...newBooking(), attempt: 2 }));
    expect(admitted()).toEqual(['b2']);
  });
});

test('what runs in a pool that is being drained has to leave it, and nothing else', () => {
  const one = put(booking({ resources: { gpus: 1 } }));
  put(running(one));
  put(booking({ resources: { gpus: 1 } }));
  const reason = { code: 'preempted', text: 'makes room', mend: 'nothing' };
  const leaves = { state: 'draining', deadlineMs: NOW + HOUR, outcome: 'retry', reason };
  put(running(booking({ resources: { gpus: 1 } }), 'h100', leaves));
  expect(plan.decide(NOW + 100).leaving).toEqual([]);
  plan.setFacts({ ...facts(), draining: new Set(['east']) });
  expect(plan.decide(NOW + 200).leaving.map(({ booking: { bookingId }, pool }) => [bookingId, pool])).toEqual([
    ['b1', 'east'],
  ]);
});

test('what runs on a machine that is being drained has to leave it, and what runs on others of its pool stays', () => {
  for (const node of ['m1', 'm2']) {
    const one = running(booking({ resources: { gpus: 1 } }));
    const { placement } = one.state as { placement: object };
    put(withState(one, { ...one.state, placement: { ...placement, machines: [{ node, replicas: 1 }] } }));
  }
  plan.setFacts({ ...facts(), drainingMachines: new Set(['east/m2']) });
  expect(plan.decide(NOW + 100).leaving.map(({ booking: { bookingId }, machine }) => [bookingId, machine])).toEqual([
    ['b2', 'm2'],
  ]);
});

describe('a lease that was made longer', () => {
  const extension = { byMs: 2 * HOUR, actor: 'ada', askedAtMs: NOW };

  test('ends when it does now: who waits for its room is told that', () => {
    const granted = { ...extension, state: 'granted', holdCents: '600' };
    const leases = { leaseEndsAtMs: NOW + 3 * HOUR, extensions: [granted] };
    put(running(booking({ resources: { gpus: 4, use_spot: false } }), 'h100', leases));
    put(booking({ resources: { gpus: 4, use_spot: false } }));
    expect(admitted()).toEqual([]);
    expect(plan.explain('b2', NOW + 100).planned?.etaMs).toBe(NOW + 3 * HOUR);
  });

  test.each([
    ['holds its price while it is on its way', { state: 'holding', holdCents: '200' }, []],
    ['holds nothing yet where it is only asked for', { state: 'asked' }, ['b2']],
  ])('%s', (_rule, state, expected) => {
    // Of 700 cents 300 are held for what runs, and 300 asked for.
    const little = { budgets: [{ currency: 'USD', limitMinor: 700n, spentMinor: 0n }] };
    plan = new TenantPlan(facts(little), new Planner(config(little)));
    put(running(booking({ resources: { gpus: 1 } }), 'h100', { extensions: [{ ...extension, ...state }] }));
    put(booking({ resources: { gpus: 1, use_spot: false } }));
    expect(admitted()).toEqual(expected);
  });
});

test('pools that change are reckoned with, and money that changes disturbs nobody', () => {
  put(booking({ resources: { gpus: 4 } }));
  put(booking({ resources: { gpus: 4 } }));
  plan.setFacts(facts({ budgets: [{ currency: 'USD', limitMinor: 1n, spentMinor: 0n }] }));
  expect(admitted()).toEqual([]);
  plan.setFacts(facts());
  expect(admitted()).toEqual(['b1', 'b2']);
  put(booking({ resources: { gpus: 6 } }));
  const raised = division().quota.map((quota) => ({ ...quota, nominalMilli: 16_000 }));
  const grown = facts({ quota: raised });
  plan.setFacts({
    ...grown,
    config: { ...grown.config, flavours: grown.config.flavours.map((one) => ({ ...one, capacity: { gpu: 16_000 } })) },
  });
  expect(admitted()).toEqual(['b3']);
});

describe('a booking that a provider refused', () => {
  const refusedAt = (...places: readonly [string, number][]) => ({
    ...newBooking(),
    passedOver: places.map(([place, untilMs]) => ({ place, untilMs, code: 'no_capacity', times: 1 })),
  });
  const flavourAt = (nowMs: number) => plan.decide(nowMs).admitted[0]?.placement.flavour;

  test('is tried elsewhere at once', () => {
    put(booking({}, refusedAt(['east/h100', NOW + 5_000])));
    expect(flavourAt(NOW + 100)).toBe('spot');
  });

  test('everywhere is tried where its time comes first, and not before', () => {
    put(booking({}, refusedAt(['east/h100', NOW + 9_000], ['east/spot', NOW + 5_000])));
    expect(flavourAt(NOW + 4_999)).toBeUndefined();
    expect(plan.nextWakeMs(NOW + 4_999)).toBe(NOW + 5_000);
    expect(flavourAt(NOW + 5_000)).toBe('spot');
  });

  test('waits for the others’ room, and takes the place that refused it once its time has come', () => {
    put(running(booking(), 'spot'));
    put(booking({}, refusedAt(['east/h100', NOW + 5_000])));
    expect(flavourAt(NOW + 100)).toBeUndefined();
    expect(gatesOf('b2')).toEqual(['passed_over']);
    expect(plan.nextWakeMs(NOW + 100)).toBe(NOW + 5_000);
    expect(flavourAt(NOW + 5_000)).toBe('h100');
  });

  test('is not taken for one that can never start because the other places could never hold it', () => {
    put(booking({ budget: { max_cost: '5.00' } }, refusedAt(['east/spot', NOW + 5_000])));
    expect(plan.decide(NOW + 100)).toMatchObject({ refused: [], admitted: [] });
    expect(flavourAt(NOW + 5_000)).toBe('spot');
  });

  test('and that backs off, keeps its back-off where the other places could never hold it', () => {
    const waits = { ...refusedAt(['east/spot', NOW + 5_000]), notBeforeMs: NOW + 8_000 };
    put(booking({ budget: { max_cost: '5.00' } }, waits));
    expect(flavourAt(NOW + 100)).toBeUndefined();
    expect(flavourAt(NOW + 7_999)).toBeUndefined();
    expect(flavourAt(NOW + 8_000)).toBe('spot');
  });
});
