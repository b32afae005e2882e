import type { Rate } from './config-doors.ts';

/**
 * The rate limit port: so many a second on the long run, and a burst at once. Adapters: `rate-limit-memory.ts` (this process by itself),
 * `rate-limit-redis.ts` (all processes together). Each is the generic cell rate algorithm (ITU-T I.371): one number a key, the time at which the
 * bucket will be full again.
 */
export interface RateLimiter {
  /** Takes one from every bucket, or from none where one is empty. Throws where the adapter cannot tell; what then holds is its caller's word. */
  take(buckets: readonly Bucket[]): Promise<RateVerdict>;
  close(): Promise<void>;
}

export interface Bucket {
  /** At most MAX_KEY_LENGTH characters. */
  readonly key: string;
  readonly rate: Rate;
}

/** Of the bucket that is nearest to its limit. */
export interface RateVerdict {
  readonly allowed: boolean;
  /** Of that bucket: what it holds at most, and what is left now. */
  readonly limit: number;
  readonly remaining: number;
  /** Until it is full again. */
  readonly resetMs: number;
  /** Until one may be taken; 0 where one was. */
  readonly retryAfterMs: number;
}

export const MAX_KEY_LENGTH = 512;

/** Between two that are taken at the long run's rate. */
export function emissionMs({ perSecond }: Rate): number {
  return 1_000 / perSecond;
}

/** How far ahead of now a bucket's time may be: a whole burst. */
export function toleranceMs(rate: Rate): number {
  return emissionMs(rate) * rate.burst;
}

/** What a bucket says whose time is `fullAtMs` once one more is taken of it. */
export function verdictOf(rate: Rate, fullAtMs: number, nowMs: number, allowed: boolean): RateVerdict {
  const aheadMs = Math.max(0, fullAtMs - nowMs);
  // A thousandth of one: what is left of a sum of inexact times is no whole one less.
  const remaining = Math.max(0, Math.floor((toleranceMs(rate) - aheadMs) / emissionMs(rate) + 1e-3));
  const retryAfterMs = allowed ? 0 : aheadMs + emissionMs(rate) - toleranceMs(rate);
  return { allowed, limit: rate.burst, remaining: allowed ? remaining : 0, resetMs: aheadMs, retryAfterMs };
}

/** The one that is told: a refusal before others, and of those the longest; else what leaves the least. */
export function binding(verdicts: readonly RateVerdict[]): RateVerdict {
  return verdicts.reduce((a, b) => {
    if (a.allowed !== b.allowed) return a.allowed ? b : a;
    if (!a.allowed) return b.retryAfterMs > a.retryAfterMs ? b : a;
    return b.remaining < a.remaining ? b : a;
  });
}
