import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RateLimiter } from '../../platform/rate-limit.ts';
import { failingOpen, REST_MS } from '../../platform/rate-limit-failover.ts';
import { memoryRateLimiter } from '../../platform/rate-limit-memory.ts';
import { redisRateLimiter } from '../../platform/rate-limit-redis.ts';
import { rateLimitConformance } from '../support/rate-limit-conformance.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';

const missing = redisMissing();
const PATIENT_MS = 30_000;

describe.skipIf(missing !== undefined)(`on Redis${missing === undefined ? '' : `: ${missing}`}`, () => {
  let redis: TestRedis;
  const opened: RateLimiter[] = [];
  // As long as a busy machine may take: what a request waits is tried below.
  const open = async (prefix = 'one') => {
    const limiter = await redisRateLimiter(redis.url, prefix, PATIENT_MS);
    opened.push(limiter);
    return limiter;
  };

  beforeAll(async () => {
    redis = await startRedis();
  });

  afterAll(async () => {
    for (const limiter of opened) await limiter.close();
    await redis?.stop();
  });

  rateLimitConformance('Redis', () => open());

  const ONE = { key: 'k', rate: { perSecond: 0.001, burst: 1 } };

  test('two installations on one Redis have buckets of their own', async () => {
    const [mine, theirs] = [await open('mine'), await open('theirs')];
    expect((await mine.take([ONE])).allowed).toBe(true);
    expect((await mine.take([ONE])).allowed).toBe(false);
    expect((await theirs.take([ONE])).allowed).toBe(true);
  });

  test('a Redis that is stopped holds no request up, and decides again once it is back', async () => {
    const own = await startRedis();
    const told: string[] = [];
    const far = await redisRateLimiter(own.url, 'away', 1_000);
    const limiter = failingOpen(far, memoryRateLimiter(), {
      decided: (by) => told.push(by),
      changed: (away) => told.push(away ? 'away' : 'back'),
    });
    opened.push(limiter);
    await limiter.take([ONE]);
    // Alive, and answering nobody: what a connection alone would not show.
    own.pause();
    expect((await limiter.take([ONE])).allowed).toBe(true);
    expect((await limiter.take([ONE])).allowed).toBe(false);
    own.resume();
    while (!told.includes('back')) {
      await sleep(REST_MS / 5);
      await limiter.take([ONE]);
    }
    expect(told.filter((one) => one !== 'alone')).toEqual(['shared', 'away', 'back', 'shared']);
    await own.stop();
    expect((await limiter.take([{ ...ONE, key: 'gone' }])).allowed).toBe(true);
  });
});
