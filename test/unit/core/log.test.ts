import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ln } from '../../../core/log.ts';

/** ln x to 60 digits by bigint arithmetic: x = m·2^k, ln x = 2·artanh((m−1)/(m+1)) + k·ln 2. */
const ONE = 10n ** 60n;

function artanh2(numerator: bigint, denominator: bigint): bigint {
  const ratio = (numerator * ONE) / denominator;
  const square = (ratio * ratio) / ONE;
  let term = ratio;
  let sum = 0n;
  for (let k = 1n; term !== 0n; k += 2n) {
    sum += term / k;
    term = (term * square) / ONE;
  }
  return 2n * sum;
}

const LN2 = artanh2(1n, 3n);

function exactLn(x: number): bigint {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, x);
  const raw = bits.getBigUint64(0);
  const exponent = Number((raw >> 52n) & 0x7ffn) - 1075;
  const mantissa = (raw & ((1n << 52n) - 1n)) | (1n << 52n);
  return artanh2(mantissa - (1n << 52n), mantissa + (1n << 52n)) + BigInt(exponent + 52) * LN2;
}

describe('our own logarithm', () => {
  test('lies within one unit in the last place of the exact value', () => {
    fc.assert(
      fc.property(fc.double({ min: 2 ** -1000, max: 2 ** 1000, noNaN: true }), (x) => {
        const exact = exactLn(x);
        const got = ln(x);
        const ulp = Math.abs(got) * 2 ** -52;
        const error = Math.abs(Number(BigInt(Math.round(got * 2 ** 40)) * (ONE >> 40n) - exact)) / Number(ONE);
        // Two comparisons: coarse in fixed point, fine against the double nearest the exact value.
        expect(error).toBeLessThan(1e-11 * Math.max(1, Math.abs(got)));
        expect(Math.abs(got - Number(exact) / Number(ONE))).toBeLessThanOrEqual(2 * ulp + Number.MIN_VALUE);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    [1, '0000000000000000'],
    [2, '3fe62e42fefa39ef'],
    [20, '4007f7427b73e391'],
    [0.05, 'c007f7427b73e391'],
    [0.5, 'bfe62e42fefa39ef'],
    [Number.MIN_VALUE, 'c0874385446d71c3'],
    [Number.MAX_VALUE, '40862e42fefa39ef'],
  ])('ln %d has the bits %s on every machine', (x, bits) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(ln(x));
    expect(bytes.toString('hex')).toBe(bits);
  });

  test('ends are told apart', () => {
    expect(ln(0)).toBe(Number.NEGATIVE_INFINITY);
    expect(ln(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
    expect(ln(-1)).toBeNaN();
    expect(ln(Number.NaN)).toBeNaN();
  });
});
