import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type OffPeakWindow, offPeakIntervals, windowRefusals } from '../../../pools/off-peak.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const nightly = (cron: string, duration = '8h', timeZone = 'Europe/Berlin'): OffPeakWindow => ({
  cron,
  duration,
  timeZone,
});

/** The openings on and after a day, with hours open. */
function openings(windows: readonly OffPeakWindow[], from: string, count: number): string[] {
  const fromMs = Date.parse(from);
  return offPeakIntervals(windows, fromMs)
    .filter((interval) => interval.fromMs >= fromMs)
    .slice(0, count)
    .map(({ fromMs: at, untilMs }) => `${new Date(at).toISOString().slice(0, 16)} ${(untilMs - at) / HOUR}h`);
}

describe('an off-peak window', () => {
  test('opens by the clock of its zone, an hour earlier in UTC once summer time began', () => {
    expect(openings([nightly('0 22 * * *')], '2026-03-27T00:00:00Z', 3)).toEqual([
      '2026-03-27T21:00 8h',
      '2026-03-28T21:00 8h',
      '2026-03-29T20:00 8h',
    ]);
  });

  test('whose clock time summer time leaves out opens when the clock goes on, and stays open as long as on other days', () => {
    expect(openings([nightly('30 2 * * *', '1h')], '2026-03-28T00:00:00Z', 3)).toEqual([
      '2026-03-28T01:30 1h',
      '2026-03-29T01:00 1h',
      '2026-03-30T00:30 1h',
    ]);
  });

  test('whose clock time comes twice when summer time ends opens once, at the first', () => {
    expect(openings([nightly('30 2 * * *', '1h')], '2026-10-24T00:00:00Z', 3)).toEqual([
      '2026-10-24T00:30 1h',
      '2026-10-25T00:30 1h',
      '2026-10-26T01:30 1h',
    ]);
  });

  test('across the end of summer time is open for its duration of elapsed time', () => {
    expect(openings([nightly('0 22 24 10 *')], '2026-10-24T00:00:00Z', 1)).toEqual(['2026-10-24T20:00 8h']);
  });

  test('that meets or overlaps another makes one interval with it', () => {
    const windows = [nightly('0 20 * * *', '2h', 'UTC'), nightly('0 22 * * *', '2h', 'UTC')];
    expect(openings(windows, '2026-11-26T00:00:00Z', 2)).toEqual(['2026-11-26T20:00 4h', '2026-11-27T20:00 4h']);
    expect(openings([nightly('0 */6 * * *', '6h', 'UTC')], '2026-11-01T00:00:00Z', 9)).toEqual([]);
  });

  test('within another one changes nothing', () => {
    const windows = [nightly('0 20 * * *', '8h', 'UTC'), nightly('0 22 * * *', '1h', 'UTC')];
    expect(openings(windows, '2026-11-26T00:00:00Z', 1)).toEqual(['2026-11-26T20:00 8h']);
  });

  test('is looked for anew in each hour', () => {
    const last = (hour: number) =>
      offPeakIntervals([nightly('0 20 * * *', '1h', 'UTC')], Date.UTC(2026, 10, 26, hour)).at(-1);
    expect([0, 21].map((hour) => last(hour)?.fromMs)).toEqual([Date.UTC(2026, 11, 9, 20), Date.UTC(2026, 11, 10, 20)]);
  });

  test('that opened before what is looked at and is still open counts', () => {
    const nowMs = Date.UTC(2026, 10, 26);
    const [first] = offPeakIntervals([nightly('0 0 22 11 *', '4d', 'UTC')], nowMs);
    expect(first).toEqual({ fromMs: Date.UTC(2026, 10, 22), untilMs: Date.UTC(2026, 10, 26) });
  });

  test('is known from a day ago to two weeks ahead, and equal however often one hour asks', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: Date.UTC(2020, 0), max: Date.UTC(2035, 0) }),
        fc.integer({ min: 0, max: HOUR - 1 }),
        fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe'),
        fc.integer({ min: 0, max: 23 }),
        (atMs, later, timeZone, hour) => {
          const hourMs = Math.floor(atMs / HOUR) * HOUR;
          const windows = [nightly(`0 ${hour} * * *`, '1h', timeZone)];
          const intervals = offPeakIntervals(windows, hourMs);
          expect(offPeakIntervals(windows, hourMs + later)).toEqual(intervals);
          expect(intervals.length).toBeGreaterThanOrEqual(14);
          for (const [i, { fromMs, untilMs }] of intervals.entries()) {
            expect(untilMs - fromMs).toBe(HOUR);
            expect(untilMs).toBeGreaterThan(hourMs - DAY);
            expect(fromMs).toBeLessThan(hourMs + 14 * DAY);
            expect(fromMs).toBeGreaterThan(intervals[i - 1]?.untilMs ?? 0);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test.each([
    ['an expression of six fields', nightly('0 0 22 * * *'), 'cron'],
    ['words', nightly('every night'), 'cron'],
    ['a field out of range', nightly('61 22 * * *'), 'cron'],
    ['an expression that depends on when it is read', nightly('0 ? * * *'), 'cron'],
    ['one that opens every minute', nightly('* * * * *', '1m'), 'range'],
    [
      'one that opens 49 times a day, at midnight for the first',
      nightly('0,5,10,15,20,25,30 0-6 * * *', '1m'),
      'range',
    ],
    ['one that opens every minute of one day a year', nightly('* * 1 6 *', '1m'), 'range'],
    ['a duration without a unit', nightly('0 22 * * *', '8'), 'duration'],
    ['a duration longer than a week', nightly('0 22 * * *', '8d'), 'range'],
    ['a zone that is none', nightly('0 22 * * *', '8h', 'Mars/Olympus'), 'time_zone'],
    ['an offset in place of a zone', nightly('0 22 * * *', '8h', '+01:00'), 'time_zone'],
  ])('is refused with %s', (_what, window, code) => {
    expect(windowRefusals(window, 'offPeak.0').map((refusal) => refusal.code)).toEqual([code]);
  });

  test('is taken where it opens every half hour, or is open a week, and tells all that is wrong otherwise', () => {
    expect(windowRefusals(nightly('*/30 * * * *', '1m'), 'offPeak.0')).toEqual([]);
    expect(windowRefusals(nightly('0 22 * * 1', '7d'), 'offPeak.0')).toEqual([]);
    expect(windowRefusals(nightly('0 22 * * *', 'x', 'y'), 'offPeak.0').map(({ field }) => field)).toEqual([
      'offPeak.0.duration',
      'offPeak.0.timeZone',
    ]);
  });
});
