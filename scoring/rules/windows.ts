import type { Resolution } from './pane.ts';
import { RESOLUTION_MS, RESOLUTIONS } from './pane.ts';
import type { WindowName } from './published.ts';

export interface WindowSpec {
  readonly name: WindowName;
  readonly lengthMs: number;
  /** Ends lie on multiples of the step; the step is the resolution of the finest panes that feed the window. */
  readonly stepMs: number;
  readonly resolution: Resolution;
}

const HOUR_MS = 3_600_000;

function spec(name: WindowName, hours: number, resolution: Resolution): WindowSpec {
  return { name, lengthMs: hours * HOUR_MS, stepMs: RESOLUTION_MS[resolution], resolution };
}

/** In the order in which every sum over windows runs. */
export const WINDOWS: readonly WindowSpec[] = [spec('1h', 1, '1m'), spec('24h', 24, '15m'), spec('7d', 168, '1h')];

export function windowSpec(name: WindowName): WindowSpec {
  return WINDOWS.find((window) => window.name === name)!;
}

/** [startMs, endMs) of event time. */
export interface WindowBounds {
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * The window at T ends at the largest multiple of its own step ≤ T in UTC and covers [end − W, end).
 * Source: docs/scoring.md, Windows, time, lateness.
 */
export function windowAt(window: WindowSpec, atMs: number): WindowBounds {
  const endMs = Math.floor(atMs / window.stepMs) * window.stepMs;
  return { startMs: endMs - window.lengthMs, endMs };
}

/**
 * The window that is being filled at T: the one whose last pane holds T. It ends at the next multiple of its own step after T,
 * and the tick at that end publishes it.
 */
export function liveWindowAt(window: WindowSpec, atMs: number): WindowBounds {
  return windowAt(window, atMs + window.stepMs);
}

/** A stretch of a window in whole panes of one resolution. */
export interface Tile extends WindowBounds {
  readonly resolution: Resolution;
}

/**
 * The window in as few panes as there can be, in order: whole hours as panes of an hour, what is left as smaller ones, down to the
 * window's own. Every report is in a pane of each resolution, so the sums are the same, of 27 panes for a day instead of 96.
 */
export function tilesOf(window: WindowSpec, bounds: WindowBounds): readonly Tile[] {
  return tiles(bounds, RESOLUTIONS.length - 1, RESOLUTIONS.indexOf(window.resolution));
}

function tiles({ startMs, endMs }: WindowBounds, size: number, finest: number): readonly Tile[] {
  if (startMs >= endMs) return [];
  const resolution = RESOLUTIONS[size]!;
  if (size === finest) return [{ resolution, startMs, endMs }];
  const stepMs = RESOLUTION_MS[resolution];
  const [from, to] = [Math.ceil(startMs / stepMs) * stepMs, Math.floor(endMs / stepMs) * stepMs];
  if (from >= to) return tiles({ startMs, endMs }, size - 1, finest);
  return [
    ...tiles({ startMs, endMs: from }, size - 1, finest),
    { resolution, startMs: from, endMs: to },
    ...tiles({ startMs: to, endMs }, size - 1, finest),
  ];
}

export function within(bounds: WindowBounds, observedAtMs: number): boolean {
  return observedAtMs >= bounds.startMs && observedAtMs < bounds.endMs;
}
