import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { retryAfterMs, waitBeforeAttemptMs } from '../../../../providers/ray-job-submission-client/src/retry.ts';

const NOW = Date.parse('Mon, 23 Nov 2026 10:00:00 GMT');

describe('Retry-After', () => {
  test.each([
    ['seconds', '7', 7_000],
    ['zero', '0', 0],
    ['a year', '9999999', 60_000],
    ['a number beyond doubles', '999999999999999', 60_000],
    ['a word', 'abc', undefined],
    ['a negative number', '-5', undefined],
    ['a fraction', '1.5', undefined],
    ['nothing', '', undefined],
    ['a date 10 s ahead', 'Mon, 23 Nov 2026 10:00:10 GMT', 10_000],
    ['a date a day ahead', 'Tue, 24 Nov 2026 10:00:00 GMT', 60_000],
    ['a date gone by', 'Mon, 23 Nov 2026 09:00:00 GMT', 0],
  ])('of %s', (_what, header, expected) => {
    expect(retryAfterMs(header, NOW)).toBe(expected);
  });

  test('is never above 60 s, jitter included, whatever the server sends', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.integer({ min: 1, max: 100 }),
        fc.double({ min: 0, max: 0.999999, noNaN: true }),
        (header, attempt, random) => {
          const waitMs = waitBeforeAttemptMs(attempt, retryAfterMs(header, NOW), random);
          expect(waitMs).toBeGreaterThanOrEqual(0);
          expect(waitMs).toBeLessThanOrEqual(60_000);
        },
      ),
    );
  });

  test('is spread out by jitter', () => {
    expect(waitBeforeAttemptMs(1, 60_000, 0)).toBe(60_000);
    expect(waitBeforeAttemptMs(1, 60_000, 0.5)).toBe(54_000);
  });
});
