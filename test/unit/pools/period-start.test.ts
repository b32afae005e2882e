import fc from 'fast-check';
import { expect, test } from 'vitest';
import { periodStartMs } from '../../../pools/period-start.ts';

const start = (period: Parameters<typeof periodStartMs>[0], at: string, zone?: string) =>
  new Date(periodStartMs(period, Date.parse(at), zone)).toISOString();

test.each([
  [
    'day',
    'Europe/Berlin',
    '2026-03-29T12:00:00Z',
    '2026-03-28T23:00:00.000Z',
    'the day of 23 hours begins in winter time',
  ],
  ['day', 'Europe/Berlin', '2026-03-30T12:00:00Z', '2026-03-29T22:00:00.000Z', 'the day after it in summer time'],
  ['day', 'Europe/Berlin', '2026-10-25T22:59:59Z', '2026-10-24T22:00:00.000Z', 'a day of 25 hours is one period'],
  [
    'week',
    'America/New_York',
    '2026-11-02T04:30:00Z',
    '2026-10-26T04:00:00.000Z',
    'Sunday evening is still last week there',
  ],
  [
    'week',
    'America/New_York',
    '2026-11-02T05:00:00Z',
    '2026-11-02T05:00:00.000Z',
    'a week begins on Monday, by its own clocks',
  ],
  ['month', 'Asia/Tokyo', '2026-11-30T15:00:00Z', '2026-11-30T15:00:00.000Z', 'a month begins earlier in the east'],
  [
    'quarter',
    'Asia/Kolkata',
    '2026-12-31T18:30:00Z',
    '2026-12-31T18:30:00.000Z',
    'also where the offset has half an hour',
  ],
  [
    'year',
    'Pacific/Auckland',
    '2026-06-01T00:00:00Z',
    '2025-12-31T11:00:00.000Z',
    'a year begins by the offset of January',
  ],
  [
    'day',
    'America/Sao_Paulo',
    '2018-11-04T12:00:00Z',
    '2018-11-04T03:00:00.000Z',
    'a day whose midnight is left out begins when the clock goes on',
  ],
  [
    'day',
    'America/Havana',
    '2026-11-01T12:00:00Z',
    '2026-11-01T04:00:00.000Z',
    'a day whose midnight comes twice begins at the first one',
  ],
  ['month', undefined, '2026-11-26T08:00:00Z', '2026-11-01T00:00:00.000Z', 'without a zone it is UTC'],
] as const)('of a %s in %s at %s is %s: %s', (period, zone, at, began, _why) => {
  expect(start(period, at, zone)).toBe(began);
});

test('is never after the moment, is of its own period, and the moment before it is of the one before', () => {
  const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'America/Havana'];
  const periods = ['day', 'week', 'month', 'quarter', 'year'] as const;
  const at = fc.integer({ min: Date.UTC(2020, 0), max: Date.UTC(2035, 0) });
  fc.assert(
    fc.property(fc.constantFrom(...zones), fc.constantFrom(...periods), at, (zone, period, nowMs) => {
      const began = periodStartMs(period, nowMs, zone);
      expect(began).toBeLessThanOrEqual(nowMs);
      expect(periodStartMs(period, began, zone)).toBe(began);
      expect(periodStartMs(period, began - 1, zone)).toBeLessThan(began);
    }),
    { numRuns: 300 },
  );
});
