import { Cron } from 'croner';
import { durationMs } from '../core/duration.ts';
import { type Refusal, refuse } from '../core/refusal.ts';
import type { Interval } from './planner-input.ts';

/** A window that opens by a cron expression, read in a time zone, and stays open for a duration of elapsed time. */
export interface OffPeakWindow {
  /** Five fields; a clock time that a change to summer time leaves out is taken as soon as the clock goes on. */
  readonly cron: string;
  readonly duration: string;
  /** IANA name, such as Europe/Berlin. */
  readonly timeZone: string;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const BACK_MS = DAY_MS;
const AHEAD_MS = 14 * DAY_MS;
const MIN_WINDOW_MS = 60_000;
const MAX_WINDOW_MS = 7 * DAY_MS;
/** Openings of a window on one day, on the days on which it opens. */
const MAX_OPENINGS_A_DAY = 48;
/** Openings of one window that are looked at; the longest may have opened a week before the others. A day of 25 hours has some more. */
const MAX_OPENINGS = (MAX_OPENINGS_A_DAY + 2) * 22;
/** Results kept, since the same windows are asked for at each planning. */
const MAX_KEPT = 256;

/** What is wrong with a window; none: it can be resolved. */
export function windowRefusals(window: OffPeakWindow, field: string): readonly Refusal[] {
  const refusals: Refusal[] = [];
  const ms = durationMs(window.duration);
  if (ms === undefined)
    refusals.push(refuse('duration', `${field}.duration`, 'is not a duration', 'write 30m, 8h or 2d'));
  else if (ms < MIN_WINDOW_MS || ms > MAX_WINDOW_MS)
    refusals.push(refuse('range', `${field}.duration`, 'must be between 1m and 7d', 'change it'));
  if (!isTimeZone(window.timeZone)) {
    const mend = 'write an IANA name such as Europe/Berlin or UTC';
    refusals.push(refuse('time_zone', `${field}.timeZone`, 'is no time zone', mend));
  }
  if (refusals.length > 0) return refusals;
  if (openingsOf(window, 0, DAY_MS) === undefined)
    return [refuse('cron', `${field}.cron`, 'is no cron expression of five fields', 'write 0 22 * * 1-5')];
  // However rare its days are: the same clock times, every day.
  const daily = window.cron.trim().replace(/^(\S+\s+\S+)\s.*$/, '$1 * * *');
  if ((openingsOf({ ...window, cron: daily, timeZone: 'UTC' }, 0, DAY_MS) ?? []).length > MAX_OPENINGS_A_DAY) {
    const problem = `opens more than ${MAX_OPENINGS_A_DAY} times a day`;
    return [refuse('range', `${field}.cron`, problem, 'open less often, for a longer duration')];
  }
  return [];
}

const kept = new Map<string, readonly Interval[]>();

/**
 * When the windows are open, from a day before `nowMs` to two weeks after it: sorted, those that meet made one, none cut. It depends on
 * the hour of `nowMs` alone, so that two reads in one give equal intervals. The windows were checked.
 */
export function offPeakIntervals(windows: readonly OffPeakWindow[], nowMs: number): readonly Interval[] {
  const hourMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS;
  const key = JSON.stringify([hourMs, windows]);
  const known = kept.get(key);
  if (known !== undefined) return known;
  const intervals = merged(windows.flatMap((window) => intervalsOf(window, hourMs - BACK_MS, hourMs + AHEAD_MS)));
  kept.set(key, intervals);
  for (const oldest of kept.keys()) {
    if (kept.size <= MAX_KEPT) break;
    kept.delete(oldest);
  }
  return intervals;
}

function intervalsOf(window: OffPeakWindow, fromMs: number, untilMs: number): readonly Interval[] {
  const lengthMs = durationMs(window.duration) ?? 0;
  return (openingsOf(window, fromMs - lengthMs, untilMs) ?? [])
    .map((openMs) => ({ fromMs: openMs, untilMs: openMs + lengthMs }))
    .filter((interval) => interval.untilMs > fromMs);
}

/** The instants at which a window opens, fromMs ≤ t < untilMs; undefined: the expression is none. */
function openingsOf({ cron, timeZone }: OffPeakWindow, fromMs: number, untilMs: number): readonly number[] | undefined {
  // `?` stands for the instant at which the expression is read.
  if (cron.includes('?')) return undefined;
  try {
    const schedule = new Cron(cron, { timezone: timeZone, mode: '5-part', paused: true });
    const openings: number[] = [];
    let after = new Date(fromMs - 1);
    while (openings.length < MAX_OPENINGS) {
      const next = schedule.nextRun(after);
      if (next === null || next.getTime() >= untilMs) break;
      openings.push(next.getTime());
      after = next;
    }
    return openings;
  } catch {
    return undefined;
  }
}

function merged(intervals: readonly Interval[]): readonly Interval[] {
  const sorted = [...intervals].sort((a, b) => a.fromMs - b.fromMs || a.untilMs - b.untilMs);
  const out: Interval[] = [];
  for (const interval of sorted) {
    const last = out.at(-1);
    if (last === undefined || interval.fromMs > last.untilMs) out.push(interval);
    else if (interval.untilMs > last.untilMs) out[out.length - 1] = { fromMs: last.fromMs, untilMs: interval.untilMs };
  }
  return out;
}

/** An IANA name that this Node knows. */
export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    // Offsets such as +02:00 are taken too, and know no summer time: they are no zone.
    return /^[A-Za-z]/.test(name);
  } catch {
    return false;
  }
}
