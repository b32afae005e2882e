import { RESOLUTION_MS, type Resolution } from './pane.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/**
 * How long panes are kept behind the watermark: late data up to 7 d re-emits ticks that old, and their windows reach
 * back by their own length, plus the step their ends are rounded to. Source: docs/scoring.md, Windows, time, lateness.
 */
export const KEEP_MS: Readonly<Record<Resolution, number>> = {
  '1m': 7 * DAY_MS + HOUR_MS + MINUTE_MS,
  '15m': 8 * DAY_MS + 15 * MINUTE_MS,
  '1h': 14 * DAY_MS + HOUR_MS,
};

/** Panes that start before this may be deleted: they ended at or before watermark − keep. */
export function keptFromMs(resolution: Resolution, watermarkMs: number): number {
  return watermarkMs - KEEP_MS[resolution] - RESOLUTION_MS[resolution] + 1;
}

/** Composites of counted ticks that a decision's record carries, the latest first. */
export const MAX_RECORDED_TICKS = 64;
/** How far they reach back behind the decided tick: as far as late data does. */
export const RECORDED_BACK_MS = 7 * DAY_MS;
