import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { check } from '../../../core/schema.ts';
import { centsOf, Money, moneyOf } from '../../../peers/money.ts';

const read = (amount: unknown, currency: unknown = 'EUR') => {
  const value = { amount, currency };
  const refusals = check(Money, value);
  return refusals.length > 0 ? refusals[0]!.code : centsOf('amount', value as Money);
};

describe('money on the wire', () => {
  it('comes back as the same integer in every scale', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 10n ** 18n - 1n }),
        fc.constantFrom('EUR', 'USD', 'JPY', 'KWD', 'CLF'),
        (cents, currency) => {
          const money = moneyOf(cents, currency);
          expect(check(Money, money)).toEqual([]);
          expect(centsOf('amount', money)).toBe(cents);
        },
      ),
    );
  });

  it('is written with the currency’s own scale', () => {
    expect(moneyOf(5n, 'EUR').amount).toBe('0.05');
    expect(moneyOf(1250n, 'EUR').amount).toBe('12.50');
    expect(moneyOf(1250n, 'JPY').amount).toBe('1250');
    expect(moneyOf(1250n, 'KWD').amount).toBe('1.250');
    expect(() => moneyOf(-1n, 'EUR')).toThrow();
  });

  it.each([
    'NaN',
    'Infinity',
    '-1.00',
    '-0.00',
    '+1.00',
    '1,000.00',
    '0x10',
    '1e3',
    '01.00',
    ' 1.00',
    '1.00 ',
    '.50',
    '1.',
    '',
    '1.00\n',
    '١.٠٠',
  ])('%j is refused', (amount) => expect(['charset', 'length']).toContain(read(amount)));

  it.each([12.5, null, true, Number.NaN, ['1.00'], { amount: '1.00' }])(
    '%j, which is not a string, is refused',
    (amount) => {
      expect(read(amount)).toBe('type');
    },
  );

  it('of another scale than its currency’s is refused, never rounded', () => {
    expect(read('1.5')).toMatchObject({ code: 'scale' });
    expect(read('1.500')).toMatchObject({ code: 'scale' });
    expect(read('1')).toMatchObject({ code: 'scale' });
    expect(read('1.00', 'JPY')).toMatchObject({ code: 'scale' });
    expect(read('1.00', 'eur')).toBe('charset');
    expect(read('1234567890123456789', 'JPY')).toMatchObject({ code: 'range' });
  });
});
