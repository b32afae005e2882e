import type { BudgetFile } from './pool-file.ts';

type Period = NonNullable<BudgetFile['period']>;

const DAY_MS = 86_400_000;

/**
 * When the period that holds `nowMs` began: at the first moment of its first day by the clocks of the time zone; weeks begin on Mondays. That
 * is midnight, or where summer time leaves midnight out the moment at which the day begins. Pure but for the zone's table.
 */
export function periodStartMs(period: Period, nowMs: number, timeZone = 'UTC'): number {
  const local = new Date(nowMs + offsetMs(nowMs, timeZone));
  const year = local.getUTCFullYear();
  const month = local.getUTCMonth();
  const day = local.getUTCDate();
  switch (period) {
    case 'day':
      return dayStartMs(Date.UTC(year, month, day), timeZone);
    case 'week':
      return dayStartMs(Date.UTC(year, month, day - ((local.getUTCDay() + 6) % 7)), timeZone);
    case 'month':
      return dayStartMs(Date.UTC(year, month, 1), timeZone);
    case 'quarter':
      return dayStartMs(Date.UTC(year, month - (month % 3), 1), timeZone);
    case 'year':
      return dayStartMs(Date.UTC(year, 0, 1), timeZone);
  }
}

/** The first moment at which the clocks of the zone show a day; `localMs` is its midnight, read as UTC. */
function dayStartMs(localMs: number, timeZone: string): number {
  // The offsets before and after any change of that day: one of them is that of its first moment.
  const offsets = [offsetMs(localMs - DAY_MS, timeZone), offsetMs(localMs + DAY_MS, timeZone)];
  const starts = offsets.map((offset) => localMs - offset);
  const shown = starts.filter((atMs) => atMs + offsetMs(atMs, timeZone) === localMs);
  // Midnight twice: the first one. Midnight left out: the day begins when the clock goes on, between the two readings.
  return shown.length > 0 ? Math.min(...shown) : changeMs(Math.min(...starts), Math.max(...starts), timeZone);
}

/** When between two moments the zone's clocks are changed. */
function changeMs(fromMs: number, untilMs: number, timeZone: string): number {
  const before = offsetMs(fromMs, timeZone);
  let [low, high] = [fromMs, untilMs];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetMs(middle, timeZone) === before) low = middle;
    else high = middle;
  }
  return high;
}

/** Formats are dear to make, and zones are few. */
const formats = new Map<string, Intl.DateTimeFormat>();
const MAX_FORMATS = 600;

/** How far the clocks of a zone are ahead of UTC at a moment. */
function offsetMs(atMs: number, timeZone: string): number {
  if (timeZone === 'UTC') return 0;
  let format = formats.get(timeZone);
  if (format === undefined) {
    if (formats.size >= MAX_FORMATS) formats.clear();
    const parts = {
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    } as const;
    format = new Intl.DateTimeFormat('en-US', { ...parts, timeZone, hourCycle: 'h23', calendar: 'gregory' });
    formats.set(timeZone, format);
  }
  const seconds = Math.floor(atMs / 1000) * 1000;
  const shown = new Map(format.formatToParts(seconds).map(({ type, value }) => [type, Number(value)]));
  const of = (type: Intl.DateTimeFormatPartTypes) => shown.get(type) ?? 0;
  return Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second')) - seconds;
}
