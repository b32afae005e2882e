import { describe, expect, test } from 'vitest';
import type { Owned } from '../../../providers/provider.ts';
import { type OwnedAttempt, planSweep } from '../../../scheduler/reconcile/plan.ts';

const listed = (key: string, live = true): Owned => ({
  key,
  live,
  handle: { provider: 'ray', id: key, uid: undefined },
});
const owned = (key: string, state: OwnedAttempt['state'] = 'applied'): OwnedAttempt => ({ key, state });

describe('a sweep', () => {
  test('releases a resource that nobody owns only when it was seen twice', () => {
    const first = planSweep([listed('m-a-1')], [], new Set());
    expect(first).toEqual({ orphans: [], suspects: ['m-a-1'], halted: false });
    expect(planSweep([listed('m-a-1')], [], new Set(first.suspects)).orphans).toEqual(['m-a-1']);
  });

  test('leaves what a live booking owns, in every state that holds quota', () => {
    for (const state of ['reserved', 'requesting', 'confirming', 'applied', 'draining', 'releasing'] as const) {
      expect(planSweep([listed('m-a-1')], [owned('m-a-1', state)], new Set(['m-a-1'])).orphans).toEqual([]);
    }
  });

  test('reclaims the resource of a booking that has ended or waits for another attempt', () => {
    for (const state of ['cancelled', 'waiting', 'failed'] as const) {
      expect(planSweep([listed('m-a-1')], [owned('m-a-1', state)], new Set(['m-a-1'])).orphans).toEqual(['m-a-1']);
    }
  });

  test('does not touch a resource that has ended by itself', () => {
    expect(planSweep([listed('m-a-1', false)], [], new Set(['m-a-1']))).toEqual({
      orphans: [],
      suspects: [],
      halted: false,
    });
  });

  test('believes no list that lost more than a fifth of what runs', () => {
    const running = Array.from({ length: 20 }, (_, i) => owned(`m-${i}-1`));
    const list = (present: number) => [
      ...running.slice(0, present).map((attempt) => listed(attempt.key)),
      listed('m-orphan-1'),
    ];
    expect(planSweep(list(15), running, new Set(['m-orphan-1']))).toMatchObject({
      halted: true,
      orphans: [],
      suspects: ['m-orphan-1'],
    });
    expect(planSweep(list(16), running, new Set(['m-orphan-1']))).toMatchObject({
      halted: false,
      orphans: ['m-orphan-1'],
    });
  });

  test('misses what drains as what runs, and nothing that is listed as ended', () => {
    const drains = Array.from({ length: 5 }, (_, i) => owned(`m-${i}-1`, 'draining'));
    expect(planSweep([], drains, new Set()).halted).toBe(true);
    const ended = drains.map(({ key }) => listed(key, false));
    expect(planSweep(ended, drains, new Set()).halted).toBe(false);
  });
});
