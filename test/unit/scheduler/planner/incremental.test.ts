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
