import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { paneStartMs, RESOLUTION_MS, RESOLUTIONS } from '../../../../scoring/rules/pane.ts';
import { KEEP_MS, keptFromMs } from '../../../../scoring/rules/retention.ts';
import {
  affectedTicks,
  isClockSkewed,
  isTooLate,
  suiteWatermark,
  tickAt,
} from '../../../../scoring/rules/watermark.ts';
import { tilesOf, WINDOWS, windowAt, windowSpec, within } from '../../../../scoring/rules/windows.ts';
import { smallSuite } from '../../../support/scoring-reports.ts';

const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;
const T = Date.UTC(2026, 10, 23, 10, 11, 12, 345);
const onAStep = fc.integer({ min: -400, max: 400 }).map((hours) => Math.floor(T / HOUR) * HOUR + hours * HOUR);
const instant = fc.integer({ min: T - 400 * DAY, max: T + 400 * DAY });

describe('windows', () => {
  test('end at the largest multiple of their own step and reach back by their length', () => {
    const text = WINDOWS.map((window) => {
      const { startMs, endMs } = windowAt(window, T);
      return `${window.name} ${new Date(startMs).toISOString()} ${new Date(endMs).toISOString()}`;
    });
    expect(text).toEqual([
      '1h 2026-11-23T09:11:00.000Z 2026-11-23T10:11:00.000Z',
      '24h 2026-11-22T10:00:00.000Z 2026-11-23T10:00:00.000Z',
      '7d 2026-11-16T10:00:00.000Z 2026-11-23T10:00:00.000Z',
    ]);
  });

  test('hold their start and not their end', () => {
    const bounds = windowAt(windowSpec('1h'), T);
    expect([within(bounds, bounds.startMs), within(bounds, bounds.endMs)]).toEqual([true, false]);
    expect([within(bounds, bounds.startMs - 1), within(bounds, bounds.endMs - 1)]).toEqual([false, true]);
  });

  test('a T on a step ends the window there, also before 1970', () => {
    expect(windowAt(windowSpec('7d'), Date.UTC(1969, 0, 1, 5)).endMs).toBe(Date.UTC(1969, 0, 1, 5));
    expect(windowAt(windowSpec('7d'), Date.UTC(1969, 0, 1, 5) - 1).endMs).toBe(Date.UTC(1969, 0, 1, 4));
  });

  test('are sums of whole panes of their resolution: a report is in the window where its pane is', () => {
    fc.assert(
      fc.property(instant, fc.integer({ min: -8 * DAY, max: DAY }), (at, offset) => {
        for (const window of WINDOWS) {
          const bounds = windowAt(window, at);
          expect(within(bounds, at + offset)).toBe(within(bounds, paneStartMs(window.resolution, at + offset)));
        }
      }),
    );
  });
});

describe('tiles', () => {
  const minutesOf = ({ startMs, endMs }: { startMs: number; endMs: number }) => (endMs - startMs) / MINUTE;

  test('are whole hours where there are any, and smaller panes at both ends', () => {
    const of = (name: '1h' | '24h' | '7d', at: number) => {
      const window = windowSpec(name);
      return tilesOf(window, windowAt(window, at)).map((tile) => `${minutesOf(tile)} of ${tile.resolution}`);
    };
    expect(of('1h', Date.UTC(2026, 10, 23, 10, 11))).toEqual(['4 of 1m', '45 of 15m', '11 of 1m']);
    expect(of('1h', Date.UTC(2026, 10, 23, 10, 15))).toEqual(['60 of 15m']);
    expect(of('1h', Date.UTC(2026, 10, 23, 10))).toEqual(['60 of 1h']);
    expect(of('24h', Date.UTC(2026, 10, 23, 10, 15))).toEqual(['45 of 15m', '1380 of 1h', '15 of 15m']);
    expect(of('7d', T)).toEqual(['10080 of 1h']);
  });

  test('fill their window without a gap, in whole panes, and are as few as the sizes allow', () => {
    fc.assert(
      fc.property(instant, fc.constantFrom(...WINDOWS), (at, window) => {
        const bounds = windowAt(window, at);
        const tiles = tilesOf(window, bounds);
        const edges = [bounds.startMs, ...tiles.map(({ endMs }) => endMs)];
        expect(tiles.map(({ startMs }) => startMs)).toEqual(edges.slice(0, -1));
        expect(edges.at(-1)).toBe(bounds.endMs);
        for (const { endMs, resolution, startMs } of tiles) {
          expect(paneStartMs(resolution, startMs)).toBe(startMs);
          expect(paneStartMs(resolution, endMs)).toBe(endMs);
          const larger = RESOLUTIONS[RESOLUTIONS.indexOf(resolution) + 1];
          if (larger !== undefined) {
            expect(Math.ceil(startMs / RESOLUTION_MS[larger])).toBeGreaterThanOrEqual(
              Math.floor(endMs / RESOLUTION_MS[larger]),
            );
          }
        }
      }),
    );
  });
});

describe('the watermark', () => {
  const mark = (partition: number, watermarkMs: number, lastAppendMs: number) => ({
    partition,
    watermarkMs,
    lastAppendMs,
  });

  test('is the least over the partitions that hold the suite', () => {
    expect(suiteWatermark(null, [mark(0, 50, 1000), mark(1, 40, 1000)], 1000)).toBe(40);
  });

  test('leaves out a partition more than five minutes behind the log, and never goes back', () => {
    const marks = [mark(0, 50, 5 * MINUTE + 1), mark(1, 40, 0)];
    expect(suiteWatermark(null, marks, 5 * MINUTE)).toBe(40);
    expect(suiteWatermark(40, marks, 5 * MINUTE + 1)).toBe(50);
    expect(suiteWatermark(50, [mark(0, 50, 9 * MINUTE), mark(1, 45, 9 * MINUTE)], 9 * MINUTE)).toBe(50);
  });

  test('stays where it is while no partition is live', () => {
    expect(suiteWatermark(null, [], 0)).toBeNull();
    expect(suiteWatermark(7, [mark(0, 9, 0)], 6 * MINUTE)).toBe(7);
  });

  test('five minutes ahead of the append is not skewed, a millisecond more is', () => {
    expect([isClockSkewed(5 * MINUTE, 0), isClockSkewed(5 * MINUTE + 1, 0)]).toEqual([false, true]);
  });

  test('seven days late is taken, a millisecond more is not, and nothing is late before the first report', () => {
    expect([isTooLate(T - 7 * DAY, T), isTooLate(T - 7 * DAY - 1, T), isTooLate(0, null)]).toEqual([
      false,
      true,
      false,
    ]);
  });

  test('a tick is final when the watermark reaches it', () => {
    const ticks = [15 * MINUTE - 1, 15 * MINUTE, 45 * MINUTE + 1].map((watermark) => tickAt(watermark, 15 * MINUTE));
    expect(ticks).toEqual([0, 15 * MINUTE, 45 * MINUTE]);
  });
});

describe('the ticks a report affects', () => {
  const suites = [
    smallSuite({ tick: '15m' }),
    smallSuite({ tick: '7m' }),
    smallSuite({ tick: '24h' }),
    smallSuite({ tick: '1h', windows: { '7d': 1 } }),
    smallSuite({ tick: '24h', windows: { '1h': 1 } }),
  ];

  test('are no fewer than those whose windows cover it, and start and end with one that does', () => {
    fc.assert(
      fc.property(fc.oneof(instant, onAStep), fc.constantFrom(...suites), (observedAt, suite) => {
        const covers = (tick: number) =>
          suite.windows.some(({ name }) => within(windowAt(windowSpec(name), tick), observedAt));
        const range = affectedTicks(suite, observedAt);
        const covering: number[] = [];
        const first = tickAt(observedAt - DAY, suite.tickMs);
        for (let tick = first; tick <= observedAt + 9 * DAY; tick += suite.tickMs)
          if (covers(tick)) covering.push(tick);
        expect(range).toEqual(covering.length === 0 ? undefined : { firstMs: covering[0], lastMs: covering.at(-1) });
      }),
      { numRuns: 60 },
    );
  });
});

describe('retention', () => {
  test('keeps every pane that a tick re-emitted for the latest allowed late report still reads', () => {
    fc.assert(
      fc.property(instant, fc.integer({ min: 0, max: 7 * DAY }), (watermark, late) => {
        for (const window of WINDOWS) {
          const tick = tickAt(watermark - late, MINUTE) + MINUTE;
          const { startMs } = windowAt(window, tick);
          expect(startMs).toBeGreaterThanOrEqual(keptFromMs(window.resolution, watermark));
        }
      }),
    );
  });

  test('drops a pane as soon as it ended the whole keep ago', () => {
    expect(KEEP_MS).toEqual({ '1m': 7 * DAY + HOUR + MINUTE, '15m': 8 * DAY + 15 * MINUTE, '1h': 14 * DAY + HOUR });
    for (const resolution of RESOLUTIONS) {
      expect(keptFromMs(resolution, T) + RESOLUTION_MS[resolution] - 1).toBe(T - KEEP_MS[resolution]);
    }
  });
});
