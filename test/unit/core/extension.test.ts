import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { advance, type BookingEvent, type BookingState, newBooking } from '../../../core/booking.ts';
import { extendedMs, MAX_EXTENSIONS, openExtension } from '../../../core/extension.ts';

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
const TO_APPLIED: readonly BookingEvent[] = [
  { type: 'reserve', placement, policy },
  { type: 'hold_granted', holdId: 'h' },
  { type: 'accepted', handle: { provider: 'local', id: 'm-1' } },
  { type: 'apply', atMs: 1, leaseEndsAtMs: 100, policy },
];
const ask = (byMs = 7): BookingEvent => ({ type: 'ask_extension', ask: { byMs, actor: 'ada', askedAtMs: 5 } });
const hold: BookingEvent = { type: 'hold_extension', holdCents: '4', policy };
const grant: BookingEvent = { type: 'grant_extension' };
const refuse: BookingEvent = { type: 'refuse_extension', reason };

function reached(...events: readonly BookingEvent[]): BookingState | undefined {
  let state: BookingState | undefined = newBooking();
  for (const event of [...TO_APPLIED, ...events]) state = state === undefined ? undefined : advance(state, event);
  return state;
}

describe('a longer lease', () => {
  test('changes its end and its price when it is granted, and neither before nor when it is refused', () => {
    const as = { leaseEndsAtMs: 100, placement: { holdCents: '10' } };
    for (const events of [[ask()], [ask(), hold], [ask(), refuse], [ask(), hold, refuse]])
      expect(reached(...events)).toMatchObject(as);
    expect(reached(ask(), hold, grant)).toMatchObject({ leaseEndsAtMs: 107, placement: { holdCents: '14' } });
    expect(reached(ask(), refuse, ask(3), hold, grant)).toMatchObject({ leaseEndsAtMs: 103, extensions: [{}, {}] });
  });

  test('goes on only in its order, one at a time, and only of what runs', () => {
    for (const events of [[hold], [grant], [refuse], [ask(), grant], [ask(), ask()], [ask(), hold, hold]])
      expect(reached(...events)).toBeUndefined();
    expect(advance(newBooking(), ask())).toBeUndefined();
    const draining: BookingEvent = { type: 'drain', deadlineMs: 9, outcome: 'cancelled', reason };
    for (const event of [hold, refuse]) expect(reached(ask(), draining, event)).toBeUndefined();
  });

  test('on its way is kept through drain and release, so that what it holds is found there', () => {
    const drain: BookingEvent = { type: 'drain', deadlineMs: 9, outcome: 'retry', reason };
    const release: BookingEvent = { type: 'release', outcome: 'retry', reason, atMs: 9 };
    const releasing = reached(ask(), hold, drain, release);
    expect(releasing).toMatchObject({ state: 'releasing', extensions: [{ state: 'holding', holdCents: '4' }] });
    const next = advance(releasing as BookingState, { type: 'released', notBeforeMs: 0 });
    expect(next).not.toHaveProperty('extensions');
    expect(next).not.toHaveProperty('carriedMs');
  });

  test('stays with the booking from attempt to attempt, whatever these come to; what was refused or not granted yet does not', () => {
    const again = (state: BookingState | undefined, ...events: readonly BookingEvent[]) =>
      events.reduce((before, event) => before && advance(before, event), state);
    const back: readonly BookingEvent[] = [
      { type: 'release', outcome: 'retry', reason, atMs: 9 },
      { type: 'released', notBeforeMs: 0 },
    ];
    const second = reached(ask(), hold, grant, ask(20), hold, ...back);
    expect(second).toMatchObject({ state: 'waiting', attempt: 2, carriedMs: 7 });
    const third = again(second, TO_APPLIED[0]!, ...back);
    expect(third).toMatchObject({ state: 'waiting', attempt: 3, carriedMs: 7 });
    const running = again(third, ...TO_APPLIED, ask(3), hold, grant);
    expect(running).toMatchObject({ state: 'applied', leaseEndsAtMs: 103 });
    expect(extendedMs(running as BookingState)).toBe(10);
    expect(again(running, ...back)).toMatchObject({ attempt: 4, carriedMs: 10 });
  });

  test('is asked for a limited number of times', () => {
    const refused = Array.from({ length: MAX_EXTENSIONS }, () => [ask(), refuse]).flat();
    expect(reached(...refused)).toBeDefined();
    expect(reached(...refused, ask())).toBeUndefined();
  });

  test('whatever is asked in whatever order, the end of the lease is the booked one and what was granted', () => {
    const events = fc.array(fc.constantFrom(ask(1), ask(20), hold, grant, refuse), { maxLength: 40 });
    fc.assert(
      fc.property(events, (chosen) => {
        let state = reached() as Extract<BookingState, { state: 'applied' }>;
        for (const event of chosen) state = (advance(state, event) as typeof state | undefined) ?? state;
        expect(state.leaseEndsAtMs).toBe(100 + extendedMs(state));
        const open = (state.extensions ?? []).filter((one) => one.state === 'asked' || one.state === 'holding');
        expect(open).toHaveLength(openExtension(state) === undefined ? 0 : 1);
      }),
    );
  });
});
