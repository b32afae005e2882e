import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chargesOf, halfEven, spread } from '../../../../ledger/finops/charges.ts';

const at = (text: string) => Date.parse(text);
const HOUR = 3_600_000n;

describe('a settlement by days', () => {
  test('is one charge where it lies within one UTC day', () => {
    const charges = chargesOf({ endedAtMs: at('2026-11-02T12:00:00Z'), billedMs: 2n * HOUR, cents: 500n });
    expect(charges).toEqual([
      { fromMs: at('2026-11-02T10:00:00Z'), toMs: at('2026-11-02T12:00:00Z'), cents: 500n, residueCents: 0n },
    ]);
  });

  test('is cut at midnight, each part by its time, what rounding left over on the largest', () => {
    const charges = chargesOf({ endedAtMs: at('2026-11-03T01:00:00Z'), billedMs: 26n * HOUR, cents: 100n });
    expect(charges.map(({ toMs, cents, residueCents }) => [new Date(toMs).toISOString(), cents, residueCents])).toEqual(
      [
        ['2026-11-02T00:00:00.000Z', 4n, 0n],
        ['2026-11-03T00:00:00.000Z', 92n, 0n],
        ['2026-11-03T01:00:00.000Z', 4n, 0n],
      ],
    );
    const thirds = chargesOf({ endedAtMs: at('2026-11-04T00:00:00Z'), billedMs: 72n * HOUR, cents: 100n });
    expect(thirds.map(({ cents, residueCents }) => [cents, residueCents])).toEqual([
      [34n, 1n],
      [33n, 0n],
      [33n, 0n],
    ]);
  });

  test('that lasted no time is one charge all the same: it cost what the ledger says', () => {
    expect(chargesOf({ endedAtMs: 1_000, billedMs: 0n, cents: 0n })).toEqual([
      { fromMs: 999, toMs: 1_000, cents: 0n, residueCents: 0n },
    ]);
  });

  test('has the cents of the settlement in all, no gap and no overlap, and touches no two days in one charge', () => {
    const settlement = fc.record({
      endedAtMs: fc.integer({ min: at('2026-01-01T00:00:00Z'), max: at('2027-01-01T00:00:00Z') }),
      billedMs: fc.bigInt(1n, 40n * 24n * HOUR),
      cents: fc.bigInt(0n, 10n ** 12n),
    });
    fc.assert(
      fc.property(settlement, (of) => {
        const charges = chargesOf(of);
        expect(charges.reduce((sum, { cents }) => sum + cents, 0n)).toBe(of.cents);
        expect(charges[0]!.fromMs).toBe(of.endedAtMs - Number(of.billedMs));
        expect(charges.at(-1)!.toMs).toBe(of.endedAtMs);
        for (const [i, { fromMs, toMs }] of charges.entries()) {
          expect(toMs).toBeGreaterThan(fromMs);
          expect(Math.floor(fromMs / 86_400_000)).toBe(Math.floor((toMs - 1) / 86_400_000));
          if (i > 0) expect(fromMs).toBe(charges[i - 1]!.toMs);
        }
      }),
    );
  });
});

test.each([
  [1n, 2n, 0n],
  [3n, 2n, 2n],
  [5n, 2n, 2n],
  [7n, 3n, 2n],
  [8n, 3n, 3n],
  [-1n, 2n, 0n],
  [-3n, 2n, -2n],
  [-7n, 3n, -2n],
  [6n, 3n, 2n],
])('%d / %d is rounded half to even: %d', (n, d, rounded) => {
  expect(halfEven(n, d)).toBe(rounded);
});

test('every share but the largest is its own rounding, and the largest says by how much it is not', () => {
  const weights = fc
    .array(fc.bigInt(0n, 10n ** 9n), { minLength: 1, maxLength: 50 })
    .filter((all) => all.some((one) => one > 0n));
  fc.assert(
    fc.property(fc.bigInt(0n, 10n ** 9n), weights, (amount, all) => {
      const total = all.reduce((sum, weight) => sum + weight, 0n);
      const shares = spread(amount, all);
      expect(shares.reduce((sum, { cents }) => sum + cents, 0n)).toBe(amount);
      for (const [i, { cents, residueCents }] of shares.entries())
        expect(cents - residueCents).toBe(halfEven(amount * all[i]!, total));
      expect(shares.filter(({ residueCents }) => residueCents !== 0n).length).toBeLessThanOrEqual(1);
    }),
  );
});
