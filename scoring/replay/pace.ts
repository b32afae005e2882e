import type { Clock } from '../../platform/clock.ts';

/** So much of a second's reports may come at once. */
const BURST_MS = 200;

/** At most `perSecond` reports on the average; null: no limit. What was too much is waited for afterwards, so that a message of any size passes. */
export function paceOf(
  clock: Clock,
  perSecond: number | null,
  signal: AbortSignal,
): (reports: number) => Promise<void> {
  let freeMs = clock.now();
  return async (reports) => {
    if (perSecond === null || reports === 0) return;
    const now = clock.now();
    freeMs = Math.max(freeMs, now - BURST_MS) + (reports / perSecond) * 1000;
    if (freeMs > now) await clock.sleep(freeMs - now, signal);
  };
}
