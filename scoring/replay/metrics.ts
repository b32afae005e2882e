import type { Metrics } from '../../platform/metrics.ts';
import { REPLAY_BREAKS, REPLAY_ENDS, type ReplayMetrics } from './context.ts';

export function replayMetrics(metrics: Metrics): ReplayMetrics {
  const reports = metrics.counter('merit_replay_reports_total', 'Reports that replays read again', {});
  const ended = metrics.counter('merit_replays_total', 'Replays by how they ended', { end: REPLAY_ENDS });
  const broken = metrics.counter(
    'merit_replay_breaks_total',
    'Times that a replay was broken off before its end, by what',
    {
      cause: REPLAY_BREAKS,
    },
  );
  const comparison = metrics.histogram(
    'merit_replay_comparison_seconds',
    'Holding what came of a replay against what was live',
    {},
  );
  const running = metrics.gauge('merit_replays_running', 'Replays that this process works on', {});
  return {
    reports: (count) => reports({}, count),
    ended: (end) => ended({ end }),
    brokenOff: (cause) => broken({ cause }),
    compared: (seconds) => comparison({}, seconds),
    running: (count) => running({}, count),
  };
}
