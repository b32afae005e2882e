import type { RateLimiter } from './rate-limit.ts';

/** After a failure the shared limiter is left alone for so long, so that no request waits for what just did not answer. */
export const REST_MS = 1_000;

export interface FailoverWatch {
  /** `shared`: decided together with other processes; `alone`: by this one, since the shared limiter did not answer. */
  decided(by: 'shared' | 'alone'): void;
  /** Once when it goes away, and once when it is back. */
  changed(away: boolean, error: unknown): void;
}

/**
 * Fails open: where the shared limiter does not answer, this process' own buckets decide. A caller may then do as much at each process, and no
 * request is lost to a Redis that is away. Right for an API's fairness; what guards money or capacity must not use it.
 */
export function failingOpen(
  shared: RateLimiter,
  own: RateLimiter,
  watch: FailoverWatch,
  now: () => number = () => performance.now(),
): RateLimiter {
  let away = false;
  let restUntilMs = Number.NEGATIVE_INFINITY;
  const turn = (isAway: boolean, error: unknown) => {
    if (away !== isAway) watch.changed(isAway, error);
    away = isAway;
  };
  return {
    take: async (buckets) => {
      if (now() >= restUntilMs) {
        try {
          const verdict = await shared.take(buckets);
          turn(false, undefined);
          watch.decided('shared');
          return verdict;
        } catch (error) {
          restUntilMs = now() + REST_MS;
          turn(true, error);
        }
      }
      watch.decided('alone');
      return own.take(buckets);
    },
    close: async () => {
      await Promise.all([shared.close(), own.close()]);
    },
  };
}
