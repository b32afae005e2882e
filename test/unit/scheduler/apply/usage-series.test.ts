import { describe, expect, test } from 'vitest';
import {
  MAX_POINTS,
  newSeries,
  totalOf,
  type UsageSeries,
  withReading,
} from '../../../../scheduler/apply/usage-series.ts';
import { seeded } from '../../../bench/random.ts';

const EVERY_MS = 10_000;

describe('a series of what a job used', () => {
  test('counts CPU time from when the job began, and from reading to reading', () => {
    let series = withReading(newSeries(EVERY_MS), 1_000, 3_000, { cpuMs: 500, memoryBytes: 7 });
    series = withReading(series, 1_000, 13_000, { cpuMs: 4_500, memoryBytes: 5, gpuMilli: 900 });
    expect(series.points).toEqual([
      { fromMs: 1_000, toMs: 3_000, cpuMs: 500, memoryBytes: 7, gpuMilli: null, gpuMemoryBytes: null },
      { fromMs: 3_000, toMs: 13_000, cpuMs: 4_000, memoryBytes: 5, gpuMilli: 900, gpuMemoryBytes: null },
    ]);
    expect(totalOf(series)).toEqual({ cpuMs: 4_500, memoryBytes: 7, gpuMilli: 900, gpuMemoryBytes: null });
  });

  test('takes no time back where a reading tells less CPU than before, nor stretches where a clock went back', () => {
    let series = withReading(newSeries(EVERY_MS), 0, 20_000, { cpuMs: 900 });
    series = withReading(series, 0, 15_000, { cpuMs: 400 });
    series = withReading(series, 0, 40_000, { cpuMs: 1_000 });
    expect(totalOf(series).cpuMs).toBe(1_000);
    expect(series.points.map(({ fromMs, toMs }) => [fromMs, toMs])).toEqual([
      [0, 20_000],
      [20_000, 20_000],
      [20_000, 40_000],
    ]);
  });

  test('stays bounded however long the job runs, loses no CPU time and no peak, and has no gap', () => {
    const random = seeded(20_261_126);
    let series: UsageSeries = newSeries(EVERY_MS);
    let nowMs = 0;
    let cpuMs = 0;
    let peak = 0;
    for (let i = 0; i < 20_000; i++) {
      nowMs += Math.floor(random() * 2 * EVERY_MS);
      cpuMs += Math.floor(random() * 30_000);
      const memoryBytes = Math.floor(random() * 1e9);
      peak = Math.max(peak, memoryBytes);
      series = withReading(series, 0, nowMs, { cpuMs, memoryBytes });
      if (series.points.length > MAX_POINTS) throw new Error(`${series.points.length} stretches after ${i}`);
    }
    expect(totalOf(series)).toMatchObject({ cpuMs, memoryBytes: peak });
    expect(series.points.length).toBeGreaterThan(MAX_POINTS / 2);
    expect(series.points.at(-1)?.toMs).toBe(nowMs);
    for (const [i, point] of series.points.entries()) expect(point.fromMs).toBe(series.points[i - 1]?.toMs ?? 0);
  });
});
