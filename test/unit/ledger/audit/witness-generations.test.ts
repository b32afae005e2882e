import { expect, test } from 'vitest';
import { WitnessGenerations } from '../../../../ledger/audit/witness-generations.ts';
import type { WitnessRecord } from '../../../../ledger/audit/witness-record.ts';

const seen = (generation: number, treeSize: number) =>
  ({ kind: 'checkpoint', generation, checkpoint: { treeSize } }) as WitnessRecord;
const restart = (generation: number, abandoned: number, treeSize: number) =>
  ({ kind: 'restart', generation, restart: { abandoned: { generation: abandoned, treeSize } } }) as WitnessRecord;
const problemOf = (...records: readonly WitnessRecord[]) => {
  const generations = new WitnessGenerations();
  for (const record of records) generations.take(record);
  return generations.problem();
};

test('generations of which each says what it leaves behind are whole, in whatever order they are read', () => {
  expect(problemOf()).toBeUndefined();
  expect(problemOf(seen(1, 9), seen(1, 3))).toBeUndefined();
  expect(problemOf(seen(3, 4), restart(3, 2, 6), restart(2, 1, 9), seen(1, 3), seen(1, 9))).toBeUndefined();
});

test.each([
  ['begins without a word', [seen(1, 9), seen(2, 5)], 'generation 2 begins without a record'],
  ['is far ahead', [seen(1, 9), seen(999_997, 5)], 'generation 2 begins without a record'],
  ['leaves behind less than was seen', [seen(1, 9), restart(2, 1, 8), seen(2, 5)], 'had seen 9'],
  ['leaves another one behind', [seen(1, 9), restart(2, 1, 9), restart(3, 1, 9)], 'generation 3 leaves behind'],
] as const)('a generation that %s is told', (_, records, problem) => {
  expect(problemOf(...records)).toContain(problem);
});
