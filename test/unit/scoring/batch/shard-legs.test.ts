import { describe, expect, test } from 'vitest';
import { legsOf } from '../../../../scoring/batch/shard-legs.ts';
import { erasUpTo } from '../../../../scoring/ingest/topic-history.sql.ts';
import type { Vector } from '../../../../scoring/ingest/vector.ts';

const at = (offset: number, line = 0) => ({ offset: BigInt(offset), line });
const vector = (...places: readonly (readonly [number, number])[]): Vector =>
  new Map(places.map(([offset, line], partition) => [partition, at(offset, line)]));

/** One partition, then 2, then 6: line 3 of message 10 was the last that was read of one. */
const ERAS = [
  { partitions: 1, until: vector([10, 3]), endedAtMs: 1 },
  { partitions: 2, until: vector([20, 0], [7, 0]), endedAtMs: 2 },
  { partitions: 6, until: null, endedAtMs: null },
];
const legs = (partition: number, untilOffset: number, untilLine = 0) =>
  legsOf({ partition, eras: ERAS, untilOffset: BigInt(untilOffset), untilLine });

describe('a shard of a log that was raised', () => {
  test('reads its own partition by each number of partitions, and before a new one what others had of its reports', () => {
    expect(legs(1, 9)).toEqual([
      { partition: 0, partitions: 1, from: at(0), to: at(10, 3), servedSince: 2 },
      { partition: 1, partitions: 2, from: at(0), to: at(7), servedSince: null },
      { partition: 0, partitions: 1, from: at(0), to: at(10, 3), servedSince: 6 },
      { partition: 1, partitions: 6, from: at(7), to: at(9), servedSince: null },
    ]);
  });

  test('takes a message that was half read up in both, and looks nowhere else where all of its reports were its own', () => {
    expect(legs(0, 30, 2)).toEqual([
      { partition: 0, partitions: 1, from: at(0), to: at(10, 3), servedSince: null },
      { partition: 0, partitions: 2, from: at(10, 3), to: at(20), servedSince: null },
      { partition: 0, partitions: 6, from: at(20), to: at(30, 2), servedSince: null },
    ]);
  });

  test('that had been read before it was raised knows nothing of that', () => {
    expect(legs(0, 10, 2)).toEqual([{ partition: 0, partitions: 1, from: at(0), to: at(10, 2), servedSince: null }]);
    expect(erasUpTo(ERAS, vector([10, 3]))).toEqual(ERAS.slice(0, 1));
    expect(erasUpTo(ERAS, vector([10, 4]))).toEqual(ERAS.slice(0, 2));
    expect(erasUpTo(ERAS, vector([20, 0], [8, 0]))).toEqual(ERAS);
  });
});
