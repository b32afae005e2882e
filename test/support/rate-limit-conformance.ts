import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { RateLimiter } from '../../platform/rate-limit.ts';

/** What every adapter of the rate limit port keeps. `open` gives another limiter on the same buckets, or the same one. */
export function rateLimitConformance(name: string, open: () => Promise<RateLimiter>): void {
  let serial = 0;
  /** So slow that no test is as long as it takes to get one back. */
  const slow = (burst: number) => ({ perSecond: 0.001, burst });
  const bucket = (burst: number) => ({ key: `b${++serial}`, rate: slow(burst) });

  describe(`rate limits: ${name}`, () => {
    test('a burst is let through, and then nothing until the time that is told', async () => {
      const limiter = await open();
      const one = bucket(3);
      const taken = [];
      for (let i = 0; i < 4; i++) taken.push(await limiter.take([one]));
      expect(taken.map(({ allowed, limit, remaining }) => [allowed, limit, remaining])).toEqual([
        [true, 3, 2],
        [true, 3, 1],
        [true, 3, 0],
        [false, 3, 0],
      ]);
      expect(taken[2]!.retryAfterMs).toBe(0);
      expect(taken[3]!.retryAfterMs).toBeGreaterThan(900_000);
      expect(taken[3]!.retryAfterMs).toBeLessThanOrEqual(1_000_000);
      expect(taken[3]!.resetMs).toBeGreaterThan(2_900_000);
    });

    test('who waits as long as it is told is let through, and asking too early costs nothing', async () => {
      const limiter = await open();
      const quick = { key: `q${++serial}`, rate: { perSecond: 20, burst: 1 } };
      expect((await limiter.take([quick])).allowed).toBe(true);
      let verdict = await limiter.take([quick]);
      // A machine that stood still meanwhile has given it back already.
      for (let asked = 0; !verdict.allowed; asked++) {
        expect(asked).toBeLessThan(20);
        expect(verdict.retryAfterMs).toBeLessThanOrEqual(51);
        await sleep(Math.ceil(verdict.retryAfterMs) + 1);
        verdict = await limiter.take([quick]);
      }
    });

    test('of several buckets one is taken of all or of none, and the nearest to its limit is told', async () => {
      const limiter = await open();
      const [wide, narrow] = [bucket(5), bucket(2)];
      expect(await limiter.take([wide, narrow])).toMatchObject({ allowed: true, limit: 2, remaining: 1 });
      expect(await limiter.take([narrow, wide])).toMatchObject({ allowed: true, limit: 2, remaining: 0 });
      for (let i = 0; i < 3; i++)
        expect(await limiter.take([wide, narrow])).toMatchObject({ allowed: false, limit: 2, remaining: 0 });
      expect(await limiter.take([wide])).toMatchObject({ allowed: true, remaining: 2 });
    });

    test('of many at once no more are let through than the burst, and buckets do not touch each other', async () => {
      const limiters = await Promise.all([open(), open()]);
      const [one, other] = [bucket(10), bucket(4)];
      const verdicts = await Promise.all(
        Array.from({ length: 40 }, (_, i) => limiters[i % 2]!.take([i % 4 === 0 ? other : one])),
      );
      const allowed = (limit: number) => verdicts.filter((one) => one.limit === limit && one.allowed).length;
      expect([allowed(10), allowed(4)]).toEqual([10, 4]);
    });
  });
}
