import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_Q, quantise, roundTiesToEven } from '../../../../scoring/rules/quantise.ts';

describe('quantising a value', () => {
  test.each([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [-0.5, 0],
    [-1.5, -2],
    [-2.5, -2],
    [2 ** 40 + 0.5, 2 ** 40],
    [0.49999999999999994, 0],
  ])('rounds %d to %i, ties to even, and never to −0', (v, expected) => {
    expect(Object.is(roundTiesToEven(v), expected)).toBe(true);
  });

  test('rounding is to the nearest integer whatever the value', () => {
    fc.assert(
      fc.property(fc.double({ min: -(2 ** 41), max: 2 ** 41, noNaN: true }), (v) => {
        const r = roundTiesToEven(v);
        expect(Number.isInteger(r)).toBe(true);
        expect(Math.abs(r - v)).toBeLessThanOrEqual(0.5);
        if (Math.abs(r - v) === 0.5) expect(r % 2 === 0).toBe(true);
      }),
    );
  });

  test('|q| = 2^40 is in and anything beyond is out, infinity after the product included', () => {
    expect(quantise(MAX_Q, 1)).toBe(MAX_Q);
    expect(quantise(-MAX_Q, 1)).toBe(-MAX_Q);
    expect(quantise(MAX_Q + 1, 1)).toBeUndefined();
    expect(quantise(1.2, 1e12)).toBeUndefined();
    expect(quantise(1.7e308, 1e12)).toBeUndefined();
    expect(quantise(5e-324, 1e12)).toBe(0);
    expect(Object.is(quantise(-0, 1e6), 0)).toBe(true);
  });

  test('the product is one IEEE product of the literal’s double', () => {
    expect(quantise(0.8123, 1e6)).toBe(812300);
    // 1.005 is below its decimal, and so is the product.
    expect(quantise(1.005, 100)).toBe(100);
    expect(quantise(0.285, 100)).toBe(28);
  });
});
