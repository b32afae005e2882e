import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  advance,
  type BookingEvent,
  type BookingState,
  holdsQuota,
  isEnded,
  newBooking,
  TRANSITIONS,
} from '../../../core/booking.ts';

const placement = {
  pool: 'p',
  flavour: 'f',
  provider: 'local',
  gpuMilli: '0',
  cpuMilli: '1000',
  holdCents: '10',
  currency: 'USD',
  centsPerUnitHour: '10',
};
const policy = { decisionId: 'd', policyVersion: 'v1', requestHash: 'a'.repeat(64), signatures: 0 };
const reason = { code: 'x', text: 'x', mend: 'x' };
const handle = { provider: 'local', id: 'm-1' };

const EVENTS: readonly BookingEvent[] = [
  { type: 'signatures_required', policy },
  { type: 'quorum_met' },
  { type: 'reserve', placement, policy },
  { type: 'hold_granted', holdId: 'h' },
  { type: 'request_unknown' },
  { type: 'accepted', handle },
  { type: 'apply', atMs: 1, leaseEndsAtMs: 2, policy },
  { type: 'apply', atMs: 1, leaseEndsAtMs: 2, policy: { ...policy, requestHash: 'b'.repeat(64) } },
  { type: 'drain', deadlineMs: 1, outcome: 'cancelled', reason },
  { type: 'release', outcome: 'released', reason, atMs: 2 },
  { type: 'release', outcome: 'retry', reason, atMs: 2 },
  { type: 'release', outcome: 'cancelled', reason, atMs: 2 },
  { type: 'released', notBeforeMs: 5 },
  { type: 'reject', reason },
  { type: 'declare_infeasible', reason },
  { type: 'expire', reason },
  { type: 'cancel', reason },
];

/** Walks from a new booking; every third pick is any event, the others choose among those that are legal. */
function walk(picks: readonly number[]): BookingState[] {
  const states: BookingState[] = [newBooking()];
  for (const [i, pick] of picks.entries()) {
    const current = states.at(-1) as BookingState;
    const legal = EVENTS.filter((event) => advance(current, event) !== undefined);
    const pool = i % 3 === 2 || legal.length === 0 ? EVENTS : legal;
    const next = advance(current, pool[pick % pool.length] as BookingEvent);
    if (next !== undefined) states.push(next);
  }
  return states;
}

const picks = fc.array(fc.nat(EVENTS.length - 1), { maxLength: 60 });

describe('a booking', () => {
  test('takes only the transitions that are listed, whatever events arrive', () => {
    fc.assert(
      fc.property(picks, (chosen) => {
        const states = walk(chosen);
        for (let i = 1; i < states.length; i++) {
          const [from, to] = [(states[i - 1] as BookingState).state, (states[i] as BookingState).state];
          if (from !== to) expect(TRANSITIONS[from]).toContain(to);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('that ended never moves again', () => {
    fc.assert(
      fc.property(picks, (chosen) => {
        const last = walk(chosen).at(-1) as BookingState;
        if (isEnded(last.state)) for (const event of EVENTS) expect(advance(last, event)).toBeUndefined();
      }),
    );
  });

  test('reaches every state that the table names', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(picks, (chosen) => {
        for (const state of walk(chosen)) seen.add(state.state);
      }),
      { numRuns: 5000, seed: 7 },
    );
    expect([...seen].sort()).toEqual(
      Object.keys(TRANSITIONS)
        .filter((name) => !['failed', 'revoked'].includes(name))
        .sort(),
    );
    // `failed` and `revoked` are outcomes of releasing like the others.
    for (const outcome of ['failed', 'revoked', 'expired'] as const) {
      const releasing = advance(running(), { type: 'release', outcome, reason, atMs: 3 }) as BookingState;
      expect(advance(releasing, { type: 'released', notBeforeMs: 0 })?.state).toBe(outcome);
    }
  });

  test('holds quota exactly in the states between reservation and release', () => {
    expect(Object.keys(TRANSITIONS).filter((name) => holdsQuota(name as BookingState['state']))).toEqual([
      'reserved',
      'requesting',
      'confirming',
      'applied',
      'draining',
      'releasing',
    ]);
  });

  test('is not applied on a policy answer for another request', () => {
    const confirming = advance(requesting(), { type: 'accepted', handle }) as BookingState;
    expect(
      advance(confirming, {
        type: 'apply',
        atMs: 1,
        leaseEndsAtMs: 2,
        policy: { ...policy, requestHash: 'c'.repeat(64) },
      }),
    ).toBeUndefined();
    expect(
      advance(confirming, { type: 'apply', atMs: 1, leaseEndsAtMs: 2, policy: { ...policy, policyVersion: 'v2' } }),
    ).toMatchObject({ state: 'applied', policy: { policyVersion: 'v2' } });
  });

  test('remembers whom it made room for, each once, through its further attempts', () => {
    let state: BookingState = newBooking();
    const preemptedFor = (id: string) => {
      const placed = advance(state, { type: 'reserve', placement, policy }) as BookingState;
      const left = advance(placed, { type: 'release', outcome: 'retry', reason: { ...reason, for: id }, atMs: 3 });
      state = advance(left as BookingState, { type: 'released', notBeforeMs: 0 }) as BookingState;
    };
    for (const id of ['a', 'b', 'a']) preemptedFor(id);
    expect(state).toMatchObject({ state: 'waiting', attempt: 4, leftFor: ['b', 'a'] });
    for (let i = 0; i < 20; i++) preemptedFor(`c${i}`);
    expect(state).toMatchObject({ leftFor: Array.from({ length: 16 }, (_, i) => `c${i + 4}`) });
  });

  test('whose release is a retry waits as its next attempt with the reason kept', () => {
    const releasing = advance(requesting(), { type: 'release', outcome: 'retry', reason, atMs: 3 }) as BookingState;
    expect(advance(releasing, { type: 'released', notBeforeMs: 99 })).toEqual({
      state: 'waiting',
      attempt: 2,
      reasons: [reason],
      notBeforeMs: 99,
    });
  });

  test('remembers the places that refused it, the newest refusal of each, and at most 16', () => {
    const at = (place: string, times: number) => ({ place, untilMs: 9, code: 'no_capacity', times });
    const refuse = (from: BookingState, place: string, times: number) => {
      const reserved = advance(from, { type: 'reserve', placement, policy }) as BookingState;
      const left = advance(reserved, { type: 'release', outcome: 'retry', reason, atMs: 3 }) as BookingState;
      return advance(left, { type: 'released', notBeforeMs: 0, passOver: at(place, times) }) as BookingState;
    };
    let state = refuse(refuse(refuse(newBooking(), 'a/x', 1), 'b/x', 1), 'a/x', 2);
    expect(state).toMatchObject({ passedOver: [at('b/x', 1), at('a/x', 2)] });
    for (let i = 0; i < 20; i++) state = refuse(state, `c${i}/x`, 1);
    expect(state).toMatchObject({ passedOver: Array.from({ length: 16 }, (_, i) => at(`c${i + 4}/x`, 1)) });
  });
});

function requesting(): BookingState {
  const reserved = advance(newBooking(), { type: 'reserve', placement, policy }) as BookingState;
  return advance(reserved, { type: 'hold_granted', holdId: 'h' }) as BookingState;
}

function running(): BookingState {
  const confirming = advance(requesting(), { type: 'accepted', handle }) as BookingState;
  return advance(confirming, { type: 'apply', atMs: 1, leaseEndsAtMs: 2, policy }) as BookingState;
}
