/** Retry-After in seconds, as milliseconds; undefined where it is a date, or no such number. */
export function readRetryAfterMs(header: unknown): number | undefined {
  const seconds = typeof header === 'string' && header.trim() !== '' ? Number(header) : Number.NaN;
  return Number.isFinite(seconds) && seconds >= 0 ? Math.ceil(seconds * 1000) : undefined;
}
