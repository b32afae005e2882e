import { sha256Hex } from '../../core/canonical.ts';
import type { Suite } from '../../core/suite.ts';
import { MAX_LATENESS_MS } from './watermark.ts';
import { windowSpec } from './windows.ts';

/** Per cent of the models that the new version of a suite decides for; 0: none, it is a shadow. */
export const MAX_SHARE = 100;

const PLACES = 2 ** 32;
const PLACE_HEX_DIGITS = 8;

/**
 * Does the new version decide for this model? Each model has one place, from SHA-256 of suite and model: the same one whatever
 * the share and the version, so that a growing share keeps the models it had and a shrinking one takes in none.
 */
export function inShare(suite: string, model: string, share: number): boolean {
  const place = Number.parseInt(sha256Hex(`${suite}\n${model}`).slice(0, PLACE_HEX_DIGITS), 16);
  return place * MAX_SHARE < share * PLACES;
}

/** The version kept beside the active one, with its share in force. */
export interface NextVersion {
  readonly suiteHash: string;
  readonly share: number;
}

/** The version that decides for a model, by hash. */
export function decidingVersion(suite: string, model: string, active: string, next: NextVersion | null): string {
  return next !== null && inShare(suite, model, next.share) ? next.suiteHash : active;
}

/**
 * The first tick at which every window of a version holds all its reports, when the version counts those read after the
 * newest one that was read before it was observed at `newestMs`; null: nothing was read before, every tick is complete.
 */
export function completeTick(suite: Suite, newestMs: number | null): number | null {
  // The window must start behind the newest report.
  return newestMs === null ? null : tickOfWindowsFrom(suite, newestMs + 1);
}

/** The first tick none of whose windows begins before the instant. */
export function tickOfWindowsFrom(suite: Suite, fromMs: number): number {
  const ends = suite.windows.map(({ name }) => {
    const { lengthMs, stepMs } = windowSpec(name);
    return Math.ceil((fromMs + lengthMs) / stepMs) * stepMs;
  });
  return Math.ceil(Math.max(...ends) / suite.tickMs) * suite.tickMs;
}

/** Nothing that was read before the version was observed after it: completeTick the other way round, at most a step of the longest window and a tick later. */
export function newestBefore(suite: Suite, completeTickMs: number): number {
  return completeTickMs - Math.max(...suite.windows.map(({ name }) => windowSpec(name).lengthMs)) - 1;
}

/**
 * Reports observed at or after it were on time whenever they were read before the version was taken up, in whatever order the partitions were: the
 * watermark never goes back, and had not reached the tick behind the version's start.
 */
export function onTimeFrom(suite: Suite, startTickMs: number): number {
  return startTickMs + suite.tickMs - MAX_LATENESS_MS;
}

/** Has the version published a complete tick? */
export function isComplete(completeTickMs: number | null, scoredTickMs: number | null): boolean {
  return completeTickMs === null || (scoredTickMs !== null && scoredTickMs >= completeTickMs);
}

export interface ScoredTicks {
  /** Length of a tick. */
  readonly tickMs: number;
  /** Ticks up to it are scored; null: none. */
  readonly scoredTickMs: number | null;
}

/** The last tick that two versions have both scored, after the place at which the second began; null: none yet. */
export function lastCommonTick(a: ScoredTicks, b: ScoredTicks, afterMs: number | null): number | null {
  if (a.scoredTickMs === null || b.scoredTickMs === null) return null;
  const common = leastCommonMultiple(a.tickMs, b.tickMs);
  const tickMs = Math.floor(Math.min(a.scoredTickMs, b.scoredTickMs) / common) * common;
  return afterMs !== null && tickMs <= afterMs ? null : tickMs;
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}
