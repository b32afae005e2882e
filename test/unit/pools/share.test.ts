import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareRatios, compareShares, type Share } from '../../../pools/share.ts';

const share = (borrowed: number, lendable: number, weightMilli = 1000): Share => ({ borrowed, lendable, weightMilli });

test('who does not borrow has less than who does, whatever the weights', () => {
  expect(compareShares(share(0, 10, 0), share(1, 10, 5000))).toBe(-1);
  expect(compareShares(share(1, 10, 5000), share(0, 10, 0))).toBe(1);
  expect(compareShares(share(0, 10, 0), share(0, 5, 1000))).toBe(0);
});

test('weight 0 while borrowing is more than any share, and of two such the ratio decides', () => {
  expect(compareShares(share(1, 1000, 0), share(999, 1000))).toBe(1);
  expect(compareShares(share(999, 1000), share(1, 1000, 0))).toBe(-1);
  expect(compareShares(share(1, 1000, 0), share(2, 1000, 0))).toBe(-1);
  expect(compareShares(share(3, 0), share(9, 10))).toBe(1);
});

test('shares beyond 2^53 are compared exactly, as integers and never rounded', () => {
  const big = Number.MAX_SAFE_INTEGER;
  expect(compareShares(share(big - 1, big, 1000), share(big - 2, big, 1000))).toBe(1);
  const value = fc.integer({ min: 1, max: big });
  const any = fc.record({ borrowed: value, lendable: value, weightMilli: fc.integer({ min: 1, max: 1_000_000 }) });
  fc.assert(
    fc.property(any, any, (a, b) => {
      const left = BigInt(a.borrowed) * BigInt(b.lendable) * BigInt(b.weightMilli);
      const right = BigInt(b.borrowed) * BigInt(a.lendable) * BigInt(a.weightMilli);
      expect(compareShares(a, b)).toBe(left < right ? -1 : left > right ? 1 : 0);
      const over = BigInt(a.borrowed) * BigInt(b.lendable) - BigInt(b.borrowed) * BigInt(a.lendable);
      expect(compareRatios(a.borrowed, a.lendable, b.borrowed, b.lendable)).toBe(over < 0n ? -1 : over > 0n ? 1 : 0);
    }),
  );
});
