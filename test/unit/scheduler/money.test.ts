import { describe, expect, test } from 'vitest';
import { billingEnd, costOf } from '../../../scheduler/apply/money.ts';

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
