import { describe, expect, test } from 'vitest';
import type { Booking } from '../../../scheduler/apply/booking-store.ts';
import { PENDING_TIMEOUT_MS } from '../../../scheduler/apply/limits.ts';
import {
  billingEnd,
  costOf,
  postTransfers,
  reserveTransfers,
  returnTransfers,
} from '../../../scheduler/apply/money.ts';

const PLACEMENT = {
  pool: 'p',
  flavour: 'f',
  provider: 'ray',
  gpuMilli: '2000',
  cpuMilli: '8000',
  holdCents: '400',
  currency: 'USD',
  centsPerUnitHour: '100',
};

describe('what a booking costs', () => {
  test('is what its GPUs were used for, rounded up to the cent', () => {
    expect(costOf(PLACEMENT, 0, 1_800_000).cents).toBe(100n);
    expect(costOf(PLACEMENT, 0, 1).cents).toBe(1n);
    expect(costOf(PLACEMENT, 0, 0).cents).toBe(0n);
  });

  test('is never more than was held', () => {
    expect(costOf(PLACEMENT, 0, 86_400_000).cents).toBe(400n);
  });

  test.each([
    ['the end the provider tells', 150, 150],
    ['now, where it tells none', undefined, 900],
    ['the apply, where its clock is behind', 50, 100],
    ['now, where its clock is ahead', 5_000, 900],
  ])('ends at %s', (_what, told, expected) => {
    expect(billingEnd(100, told, 900)).toBe(expected);
  });
});

describe('what an attempt holds', () => {
  const booking = { bookingId: 'b1', tenant: 'acme', division: 'vision', spec: {} } as Booking;
  const atMs = Date.UTC(2026, 10, 26);

  test('is quota and money, of its own accounts, which time out together', () => {
    const held = reserveTransfers(booking, 2, PLACEMENT, atMs);
    expect(held).toEqual([
      {
        ...{ id: 'b1-2-quota', kind: 'pending', debit: 'capacity:acme:p:f:gpu', credit: 'quota:acme:vision:p:f:gpu' },
        ...{ amount: 2000n, expiresAtMs: atMs + PENDING_TIMEOUT_MS },
      },
      {
        ...{ id: 'b1-2-money', kind: 'pending', debit: 'budget:acme:vision:USD', credit: 'spend:acme:vision:USD' },
        ...{ amount: 400n, expiresAtMs: atMs + PENDING_TIMEOUT_MS },
      },
    ]);
    expect(postTransfers(booking, 2)).toEqual(
      held.map(({ id }) => ({ id: `${id}-post`, kind: 'post', pendingId: id })),
    );
  });

  test('goes back by the way it came: the quota whole, of the money what was not used', () => {
    const cost = costOf(PLACEMENT, 0, 1_800_000);
    expect(returnTransfers(booking, 2, PLACEMENT, cost)).toEqual([
      {
        ...{ id: 'b1-2-quota-return', kind: 'direct', debit: 'quota:acme:vision:p:f:gpu' },
        ...{ credit: 'capacity:acme:p:f:gpu', amount: 2000n },
      },
      {
        ...{ id: 'b1-2-money-refund', kind: 'direct', debit: 'spend:acme:vision:USD' },
        ...{ credit: 'budget:acme:vision:USD', amount: 300n },
      },
    ]);
  });
});
