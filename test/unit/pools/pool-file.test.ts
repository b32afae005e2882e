import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import { cents, parseBudget, parsePool } from '../../../pools/pool-file.ts';

const POOL = {
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: 'gpus-us-east',
  provider: { kind: 'ray' },
  flavours: [{ name: 'h100', resource: 'gpu', capacity: 8, price: { currency: 'USD', perUnitHour: '2.50' } }],
  quotas: { vision: { h100: 4 }, speech: { h100: 4 } },
};

function refused(file: unknown): string[] {
  try {
    parsePool(file);
  } catch (error) {
    if (error instanceof RefusedInput) return error.refusals.map((refusal) => refusal.code);
    throw error;
  }
  return [];
}

describe('a pool file', () => {
  test('whose quotas fill its capacity is taken', () => {
    expect(parsePool(POOL).quotas.vision).toEqual({ h100: 4 });
  });

  test.each([
    [
      'quotas past its capacity (G12)',
      { ...POOL, quotas: { vision: { h100: 5 }, speech: { h100: 4 } } },
      ['overcommit'],
    ],
    ['a quota of a flavour it lacks', { ...POOL, quotas: { vision: { a100: 1 } } }, ['unknown_flavour']],
    ['half a capacity (G11)', { ...POOL, flavours: [{ ...POOL.flavours[0], capacity: 1.5 }] }, ['integer']],
    [
      'a capacity that is no longer exact (G11)',
      { ...POOL, flavours: [{ ...POOL.flavours[0], capacity: 2 ** 53 }] },
      ['range'],
    ],
    [
      'a name in upper case, which would be told from another by case alone (G14)',
      { ...POOL, name: 'Train' },
      ['charset'],
    ],
    ['a capacity in words (G11)', { ...POOL, flavours: [{ ...POOL.flavours[0], capacity: '8' }] }, ['integer']],
    [
      'a negative capacity (G11)',
      { ...POOL, flavours: [{ ...POOL.flavours[0], capacity: -1 }] },
      ['range', 'overcommit'],
    ],
    ['one flavour twice', { ...POOL, flavours: [POOL.flavours[0], POOL.flavours[0]], quotas: {} }, ['duplicate']],
    [
      'a price of three decimals',
      { ...POOL, flavours: [{ ...POOL.flavours[0], price: { currency: 'USD', perUnitHour: '2.505' } }] },
      ['charset'],
    ],
  ])('is refused for %s', (_what, file, expected) => {
    expect(refused(file)).toEqual(expect.arrayContaining([expected[0]]));
  });

  test('may grant more than it has where it says so', () => {
    expect(refused({ ...POOL, overcommit: true, quotas: { vision: { h100: 9 } } })).toEqual([]);
  });

  test('reads money to the cent', () => {
    expect([cents('2.50'), cents('0'), cents('9007199254740.99')]).toEqual([250n, 0n, 900719925474099n]);
  });

  test('and a budget are refused in a currency without hundredths: Finance would be asked for another sum', () => {
    const priced = (currency: string) => ({
      ...POOL,
      flavours: [{ ...POOL.flavours[0], price: { currency, perUnitHour: '2.50' } }],
    });
    const budget = (currency: string) => () =>
      parseBudget({ apiVersion: 'merit/v1', kind: 'Budget', division: 'vision', currency, limit: '100.00' });
    for (const currency of ['JPY', 'KWD', 'CLF']) {
      expect(refused(priced(currency)), currency).toEqual(['currency']);
      expect(budget(currency), currency).toThrow(RefusedInput);
    }
    expect(refused(priced('EUR'))).toEqual([]);
    expect(budget('EUR')().limit).toBe('100.00');
  });
});
