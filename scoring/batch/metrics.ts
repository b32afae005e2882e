import type { Metrics } from '../../platform/metrics.ts';
import { type RecomputeMetrics, SHARD_STATES } from './context.ts';

export function recomputeMetrics(metrics: Metrics): RecomputeMetrics {
  const reports = metrics.counter(
    'merit_recompute_reports_total',
    'Accepted reports read again for a new version, by what they are to it',
    { result: ['counted', 'late', 'refused', 'outdated'] },
  );
  const shards = metrics.gauge('merit_recompute_shards', 'Partitions of rollouts that are not finished, by state', {
    state: SHARD_STATES,
  });
  const lag = metrics.gauge('merit_recompute_lag_messages', 'Messages that recomputes have before them', {});
  const stretch = metrics.histogram(
    'merit_recompute_stretch_seconds',
    'One stretch of the log, from its last message to its commit',
    {},
  );
  return {
    reports: (result, count) => reports({ result }, count),
    shards: (state, count) => shards({ state }, count),
    lag: (messages) => lag({}, messages),
    stretch: (seconds) => stretch({}, seconds),
  };
}
