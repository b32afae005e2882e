import type { Metrics } from '../../platform/metrics.ts';
import type { WindowsFrom } from './live-windows.ts';

export interface RealtimeMetrics {
  /** One score computed. */
  computed(windows: WindowsFrom, seconds: number): void;
}

/** Edges at the aim (5 ms), the floor (20 ms) and the objective (200 ms) of a score in real time. */
const COMPUTE_BUCKETS_S: readonly number[] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5];

export function realtimeMetrics(metrics: Metrics): RealtimeMetrics {
  const compute = metrics.histogram(
    'merit_score_compute_seconds',
    'Scoring one report against the live windows, by where the windows came from',
    { windows: ['held', 'followed', 'read'] },
    COMPUTE_BUCKETS_S,
  );
  return { computed: (windows, seconds) => compute({ windows }, seconds) };
}

/** For tests and tools that watch nothing. */
export const NO_REALTIME_METRICS: RealtimeMetrics = { computed: () => {} };
