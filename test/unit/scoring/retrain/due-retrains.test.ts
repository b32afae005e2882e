import { describe, expect, test } from 'vitest';
import { dueCause, type Timed } from '../../../../scoring/retrain/due-retrains.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A Thursday. */
const NOW = Date.UTC(2026, 10, 26, 12);

const model = (over: Partial<Timed> = {}): Timed => ({
  tenant: 'acme',
  model: 'ranker',
  retrain_when: { staleAfter: '7d' },
  changed_at: new Date(NOW - 30 * DAY),
  newest_at: new Date(NOW - 8 * DAY),
  asked_at: null,
  scheduled_at: null,
  is_open: false,
  ...over,
});

describe('a retrain by age', () => {
  test.each([
    ['is due once no version is young enough', {}, 'stale'],
    ['is due to the millisecond', { newest_at: new Date(NOW - 7 * DAY) }, 'stale'],
    ['is not due before', { newest_at: new Date(NOW - 7 * DAY + 1) }, undefined],
    ['is not due while one is open', { is_open: true }, undefined],
    ['is not due without a version', { newest_at: null }, undefined],
    ['waits a day after one that failed', { asked_at: new Date(NOW - DAY + 1) }, undefined],
    ['comes again a day after one that failed', { asked_at: new Date(NOW - DAY) }, 'stale'],
  ] as const)('%s', (_rule, over, expected) => {
    expect(dueCause(model(over), NOW)).toBe(expected);
  });
});

describe('a retrain by schedule', () => {
  const weekly = { retrain_when: { schedule: { cron: '0 3 * * 4', timeZone: 'UTC' } } };
  test.each([
    ['is due once its moment has come', { scheduled_at: new Date(NOW - 7 * DAY) }, 'schedule'],
    ['is due once for each moment', { scheduled_at: new Date(NOW - 8 * HOUR) }, undefined],
    ['makes up for a moment that nobody was there to see', { scheduled_at: new Date(NOW - 21 * DAY) }, 'schedule'],
    ['does not look back before the model said so', { changed_at: new Date(NOW - HOUR) }, undefined],
    ['is not due while one is open', { scheduled_at: new Date(NOW - 7 * DAY), is_open: true }, undefined],
  ] as const)('%s', (_rule, over, expected) => {
    expect(dueCause(model({ ...weekly, ...over }), NOW)).toBe(expected);
  });

  test('is read in its own time zone', () => {
    const at = (timeZone: string) =>
      model({ retrain_when: { schedule: { cron: '30 12 26 11 *', timeZone } }, scheduled_at: new Date(NOW - 2 * DAY) });
    expect(dueCause(at('Europe/Berlin'), NOW)).toBe('schedule');
    expect(dueCause(at('UTC'), NOW)).toBeUndefined();
  });
});
