import { describe, expect, test } from 'vitest';
import type { PendingInput, RunningInput } from '../../../../pools/planner-input.ts';
import { Planner } from '../../../../scheduler/admission/planner.ts';
import { parseScenario } from '../../../../scheduler/admission/scenario.ts';
import { asks, at, type Doc, gpu, NOW, runs } from '../../../support/scenarios.ts';

/** A planner that is told of things one after the other. */
function started(scenario: Doc) {
  const { config, running, pending, nowMs } = parseScenario({
    apiVersion: 'merit/v1',
    kind: 'Scenario',
    now: NOW,
    ...scenario,
  });
  const planner = new Planner(config);
  for (const work of running) planner.addRunning(work);
  for (const ask of pending) planner.addPending(ask);
  const settle = (atMs = nowMs) => {
    const admitted: string[] = [];
    const preempted: string[] = [];
    for (let again = true; again; ) {
      const result = planner.cycle(atMs);
      admitted.push(...result.admitted.map(({ id }) => id));
      preempted.push(...result.preempted.map(({ id }) => id));
      again = result.again;
    }
    return { admitted, preempted };
  };
  return {
    config,
    planner,
    settle,
    nowMs,
    running: running as readonly RunningInput[],
    pending: pending as readonly PendingInput[],
  };
}

const alone = (size: number, more: Doc = {}): Doc => ({ divisions: [{ name: 'alpha', quota: gpu(size), ...more }] });
const nothing = { admitted: [], preempted: [] };

describe('a class that is parked', () => {
  test('wakes when exactly what it lacked is free', () => {
    const { planner, settle } = started({
      ...alone(4),
      running: [runs('a', 'alpha', 1), runs('b', 'alpha', 3)],
      pending: [asks('p', 'alpha', 4)],
    });
    expect(settle()).toEqual(nothing);
    planner.removeRunning('a');
    expect(settle()).toEqual(nothing);
    planner.removeRunning('b');
    expect(settle()).toEqual({ admitted: ['p'], preempted: [] });
  });

  test('wakes when a guard of its victims ends, and says when that is', () => {
    const { planner, settle, nowMs } = started({
      ...alone(4, { preemption: { own: 'lower' } }),
      guards: { minRunTime: '20m' },
      running: [runs('r', 'alpha', 4, { priority: -1 })],
      pending: [asks('p', 'alpha', 4)],
    });
    expect(settle()).toEqual(nothing);
    expect(planner.nextWakeMs(nowMs)).toBe(nowMs + 600_000);
    expect(settle(nowMs + 599_999)).toEqual(nothing);
    expect(settle(nowMs + 600_000)).toEqual({ admitted: [], preempted: ['r'] });
  });

  test('wakes when its budget is raised', () => {
    const { planner, settle } = started({
      ...alone(4),
      flavours: [{ name: 'od', price: '1.00' }],
      budgets: [{ division: 'alpha', limit: '2.00', spent: '1.50' }],
      pending: [asks('p', 'alpha', 1, { lease: '1h' })],
    });
    expect(settle()).toEqual(nothing);
    planner.setBudget('alpha', { currency: 'USD', limitMinor: 250n, spentMinor: 150n });
    expect(settle().admitted).toEqual(['p']);
  });

  test('wakes when what its budget held is given back', () => {
    const { planner, settle } = started({
      ...alone(4),
      flavours: [{ name: 'od', price: '1.00' }],
      budgets: [{ division: 'alpha', limit: '2.00' }],
      pending: [asks('p', 'alpha', 2, { lease: '1h', createdAt: at(-90) }), asks('q', 'alpha', 1, { lease: '1h' })],
    });
    expect(settle().admitted).toEqual(['p']);
    planner.removeRunning('p');
    expect(settle().admitted).toEqual(['q']);
  });

  test('is looked at anew under another configuration, with all that ran', () => {
    const { planner, settle } = started({
      ...alone(4),
      running: [runs('r', 'alpha', 2)],
      pending: [asks('p', 'alpha', 4)],
    });
    expect(settle()).toEqual(nothing);
    planner.setConfig(parseScenario({ apiVersion: 'merit/v1', kind: 'Scenario', ...alone(5) }).config);
    expect(settle()).toEqual(nothing);
    planner.setConfig(parseScenario({ apiVersion: 'merit/v1', kind: 'Scenario', ...alone(6) }).config);
    expect(settle().admitted).toEqual(['p']);
  });
});

describe('under another configuration', () => {
  test('what is leaving goes on leaving, and is told so once', () => {
    const { config, planner, settle } = started({
      ...alone(4, { preemption: { own: 'lower' } }),
      running: [runs('r', 'alpha', 4, { priority: -1 })],
      pending: [asks('p', 'alpha', 4)],
    });
    expect(settle().preempted).toEqual(['r']);
    planner.setConfig(config);
    expect(settle()).toEqual(nothing);
  });

  test('who preempted still goes first, before any priority', () => {
    const { config, planner, settle, pending } = started({
      ...alone(4, { preemption: { own: 'lower' } }),
      running: [runs('r', 'alpha', 4, { priority: -1 })],
      pending: [asks('p', 'alpha', 4)],
    });
    expect(settle().preempted).toEqual(['r']);
    planner.removeRunning('r');
    planner.setConfig(config);
    planner.addPending({ ...pending[0]!, id: 'high', priority: 5 });
    expect(settle().admitted).toEqual(['p']);
  });

  test('of what shrinks as much stays as did', () => {
    const { config, planner, settle, pending, nowMs } = started({
      groups: [{ name: 'org', parent: null }],
      divisions: [
        { name: 'alpha', group: 'org', quota: gpu(12), preemption: { reclaim: 'any' } },
        { name: 'beta', group: 'org', quota: gpu(0) },
      ],
      running: [runs('e', 'beta', 1, { replicas: 12, minReplicas: 6 })],
      pending: [asks('p', 'alpha', 6)],
    });
    expect(settle().preempted).toEqual(['e']);
    planner.setConfig(config);
    planner.addPending({ ...pending[0]!, id: 'q' });
    expect(settle()).toEqual(nothing);
    expect(planner.explain('q', nowMs).reasons.map(({ code }) => code)).not.toContain('awaiting_drain');
  });
});

describe('a head that waits for guards', () => {
  // 8 in all: alpha has 6, beta holds them with 2 of its own.
  const held = (guards: Doc, running: readonly Doc[]): Doc => ({
    groups: [{ name: 'org', parent: null }],
    divisions: [
      { name: 'alpha', group: 'org', quota: gpu(6), preemption: { reclaim: 'any' } },
      { name: 'beta', group: 'org', quota: gpu(2) },
    ],
    guards,
    running,
    pending: [asks('p', 'alpha', 6)],
  });
  const looked = (planner: Planner, atMs: number) => planner.cycle(atMs).waiting.map(({ id }) => id);
  const eight = Array.from({ length: 8 }, (_, i) => runs(`r${i}`, 'beta', 1));

  test('is not looked at for each that ends, nor for each guard that does', () => {
    const young = eight.map((one, i) => ({ ...one, startedAt: at(-600 + i) }));
    const { planner, settle, nowMs } = started(held({ minRunTime: '20m' }, young));
    expect(settle()).toEqual(nothing);
    planner.removeRunning('r7');
    expect(looked(planner, nowMs)).toEqual([]);
    expect(looked(planner, nowMs + 600_000)).toEqual([]);
    expect(looked(planner, nowMs + 601_000)).toEqual([]);
  });

  test('wakes when what was given back and guards that ended are enough together', () => {
    const young = eight.map((one, i) => ({ ...one, startedAt: at(-600 + i) }));
    const { planner, settle, nowMs } = started(held({ minRunTime: '20m' }, young));
    expect(settle()).toEqual(nothing);
    for (const id of ['r7', 'r6', 'r5']) planner.removeRunning(id);
    expect(settle(nowMs + 601_000)).toEqual(nothing);
    expect(planner.nextWakeMs(nowMs + 601_000)).toBe(nowMs + 602_000);
    expect(settle(nowMs + 602_000).preempted.sort()).toEqual(['r0', 'r1', 'r2']);
  });

  test('sleeps while its pool’s bucket is empty, until it holds one, or room is there', () => {
    const two = [runs('r0', 'beta', 4), runs('r1', 'beta', 4, { startedAt: at(-900) })];
    const guards = { rate: { burst: 1, perHour: 6 } };
    const { planner, settle, nowMs } = started({
      ...held(guards, two),
      pending: [asks('p', 'alpha', 3, { createdAt: at(-90) }), asks('q', 'alpha', 2)],
    });
    expect(settle()).toEqual({ admitted: [], preempted: ['r0'] });
    planner.removeRunning('r0');
    expect(settle(nowMs + 1)).toEqual({ admitted: ['p'], preempted: [] });
    expect(planner.nextWakeMs(nowMs + 1)).toBe(nowMs + 600_000);
    planner.removeRunning('p');
    expect(settle(nowMs + 2)).toEqual({ admitted: ['q'], preempted: [] });
  });

  test('is looked at again when its group has quota again by which it may take', () => {
    const one = (id: string, division: string) => runs(id, division, 1);
    const { planner, settle } = started({
      groups: [
        { name: 'org', parent: null },
        { name: 'team', parent: 'org', quota: gpu(4) },
      ],
      divisions: [
        { name: 'alpha', group: 'team', quota: gpu(0), preemption: { reclaim: 'any' } },
        { name: 'sister', group: 'team', quota: gpu(0) },
        { name: 'outside', group: 'org', quota: gpu(0) },
        { name: 'idle', group: 'org', quota: gpu(2) },
      ],
      running: [
        ...['s1', 's2', 's3'].map((id) => one(id, 'sister')),
        ...['o1', 'o2', 'o3'].map((id) => one(id, 'outside')),
      ],
      pending: [asks('p', 'alpha', 2)],
    });
    expect(settle()).toEqual(nothing);
    planner.removeRunning('s1');
    expect(settle()).toEqual({ admitted: [], preempted: ['o1'] });
  });
});

describe('what was preempted', () => {
  const newer = (id: string, seconds: number, leftFor: readonly string[]): PendingInput => ({
    ...parseScenario({
      apiVersion: 'merit/v1',
      kind: 'Scenario',
      now: NOW,
      ...alone(4),
      pending: [asks(id, 'alpha', 4, { createdAt: at(seconds) })],
    }).pending[0]!,
    leftFor,
  });
  const full = (more: Doc = {}) =>
    started({ ...alone(4, more), running: [runs('q', 'alpha', 4, { createdAt: at(-30), startedAt: at(-30) })] });

  test('for many waits as one class: what is found out about the first holds for all', () => {
    const { planner, nowMs } = full();
    for (let i = 0; i < 50; i++) planner.addPending(newer(`r${i}`, -900 + i, [`w${i}`]));
    const first = planner.cycle(nowMs);
    expect([first.waiting.map(({ id }) => id), first.again]).toEqual([['r0'], false]);
  });

  test('for another takes neither it nor what that left for, and does not hold back those that may', () => {
    const { planner, settle } = full({ preemption: { own: 'lower-or-newer' } });
    planner.addPending(newer('left', -900, ['q']));
    planner.addPending(newer('far', -800, ['left']));
    expect(settle()).toEqual(nothing);
    planner.addPending(newer('may', -700, ['other']));
    expect(settle()).toEqual({ admitted: [], preempted: ['q'] });
    expect(planner.explain('may', 0).reasons[0]?.code).toBe('awaiting_drain');
  });

  test('looks again when what it left for is forgotten', () => {
    const { planner, settle } = full({ preemption: { own: 'lower-or-newer' } });
    planner.addPending(newer('between', -950, ['q']));
    planner.addPending(newer('far', -800, ['between']));
    expect(settle()).toEqual(nothing);
    planner.removePending('between');
    expect(settle()).toEqual({ admitted: [], preempted: ['q'] });
  });
});

test('who preempted, and whose room went to somebody else, waits like everybody once nothing leaves for it any more', () => {
  const { planner, settle, running, pending } = started({
    divisions: ['alpha', 'beta'].map((name) => ({ name, quota: gpu(4), preemption: { own: 'lower' } })),
    running: [
      runs('r', 'alpha', 4, { priority: -1 }),
      runs('other', 'beta', 4, { draining: { for: 'q', until: at(600) } }),
    ],
    pending: [asks('p', 'alpha', 4), asks('q', 'beta', 4)],
  });
  expect(settle()).toEqual({ admitted: [], preempted: ['r'] });
  planner.removeRunning('r');
  planner.addRunning({ ...running.find(({ id }) => id === 'r')!, id: 'x', priority: 9 });
  expect(settle()).toEqual(nothing);
  planner.addPending({ ...pending[0]!, id: 'high', priority: 5 });
  planner.removeRunning('x');
  expect(settle().admitted).toEqual(['high']);
});

describe('a pool’s bucket of preemptions', () => {
  const HOUR_MS = 3_600_000;
  const preempting = (burst: number, perHour = 6) => {
    const all = started({
      groups: [{ name: 'org', parent: null }],
      divisions: [
        { name: 'a', group: 'org', quota: gpu(8), preemption: { reclaim: 'any' } },
        { name: 'b', group: 'org', quota: gpu(0) },
      ],
      guards: { rate: { burst, perHour } },
      running: [runs('r1', 'b', 4), runs('r2', 'b', 2), runs('r3', 'b', 2)],
      pending: [asks('one', 'a', 4)],
    });
    expect(all.settle().preempted).toEqual(['r1']);
    all.planner.removeRunning('r1');
    expect(all.settle().admitted).toEqual(['one']);
    const [one] = all.pending;
    const more = (size: number) => {
      const podSets = one!.podSets.map((podSet) => ({ ...podSet, resources: { gpu: size * 1000 } }));
      all.planner.addPending({ ...one!, id: 'two', podSets });
    };
    return { ...all, more };
  };

  test('never holds more than its burst, however long nobody preempted', () => {
    const { more, settle, nowMs } = preempting(1);
    more(4);
    expect(settle(nowMs + 10 * HOUR_MS).preempted).toEqual([]);
  });

  test('is waited for by who needs all that it can hold', () => {
    const { more, planner, settle, nowMs } = preempting(1);
    const fullMs = nowMs + HOUR_MS / 6;
    more(2);
    expect(settle().preempted).toEqual([]);
    expect(planner.nextWakeMs(nowMs)).toBe(fullMs);
    expect(settle(fullMs).preempted).toEqual(['r2']);
  });

  test('is waited for until it holds as many as are needed, to the millisecond', () => {
    const { more, planner, settle, nowMs } = preempting(2, 7);
    // One flows in within 514,285.7 ms.
    const fullMs = nowMs + 514_286;
    more(4);
    expect(settle().preempted).toEqual([]);
    expect(planner.nextWakeMs(nowMs)).toBe(fullMs);
    expect(settle(fullMs - 1).preempted).toEqual([]);
    expect(settle(fullMs).preempted.sort()).toEqual(['r2', 'r3']);
  });

  test('into which nothing flows is waited for by nobody once it is empty', () => {
    const { more, planner, settle, nowMs } = preempting(1, 0);
    more(2);
    expect(settle().preempted).toEqual([]);
    expect(planner.nextWakeMs(nowMs)).toBeNull();
  });

  test('that can hold none is waited for by nobody', () => {
    const { planner, settle, nowMs } = started({
      ...alone(4, { preemption: { own: 'lower' } }),
      guards: { rate: { burst: 0, perHour: 6 } },
      running: [runs('r', 'alpha', 4, { priority: -1 })],
      pending: [asks('p', 'alpha', 4)],
    });
    expect(settle()).toEqual(nothing);
    expect(planner.nextWakeMs(nowMs)).toBeNull();
  });

  test('is as empty under another configuration as it was', () => {
    const { config, more, planner, settle } = preempting(1);
    planner.setConfig(config);
    more(2);
    expect(settle().preempted).toEqual([]);
  });

  test('loses nothing to a clock that goes back', () => {
    const { more, settle, nowMs } = preempting(2);
    more(2);
    expect(settle(nowMs - HOUR_MS).preempted).toEqual(['r2']);
  });
});

test('what starts behind a slot leaves less beside it for the next', () => {
  const { settle } = started({
    groups: [{ name: 'org', parent: null }],
    divisions: ['a', 'b', 'c'].map((name) => ({
      name,
      group: 'org',
      quota: gpu(name === 'a' ? 10 : 0),
      preemption: { reclaim: 'any' },
    })),
    guards: { minRunTime: '9h' },
    running: [runs('r', 'b', 6, { leaseEndsAt: at(3600) })],
    // At its slot 10 are there and 8 are its own: 2 more fit beside it, once.
    pending: [
      asks('head', 'a', 8, { lease: '1h', createdAt: at(-900) }),
      asks('one', 'b', 2, { lease: '9h' }),
      asks('two', 'c', 2, { lease: '9h' }),
    ],
  });
  expect(settle().admitted).toEqual(['one']);
});

describe('with fair sharing the slot of a head that was blocked before', () => {
  // Of 20 to be borrowed c has 6 until the slot of a's head, which asks for 8.
  const later = (other: Doc, running: Doc) => {
    const { planner, settle, pending } = started({
      groups: [{ name: 'org', parent: null, quota: gpu(20) }],
      divisions: ['a', 'b', 'c', 'd'].map((name) => ({ name, group: 'org', quota: gpu(0) })),
      fairSharing: { enabled: true },
      running: [runs('r', 'c', 6, { leaseEndsAt: at(3600) }), running],
      pending: [asks('head', 'a', 8, { lease: '1h', createdAt: at(-300) }), asks('other', 'b', 5, other)],
    });
    planner.removePending('other');
    expect(settle()).toEqual(nothing);
    planner.addPending(pending.find(({ id }) => id === 'other')!);
    return settle().admitted;
  };

  test('delays who would have more than it, however old', () => {
    expect(later({ lease: '2h', createdAt: at(-900) }, runs('s', 'b', 8))).toEqual([]);
  });

  test('does not delay who would have less, however young', () => {
    expect(later({ lease: '2h', createdAt: at(-30) }, runs('s', 'd', 8))).toEqual(['other']);
  });
});

test('with fair sharing a division goes by the share of its blocked front, not of the head behind it', () => {
  const { planner, settle, pending } = started({
    groups: [{ name: 'org', parent: null, quota: gpu(10) }],
    divisions: ['a', 'b', 'c'].map((name) => ({ name, group: 'org', quota: gpu(0) })),
    fairSharing: { enabled: true },
    running: [runs('r', 'c', 4)],
    pending: [
      asks('front', 'a', 8, { createdAt: at(-900) }),
      asks('head', 'a', 3, { createdAt: at(-90) }),
      asks('other', 'b', 5),
    ],
  });
  for (const { id } of pending) if (id !== 'front') planner.removePending(id);
  expect(settle()).toEqual(nothing);
  for (const one of pending) if (one.id !== 'front') planner.addPending(one);
  expect(settle().admitted).toEqual(['other']);
});

test('who is blocked behind the first of its division keeps nothing', () => {
  const { planner, nowMs } = started({
    groups: [{ name: 'org', parent: null }],
    divisions: [
      { name: 'a', group: 'org', quota: gpu(8) },
      { name: 'b', group: 'org', quota: gpu(0) },
    ],
    running: [runs('r', 'b', 4)],
    pending: [
      asks('late', 'a', 8, { createdAt: at(-900), window: [{ from: at(3600), until: at(7200) }], lease: '30m' }),
      asks('second', 'a', 8, { createdAt: at(-90) }),
      asks('one', 'b', 1, { createdAt: at(-90) }),
      asks('two', 'b', 3),
    ],
  });
  const cycles = [1, 2].map(() => planner.cycle(nowMs));
  expect(cycles.map(({ admitted }) => admitted.map(({ id }) => id))).toEqual([['one'], ['two']]);
  expect(cycles[1]!.waiting.map(({ id }) => id)).toEqual(['second']);
});

test('a booking that goes away takes what it kept with it', () => {
  const { planner, settle } = started({
    groups: [{ name: 'org', parent: null }],
    divisions: [
      { name: 'a', group: 'org', quota: gpu(8) },
      { name: 'b', group: 'org', quota: gpu(0) },
    ],
    running: [runs('r', 'b', 4)],
    pending: [asks('own', 'a', 8, { createdAt: at(-900) }), asks('other', 'b', 4)],
  });
  expect(settle()).toEqual(nothing);
  planner.removePending('own');
  expect(settle().admitted).toEqual(['other']);
});
