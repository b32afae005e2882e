import { beforeEach, describe, expect, test } from 'vitest';
import { MAX_STEPS_IN_FLIGHT, MAX_STEPS_IN_POOL, MAX_STEPS_OF_TENANT } from '../../../../scheduler/apply/limits.ts';
import { type StepKind, StepSlots } from '../../../../scheduler/apply/step-slots.ts';

let slots: StepSlots;
beforeEach(() => {
  slots = new StepSlots();
});

/** `acme/east` and how many of it wait. */
const wait = (lane: string, count: number, kind: StepKind = 'due', from = 0) => {
  const [tenant = '', pool = ''] = lane.split('/');
  for (let i = from; i < from + count; i++) slots.wait(`${lane}/${kind}${i}`, { tenant, pool }, kind);
};
const takeAll = () => {
  const taken: string[] = [];
  for (let next = slots.take(); next !== undefined; next = slots.take()) taken.push(next.id);
  return taken;
};
const countOf = (ids: readonly string[], lane: string) => ids.filter((id) => id.startsWith(lane)).length;

describe('steps in flight', () => {
  test('are so many in a pool, and so many of a tenant, however many wait', () => {
    wait('acme/east', 100);
    expect(takeAll()).toHaveLength(MAX_STEPS_IN_POOL);
    for (const pool of ['west', 'north', 'south']) wait(`acme/${pool}`, 100);
    expect(takeAll()).toHaveLength(MAX_STEPS_OF_TENANT - MAX_STEPS_IN_POOL);
    wait('rival/east', 3);
    wait('rival/west', 3, 'admitted');
    expect(takeAll()).toHaveLength(6);
  });

  test('are so many together', () => {
    for (const tenant of ['a', 'b', 'c']) for (const pool of ['x', 'y', 'z']) wait(`${tenant}/${pool}`, 100);
    expect(takeAll()).toHaveLength(MAX_STEPS_IN_FLIGHT);
    expect(slots.take()).toBeUndefined();
  });

  test('make room when they end, for the pool that has waited longest', () => {
    wait('a/x', 100);
    wait('a/y', 100);
    wait('b/x', 100);
    wait('b/y', 100);
    const taken = takeAll();
    expect(taken).toHaveLength(MAX_STEPS_IN_FLIGHT);
    expect(countOf(taken, 'b/y')).toBe(MAX_STEPS_IN_POOL);
    slots.ended(taken.find((id) => id.startsWith('a/x'))!);
    expect(takeAll().map((id) => id.slice(0, 3))).toEqual(['a/x']);
  });
});

describe('of one pool', () => {
  test('what is due and what was admitted take turns, also where steps end one by one', () => {
    wait('acme/east', 100);
    const first = takeAll();
    wait('acme/east', 100, 'admitted');
    const kinds: string[] = [];
    for (const id of first.slice(0, 6)) {
      slots.ended(id);
      wait('acme/east', 1, 'due', 200 + kinds.length);
      kinds.push(...takeAll().map((next) => (next.includes('admitted') ? 'admitted' : 'due')));
    }
    expect(kinds).toEqual(['admitted', 'due', 'admitted', 'due', 'admitted', 'due']);
  });

  test('the first to wait is the first to be taken, and who waits twice is taken once', () => {
    wait('acme/east', 2);
    wait('acme/east', 3);
    expect(takeAll().map((id) => id.at(-1))).toEqual(['0', '1', '2']);
  });

  test('one that is in flight is not taken again before it ended', () => {
    wait('acme/east', 1);
    takeAll();
    wait('acme/east', 1);
    expect(takeAll()).toEqual([]);
    slots.ended('acme/east/due0');
    expect(takeAll()).toEqual(['acme/east/due0']);
  });
});

test('one that waits elsewhere, or for something else, waits for nothing else any more', () => {
  slots.wait('b1', { tenant: 'acme', pool: 'east' }, 'due');
  slots.wait('b1', { tenant: 'acme', pool: 'west' }, 'admitted');
  expect(slots.take()).toEqual({ id: 'b1', kind: 'admitted' });
  slots.ended('b1');
  expect(slots.take()).toBeUndefined();
  slots.wait('b1', { tenant: 'acme', pool: 'east' }, 'due');
  slots.forget('b1');
  expect(slots.take()).toBeUndefined();
});
