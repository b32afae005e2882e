import { BACKOFF_FIRST_MS, BACKOFF_LIMIT_MS, RETRY_AFTER_LIMIT_MS } from './limits.ts';

/**
 * Retry-After as milliseconds, at most 60 s whatever the server asks: seconds or an HTTP date (RFC 9110, 10.2.3).
 * Anything else, a negative number too, is undefined: the default backoff then holds.
 */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  if (/^\d{1,15}$/.test(text)) return Math.min(Number(text) * 1000, RETRY_AFTER_LIMIT_MS);
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) return undefined;
  const dateMs = Date.parse(text);
  if (Number.isNaN(dateMs)) return undefined;
  return Math.min(Math.max(0, dateMs - nowMs), RETRY_AFTER_LIMIT_MS);
}

/**
 * How long to wait before attempt `attempt` (1: the first repeat). `random` is in [0, 1): jitter takes up to a fifth off, so that many
 * clients told the same time do not come back together and nobody waits longer than the cap.
 */
export function waitBeforeAttemptMs(attempt: number, askedMs: number | undefined, random: number): number {
  const backoffMs = Math.min(BACKOFF_FIRST_MS * 2 ** (attempt - 1), BACKOFF_LIMIT_MS);
  return Math.round((askedMs ?? backoffMs) * (1 - random / 5));
}

/** Waits; ends early by throwing the signal's reason. */
export async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
