import type { Metrics } from '../platform/metrics.ts';
import type { ScoringMetrics } from './context.ts';

/** More partitions than this share one label value. */
const MAX_PARTITION_LABELS = 64;

/** What the consumer and the retrain worker tell, in the registry of the process. */
/** From a second to a day. */
const QUEUE_WAIT_BUCKETS_S = [1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400];

export function scoringMetrics(metrics: Metrics, rejected: ScoringMetrics['rejected']): ScoringMetrics {
  const partition = { partition: { atMost: MAX_PARTITION_LABELS } } as const;
  const reports = metrics.counter('merit_reports_total', 'Report lines by what became of them', {
    result: ['accepted', 'quarantined', 'duplicate', 'conflict'],
  });
  const beside = metrics.counter(
    'merit_rollout_reports_total',
    'Reports as the new version of a suite takes them: counted, refused by it alone, missed because the active one set them aside',
    { result: ['counted', 'refused', 'missed'] },
  );
  const rolledBack = metrics.counter(
    'merit_rollout_faults_total',
    'New versions of suites that could not be computed and were rolled back',
    {},
  );
  const depth = metrics.gauge('merit_ingest_queue_messages', 'Messages appended and not yet read', partition);
  const lag = metrics.gauge('merit_ingest_lag_seconds', 'From the last message read to the last appended', partition);
  const processing = metrics.histogram(
    'merit_ingest_flush_seconds',
    'One flush, from its first line to its commit',
    {},
  );
  const scoring = metrics.histogram('merit_scoring_seconds', 'Publishing and judging the ticks of one flush', {});
  const decisions = metrics.counter('merit_promotions_total', 'Decisions about a suite’s seat', {
    action: ['promote', 'demote'],
  });
  const retrains = metrics.gauge('merit_retrain_queue_requests', 'Retrain requests that wait for their booking', {});
  const waited = metrics.histogram(
    'merit_retrain_queue_wait_seconds',
    'From the booking of a retrain to the start of its job',
    {},
    QUEUE_WAIT_BUCKETS_S,
  );
  return {
    reports: (result, count) => reports({ result }, count),
    rejected,
    beside: (result, count) => beside({ result }, count),
    rolledBack: (count) => rolledBack({}, count),
    ingestLag: (of, messages, seconds) => {
      depth({ partition: String(of) }, messages);
      lag({ partition: String(of) }, seconds);
    },
    processingLatency: (seconds) => processing({}, seconds),
    scoringLatency: (seconds) => scoring({}, seconds),
    decision: (action) => decisions({ action }),
    retrainQueue: (length) => retrains({}, length),
    retrainWaited: (seconds) => waited({}, seconds),
  };
}
