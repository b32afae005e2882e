import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { powersOfFive } from '../../../../scoring-native/simd-json-wasm/powers-of-five.mjs';
import { JsonWriter } from './json-writer.ts';
import { Gatherer } from './read-columns.ts';

const gatherer = new Gatherer({ x: { type: 'number' } });

/** Each must read as Number() reads it, to the bit, or be refused where that is infinite. */
function expectNearest(texts: readonly string[]): void {
  const { kept, refused } = gatherer.read(texts.map((text) => `{"x":${text}}`).join('\n'));
  const read = new Map(kept.map(({ line, cells }) => [line, cells.x as number]));
  const over = new Map(refused.map(({ line, reason }) => [line, reason]));
  const wrong = texts.filter((text, i) => {
    const value = Number(text);
    return Number.isFinite(value) ? !Object.is(read.get(i + 1), value) : over.get(i + 1) !== 'number';
  });
  expect(wrong).toEqual([]);
}

/** The exact decimal digits of the point half-way between a positive double, given by its bits, and the next. */
function halfway(bits: bigint): { readonly digits: string; readonly exponent: number } {
  const exponent = Number(bits >> 52n);
  const fraction = bits & 0xfffffffffffffn;
  const mantissa = 2n * (exponent === 0 ? fraction : fraction | (1n << 52n)) + 1n;
  const power = Math.max(exponent, 1) - 1076;
  if (power >= 0) return { digits: (mantissa << BigInt(power)).toString(), exponent: 0 };
  return { digits: (mantissa * 5n ** BigInt(-power)).toString(), exponent: power };
}

/** The half-way point itself, and points as near to it on both sides as a text can say. */
function aroundHalfway(bits: bigint): readonly string[] {
  const { digits, exponent } = halfway(bits);
  const below = `${BigInt(digits) - 1n}9`;
  return [
    `${digits}e${exponent}`,
    `-${digits}e${exponent}`,
    `${digits}.${'0'.repeat(900)}1e${exponent}`,
    `${below}e${exponent - 1}`,
    `${below}${'9'.repeat(900)}e${exponent - 901}`,
    `${digits.slice(0, 20)}e${exponent + digits.length - Math.min(20, digits.length)}`,
    exponent === 0 ? digits : plain(digits, exponent),
  ];
}

/** Without an exponent. */
function plain(digits: string, exponent: number): string {
  const padded = digits.padStart(1 - exponent, '0');
  return `${padded.slice(0, exponent)}.${padded.slice(exponent)}`;
}

describe('a number is the double nearest its text', () => {
  test.each([
    ['zeros', ['0', '-0', '0.0', '-0.000', '0e5', '-0e-5', '0e999999999999999999999', '0.0e-99999999999']],
    [
      'neighbours of 2^53',
      ['9007199254740991', '9007199254740992', '9007199254740993', '9007199254740994', '9007199254740995'],
    ],
    [
      'neighbours of 2^53 with decimals',
      ['9007199254740992.5', '9007199254740993.0', '9007199254740993.00000000000000000001', '900719925474099.25'],
    ],
    [
      'neighbours of 2^63 and 2^64',
      ['9223372036854775807', '9223372036854775808', '18446744073709551615', '18446744073709551616'],
    ],
    [
      '19, 20 and 21 digits',
      [
        '1234567890123456789',
        '12345678901234567890',
        '123456789012345678901',
        '0.1234567890123456789',
        '0.12345678901234567890',
      ],
    ],
    [
      'the largest double',
      ['1.7976931348623157e308', '1.7976931348623158e308', '17976931348623157e292', '0.17976931348623157e309'],
    ],
    [
      'just beyond the largest',
      ['1.7976931348623159e308', '1e308', '1e309', '-1e309', '2e308', '1e400', '1e99999999999999999999'],
    ],
    [
      'the smallest normal',
      ['2.2250738585072014e-308', '2.2250738585072011e-308', '2.2250738585072012e-308', '2.225073858507201e-308'],
    ],
    [
      'subnormals',
      ['5e-324', '4.9406564584124654e-324', '2.4703282292062327e-324', '2.4703282292062328e-324', '1e-323', '1e-310'],
    ],
    ['below the smallest', ['1e-324', '2e-324', '-1e-400', '1e-99999999999999999999', '0.00000000000000001e-320']],
    ['powers of ten', Array.from({ length: 640 }, (_, i) => `1e${i - 330}`)],
    ['powers of ten with 19 nines', Array.from({ length: 640 }, (_, i) => `9999999999999999999e${i - 345}`)],
    ['long exponents', ['1e0000000000000000000001', '1E+01', '1e-0000000002', '12e-1', '0.1e1']],
    [
      'long zeros',
      [
        `1${'0'.repeat(308)}`,
        `1${'0'.repeat(309)}`,
        `0.${'0'.repeat(323)}5`,
        `0.${'0'.repeat(400)}1e401`,
        `1${'0'.repeat(400)}e-400`,
      ],
    ],
    [
      'the texts of known bugs',
      [
        '2.2250738585072012e-308',
        '0.500000000000000166533453693773481063544750213623046875',
        '3.518437208883201171875e13',
        '62.5364939768271845828',
        '8.10109172351e-10',
        '1.50000000000000011102230246251565',
        '9007199254740991.4999999999999999999999999999999995',
        '6.631236846766476e-316',
        '3.237883913302901e-319',
        '1.2345678901234567e22',
        '8.5e22',
        '1e23',
        '9.5e-22',
      ],
    ],
  ])('%s', (_name, texts) => {
    expectNearest(texts);
  });

  test('half-way between two doubles, and right beside it, wherever they are', () => {
    const w = new JsonWriter(53);
    const random = () => (BigInt(w.nat(0x7ff)) << 52n) | (BigInt(w.nat(2 ** 26)) << 26n) | BigInt(w.nat(2 ** 26));
    const ends = Array.from({ length: 12 }, (_, i) => [
      BigInt(i),
      0x7fefffffffffffffn - BigInt(i),
      0x0010000000000000n + BigInt(i - 6),
    ]);
    const bits = [...ends.flat(), ...Array.from({ length: 300 }, random)];
    expectNearest(bits.flatMap(aroundHalfway));
  });

  test('in any spelling', () => {
    const w = new JsonWriter(8);
    expectNearest(Array.from({ length: 20_000 }, () => w.number()));
    expectNearest(Array.from({ length: 5000 }, () => w.double()));
  });

  test('of a hundred thousand digits', () => {
    const digits = '1234567890'.repeat(10_000);
    expectNearest([
      digits.slice(0, 300),
      `0.${digits}`,
      `${digits}e-99999`,
      `${digits}e-100300`,
      `9007199254740993.${'0'.repeat(99_999)}1`,
      digits,
    ]);
  });
});

test('the table of powers of five is what its formula gives, and 5^q to 128 bits', () => {
  const path = new URL('../../../../scoring-native/simd-json-wasm/assembly/powers-of-five.ts', import.meta.url);
  const text = readFileSync(path, 'utf8');
  expect(text).toBe(powersOfFive());
  const words = [...text.matchAll(/0x([0-9a-f]{16}), 0x([0-9a-f]{16})/g)].map(([, high, low]) =>
    BigInt(`0x${high}${low}`),
  );
  expect(words.length).toBe(308 + 342 + 1);
  for (const [i, word] of words.entries()) {
    // word / 2^k is 5^q, in the last of 128 bits cut off or, for some reciprocals, rounded up.
    const power = 5n ** BigInt(Math.abs(i - 342));
    expect(word >> 127n).toBe(1n);
    if (i >= 342) {
      const bits = BigInt(power.toString(2).length);
      expect(word).toBe(bits > 128n ? power >> (bits - 128n) : power << (128n - bits));
    } else {
      const product = word * power;
      const size = BigInt(product.toString(2).length);
      const off = [size - 1n, size].map((bits) => product - (1n << bits)).map((by) => (by < 0n ? -by : by));
      expect(off.some((by) => by <= power)).toBe(true);
    }
  }
});
