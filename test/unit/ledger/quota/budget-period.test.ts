import { describe, expect, test } from 'vitest';
import { budgetPeriod, type PeriodLength } from '../../../../ledger/quota/budget-period.ts';

const HOUR_MS = 3_600_000;

/** length, zone, moment → id, start, hours. */
const CASES: Readonly<Record<string, readonly [PeriodLength, string, string, string, string, number]>> = {
  'a day is that of the zone, not of UTC': [
    'day',
    'Asia/Kolkata',
    '2026-11-25T18:30:00Z',
    '2026-11-26',
    '2026-11-25T18:30:00Z',
    24,
  ],
  'the moment before midnight is the day before': [
    'day',
    'Asia/Kolkata',
    '2026-11-25T18:29:59.999Z',
    '2026-11-25',
    '2026-11-24T18:30:00Z',
    24,
  ],
  'a day on which the clock is put forward has 23 hours': [
    'day',
    'Europe/Berlin',
    '2026-03-29T12:00:00Z',
    '2026-03-29',
    '2026-03-28T23:00:00Z',
    23,
  ],
  'a day on which it is put back has 25': [
    'day',
    'Europe/Berlin',
    '2026-10-25T12:00:00Z',
    '2026-10-25',
    '2026-10-24T22:00:00Z',
    25,
  ],
  'a day without midnight begins with its first moment': [
    'day',
    'Africa/Cairo',
    '2026-04-24T12:00:00Z',
    '2026-04-24',
    '2026-04-23T22:00:00Z',
    23,
  ],
  'a day that a clock put back just after midnight shows twice begins once': [
    'day',
    'America/St_Johns',
    '2010-11-07T02:45:00Z',
    '2010-11-06',
    '2010-11-06T02:30:00Z',
    25,
  ],
  'a day that a zone left out is none': [
    'day',
    'Pacific/Apia',
    '2011-12-30T10:00:00Z',
    '2011-12-31',
    '2011-12-30T10:00:00Z',
    24,
  ],
  'a week begins on Monday': ['week', 'UTC', '2026-11-29T23:59:59Z', '2026-W48', '2026-11-23T00:00:00Z', 168],
  'a week belongs to the year of its Thursday: the last of a long year': [
    'week',
    'UTC',
    '2027-01-03T00:00:00Z',
    '2026-W53',
    '2026-12-28T00:00:00Z',
    168,
  ],
  'and the first of the next': ['week', 'UTC', '2024-12-31T00:00:00Z', '2025-W01', '2024-12-30T00:00:00Z', 168],
  'a month has the hours of its clock changes': [
    'month',
    'Europe/Berlin',
    '2026-03-31T21:59:59Z',
    '2026-03',
    '2026-02-28T23:00:00Z',
    31 * 24 - 1,
  ],
  'a month in a zone ahead of UTC begins the day before': [
    'month',
    'Pacific/Kiritimati',
    '2026-11-30T10:00:00Z',
    '2026-12',
    '2026-11-30T10:00:00Z',
    31 * 24,
  ],
};

describe('the period of a budget', () => {
  test.each(Object.entries(CASES))('%s', (_rule, [length, zone, at, id, start, hours]) => {
    const period = budgetPeriod(length, zone, Date.parse(at));
    expect({ ...period, startsAtMs: new Date(period.startsAtMs).toISOString() }).toEqual({
      id,
      startsAtMs: new Date(start).toISOString(),
      endsAtMs: Date.parse(start) + hours * HOUR_MS,
    });
  });

  test.each(['America/St_Johns', 'Australia/Lord_Howe', 'Asia/Beirut'])(
    'in %s each moment of a year is in one period, and the next begins where it ends',
    (zone) => {
      for (const length of ['day', 'week', 'month'] as const) {
        let period = budgetPeriod(length, zone, Date.UTC(2010, 6, 1));
        for (let n = 0; period.startsAtMs < Date.UTC(2011, 6, 1); n++) {
          const last = budgetPeriod(length, zone, period.endsAtMs - 1);
          expect(last, `${length} ${n}`).toEqual(period);
          const next = budgetPeriod(length, zone, period.endsAtMs);
          expect(next.startsAtMs, `${length} after ${period.id}`).toBe(period.endsAtMs);
          expect(next.id > period.id).toBe(true);
          period = next;
        }
      }
    },
  );
});
