import type { Resolution } from './pane.ts';
import { RESOLUTION_MS } from './pane.ts';
import type { WindowName } from './published.ts';

export interface WindowSpec {
  readonly name: WindowName;
  readonly lengthMs: number;
  /** Ends lie on multiples of the step; the step is the resolution of the panes that feed the window. */
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

export function within(bounds: WindowBounds, observedAtMs: number): boolean {
  return observedAtMs >= bounds.startMs && observedAtMs < bounds.endMs;
}
