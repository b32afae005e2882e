import { describe, expect, test } from 'vitest';
import type { RateLimiter, RateVerdict } from '../../../platform/rate-limit.ts';
import { failingOpen, REST_MS } from '../../../platform/rate-limit-failover.ts';
import { memoryRateLimiter } from '../../../platform/rate-limit-memory.ts';
import { rateLimitConformance } from '../../support/rate-limit-conformance.ts';

const shared = memoryRateLimiter();
rateLimitConformance('in process', async () => shared);

const PER_SECOND = { key: 'k', rate: { perSecond: 10, burst: 2 } };

describe('the limits of one process', () => {
  test('give back one at a time, evenly, up to a whole burst', async () => {
    let now = 1_000;
    const limiter = memoryRateLimiter(() => now);
    const take = async () => (await limiter.take([PER_SECOND])).allowed;
    expect([await take(), await take(), await take()]).toEqual([true, true, false]);
    now += 99;
    expect(await take()).toBe(false);
    now += 1;
    expect([await take(), await take()]).toEqual([true, false]);
    now += 3_600_000;
    expect([await take(), await take(), await take()]).toEqual([true, true, false]);
  });

  test('forget buckets that are full again, and never more than they must', async () => {
    let now = 0;
    const limiter = memoryRateLimiter(() => now);
    for (let i = 0; i < 50; i++) await limiter.take([{ ...PER_SECOND, key: `gone ${i}` }]);
    await limiter.take([{ key: 'busy', rate: { perSecond: 0.001, burst: 1 } }]);
    now = 10_000;
    for (let i = 0; i < 50; i++) await limiter.take([PER_SECOND]);
    expect((await limiter.take([{ key: 'busy', rate: { perSecond: 0.001, burst: 1 } }])).allowed).toBe(false);
  });
});

describe('a shared limiter that does not answer', () => {
  function stand() {
    let now = 0;
    const state = { away: false, asked: 0 };
    const told: string[] = [];
    const yes: RateVerdict = { allowed: true, limit: 1_000, remaining: 999, resetMs: 1, retryAfterMs: 0 };
    const far: RateLimiter = {
      take: async () => {
        state.asked++;
        if (state.away) throw new Error('Command timed out');
        return yes;
      },
      close: async () => {},
    };
    const limiter = failingOpen(
      far,
      memoryRateLimiter(() => now),
      { decided: (by) => told.push(by), changed: (away) => told.push(away ? 'went away' : 'is back') },
      () => now,
    );
    return { limiter, state, told, pass: (ms: number) => (now += ms) };
  }

  test('leaves the decision to this process, which still limits, and is told once', async () => {
    const { limiter, state, told } = stand();
    await limiter.take([PER_SECOND]);
    state.away = true;
    const taken = [];
    for (let i = 0; i < 3; i++) taken.push((await limiter.take([PER_SECOND])).allowed);
    expect(taken).toEqual([true, true, false]);
    expect(told).toEqual(['shared', 'went away', 'alone', 'alone', 'alone']);
  });

  test('is not asked again for a while, and then decides again', async () => {
    const { limiter, state, told, pass } = stand();
    state.away = true;
    for (let i = 0; i < 5; i++) await limiter.take([PER_SECOND]);
    expect(state.asked).toBe(1);
    pass(REST_MS);
    await limiter.take([PER_SECOND]);
    expect(state.asked).toBe(2);
    state.away = false;
    pass(REST_MS);
    expect((await limiter.take([PER_SECOND])).limit).toBe(1_000);
    expect(told.filter((one) => one !== 'alone')).toEqual(['went away', 'is back', 'shared']);
  });
});
