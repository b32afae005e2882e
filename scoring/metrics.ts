import type { Metrics } from '../platform/metrics.ts';
import type { ScoringMetrics } from './context.ts';

/** The label of what is told of each partition; more of them than this share one value. */
export const BY_PARTITION = { partition: { atMost: 64 } } as const;

/** From a second to a day. */
const QUEUE_WAIT_BUCKETS_S = [1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400];

/** What the consumer and the retrain worker tell, in the registry of the process. */
export function scoringMetrics(metrics: Metrics, rejected: ScoringMetrics['rejected']): ScoringMetrics {
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
  const depth = metrics.gauge('merit_ingest_queue_messages', 'Messages appended and not yet read', BY_PARTITION);
  const lag = metrics.gauge(
    'merit_ingest_lag_seconds',
    'From the last message read to the last appended',
    BY_PARTITION,
  );
  const oldest = metrics.gauge(
    'merit_ingest_oldest_unread_seconds',
    'Since the oldest message that was not read was appended',
    BY_PARTITION,
  );
  const owned = metrics.gauge('merit_ingest_owned_partitions', 'Partitions that this process reads', {});
  const rebalances = metrics.counter(
    'merit_ingest_rebalances_total',
    'Times that partitions came to this process or went from it',
    {},
  );
  const strays = metrics.counter(
    'merit_ingest_strays_total',
    'Lines that lay in a partition which does not serve them, and were appended to another',
    {},
  );
  const layouts = metrics.counter(
    'merit_ingest_layout_changes_total',
    'Times that the topic of reports had more partitions, or was made anew under its name',
    { kind: ['raised', 'recreated'] },
  );
  const lost = metrics.counter(
    'merit_ingest_lost_messages_total',
    'Messages that the log let go before they were read, by the offsets that are missing',
    {},
  );
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
    oldestUnread: (of, seconds) => oldest({ partition: String(of) }, seconds),
    ownedPartitions: (count) => owned({}, count),
    rebalanced: () => rebalances({}),
    strays: (count) => strays({}, count),
    layoutChanged: (kind) => layouts({ kind }),
    lost: (count) => lost({}, count),
    processingLatency: (seconds) => processing({}, seconds),
    scoringLatency: (seconds) => scoring({}, seconds),
    decision: (action) => decisions({ action }),
    retrainQueue: (length) => retrains({}, length),
    retrainWaited: (seconds) => waited({}, seconds),
  };
}
