import { afterAll, beforeAll, expect, test } from 'vitest';
import { byteaArray, int8Array, textArray, timestampArray } from '../../platform/pg-arrays.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';

let t: TestDatabase;
beforeAll(async () => {
  t = await testDatabase();
});
afterAll(() => t.close());

async function back(type: string, array: Buffer): Promise<unknown> {
  const rows = await t.db.asEngine((tx) => tx.query<{ values: unknown }>(`select $1::${type}[] as values`, [array]));
  return rows[0]!.values;
}

test('arrays in binary arrive in Postgres as they were, whatever stands in them', async () => {
  const texts = ['', 'a', null, '"quoted", {braced} \\', 'NULL', 'ä€😀', 'x'.repeat(70_000)];
  expect(await back('text', textArray(texts))).toEqual(texts);
  const bytes = [Buffer.from([0, 255, 92]), null, Buffer.alloc(0)];
  expect(await back('bytea', byteaArray(bytes))).toEqual(bytes);
  const numbers = [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), null];
  // In an array pg tells integers of 64 bits as text.
  expect(await back('bigint', int8Array(numbers))).toEqual(numbers.map((number) => number?.toString() ?? null));
  const small = [
    7,
    null,
    -1,
    0,
    2 ** 32,
    -(2 ** 32),
    -(2 ** 32) - 1,
    2 ** 32 + 5,
    Number.MAX_SAFE_INTEGER,
    Number.MIN_SAFE_INTEGER,
  ];
  expect(await back('bigint', int8Array(small))).toEqual(small.map((number) => number?.toString() ?? null));
  const times = [0, 946_684_800_000, 946_684_799_999, Date.UTC(2026, 10, 26, 4, 5, 6, 7), Date.UTC(9999, 0, 1), null];
  const dates = times.map((ms) => (ms === null ? null : new Date(ms)));
  expect(await back('timestamptz', timestampArray(times))).toEqual(dates);
  expect(await back('timestamptz', timestampArray([1.9]))).toEqual([new Date(1.9)]);
});

test('an array of nothing is an empty one', async () => {
  for (const [type, array] of [
    ['text', textArray([])],
    ['bytea', byteaArray([])],
    ['bigint', int8Array([])],
    ['timestamptz', timestampArray([])],
  ] as const)
    expect(await back(type, array)).toEqual([]);
});

test('more than 64 bits are refused here, not cut', () => {
  expect(() => int8Array([2n ** 63n])).toThrow(RangeError);
  expect(() => int8Array([1.5])).toThrow(RangeError);
});
