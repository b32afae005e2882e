import {
  type Bucket,
  binding,
  emissionMs,
  type RateLimiter,
  type RateVerdict,
  toleranceMs,
  verdictOf,
} from './rate-limit.ts';

/** Buckets that are not full are remembered; beyond it the ones longest untouched are taken for full. */
const MAX_BUCKETS = 100_000;
/** A full one is dropped when it is met; of those nobody asks for again, so many are looked at with each request. */
const SWEPT_A_REQUEST = 2;

/** The limits of this process by itself. `now` in milliseconds, and never back. */
export function memoryRateLimiter(now: () => number = () => performance.now()): RateLimiter {
  /** Key → when it is full again, in the order of their last use. */
  const fullAt = new Map<string, number>();

  const sweep = (nowMs: number) => {
    let looked = 0;
    for (const [key, at] of fullAt) {
      if (fullAt.size <= MAX_BUCKETS && (at > nowMs || looked++ === SWEPT_A_REQUEST)) return;
      fullAt.delete(key);
    }
  };

  return {
    take: async (buckets) => {
      const nowMs = now();
      const taken = buckets.map((bucket) => taking(bucket, fullAt.get(bucket.key) ?? 0, nowMs));
      const allowed = taken.every((one) => one.verdict.allowed);
      if (allowed) {
        for (const { key, at } of taken) {
          fullAt.delete(key);
          fullAt.set(key, at);
        }
      }
      sweep(nowMs);
      return binding(taken.map((one) => one.verdict).filter((one) => allowed || !one.allowed));
    },
    close: async () => fullAt.clear(),
  };
}

function taking(
  { key, rate }: Bucket,
  storedAt: number,
  nowMs: number,
): { readonly key: string; readonly at: number; readonly verdict: RateVerdict } {
  const before = Math.max(storedAt, nowMs);
  const at = before + emissionMs(rate);
  const allowed = at - nowMs <= toleranceMs(rate) + 1e-6;
  return { key, at, verdict: verdictOf(rate, allowed ? at : before, nowMs, allowed) };
}
