/**
 * A share of what one shard counts, so that several may count side by side: whole hours of event time, the longest panes, so that no pane is in two
 * shares. Each still reads all lines, since what is late hangs on those before.
 */
export interface HourShare {
  /** From 0. */
  readonly index: number;
  readonly of: number;
}

/** Hours of all that is kept, 15 days: more shares have nothing to do. */
export const MAX_SHARES = 360;
const HOUR_MS = 3_600_000;

/** Since 1970. */
export function hourOf(atMs: number): number {
  return Math.floor(atMs / HOUR_MS);
}

export function isInHourShare({ index, of }: HourShare, atMs: number): boolean {
  const hour = hourOf(atMs) % of;
  return (hour < 0 ? hour + of : hour) === index;
}
