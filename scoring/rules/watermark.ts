import type { Suite } from '../../core/suite.ts';
import { type WindowSpec, windowSpec } from './windows.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** A report further ahead of its append time is quarantined `clock_skew`. */
export const MAX_SKEW_MS = 5 * MINUTE_MS;
/** A partition whose last append is further behind the log's greatest is idle. */
export const IDLE_AFTER_MS = 5 * MINUTE_MS;
/** Later than this a report is archived and counted, and touches no score. */
export const MAX_LATENESS_MS = 7 * DAY_MS;

/** What is known of one (suite, partition) that ever held a report of the suite. */
export interface PartitionMark {
  readonly partition: number;
  /** Its greatest accepted observedAt of the suite. */
  readonly watermarkMs: number;
  /** The append time of the partition's last record, of any suite. */
  readonly lastAppendMs: number;
}

/**
 * The suite's watermark: the least over the partitions that ever held it, idle ones left out; it never goes back. Null
 * until a report was accepted. `logAppendMs` is the log's greatest append time: never a wall clock.
 * Source: Akidau and others, The Dataflow Model, PVLDB 8 (2015); idleness and limits, docs/scoring.md, Windows, time, lateness.
 */
export function suiteWatermark(
  previous: number | null,
  partitions: readonly PartitionMark[],
  logAppendMs: number,
): number | null {
  const live = partitions.filter((mark) => logAppendMs - mark.lastAppendMs <= IDLE_AFTER_MS);
  if (live.length === 0) return previous;
  const least = live.reduce((least, mark) => Math.min(least, mark.watermarkMs), Number.POSITIVE_INFINITY);
  return previous === null ? least : Math.max(previous, least);
}

export function isClockSkewed(observedAtMs: number, appendMs: number): boolean {
  return observedAtMs - appendMs > MAX_SKEW_MS;
}

/** Too late by the watermark as it stood when the report was read, in log order. */
export function isTooLate(observedAtMs: number, watermarkMs: number | null): boolean {
  return watermarkMs !== null && watermarkMs - observedAtMs > MAX_LATENESS_MS;
}

/** The greatest tick ≤ the instant; tick t is final when the watermark reaches t. */
export function tickAt(atMs: number, tickLengthMs: number): number {
  return Math.floor(atMs / tickLengthMs) * tickLengthMs;
}

export interface TickRange {
  readonly firstMs: number;
  readonly lastMs: number;
}

/**
 * The ticks whose windows cover the instant, whether final yet or not: those t with end(t) − W ≤ observedAt < end(t) for
 * some window of the suite, end(t) being the largest multiple of the window's step ≤ t. Undefined where no tick falls
 * into any of them. Ticks between the ends that no window covers are possible only in suites without the shortest
 * window, and re-emitting those changes nothing.
 */
export function affectedTicks(suite: Suite, observedAtMs: number): TickRange | undefined {
  let firstMs = Number.POSITIVE_INFINITY;
  let lastMs = Number.NEGATIVE_INFINITY;
  for (const { name } of suite.windows) {
    const range = ticksOfWindow(windowSpec(name), observedAtMs, suite.tickMs);
    if (range === undefined) continue;
    firstMs = Math.min(firstMs, range.firstMs);
    lastMs = Math.max(lastMs, range.lastMs);
  }
  return lastMs < firstMs ? undefined : { firstMs, lastMs };
}

function ticksOfWindow(window: WindowSpec, observedAtMs: number, tickLengthMs: number): TickRange | undefined {
  const firstEnd = (Math.floor(observedAtMs / window.stepMs) + 1) * window.stepMs;
  const lastEnd = Math.floor((observedAtMs + window.lengthMs) / window.stepMs) * window.stepMs;
  const firstMs = Math.ceil(firstEnd / tickLengthMs) * tickLengthMs;
  // The last end serves the ticks before the next step begins.
  const lastMs = tickAt(lastEnd + window.stepMs - 1, tickLengthMs);
  return lastMs < firstMs ? undefined : { firstMs, lastMs };
}

/** The longest window: this long (and a step) after the last report, no window holds data. */
export const MAX_WINDOW_MS = 7 * DAY_MS;
