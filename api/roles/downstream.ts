import { ALLOCATIONS_TOPIC, AUDIT_TOPIC } from '../../ledger/outbox/cloud-event.ts';
import { expirePublished } from '../../ledger/outbox/outbox.ts';
import { type PublisherDeps, type PublisherWatch, runPublisher } from '../../ledger/outbox/publisher.ts';
import { trimPostgresLog } from '../../platform/event-log-trim.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { Database } from '../../platform/postgres.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { PROMOTIONS_TOPIC } from '../../scoring/promotion/commit-decision.ts';
import type { LeaderLoop } from './engine.ts';
import type { Sweep } from './sweeps.ts';

/** What others read: decisions, what becomes of allocations, and the audit trail. */
export const DOWNSTREAM_TOPICS = [PROMOTIONS_TOPIC, ALLOCATIONS_TOPIC, AUDIT_TOPIC] as const;

/** Rows of one transaction. */
const REMOVED_AT_ONCE = 1_000;
const END = 2n ** 62n;

/** Publishes what happened, wherever this process leads. */
export function downstreamLoop(parts: Omit<PublisherDeps, 'epoch'>): LeaderLoop {
  return { name: 'downstream', run: (epoch, signal) => runPublisher({ ...parts, epoch }, signal) };
}

/** Removes what was published and has outlived `retentionMs`, from the outbox and from those topics of the embedded log, where they are there. */
export function downstreamSweeps(db: Database, retentionMs: number): Readonly<Record<string, Sweep>> {
  const topics = DOWNSTREAM_TOPICS.map((topic): [string, Sweep] => [
    topic,
    (epoch, nowMs) =>
      db.asLeader(epoch, async (tx) => {
        const partitions = await tx.query<{ partition: number }>(
          'select partition from log_partitions where topic = $1 order by partition',
          [topic],
        );
        let removed = 0;
        for (const { partition } of partitions)
          removed += await trimPostgresLog(tx, topic, partition, END, nowMs - retentionMs, REMOVED_AT_ONCE);
        return removed;
      }),
  ]);
  const outbox: Sweep = (epoch, nowMs) => expirePublished(db, epoch, nowMs - retentionMs, REMOVED_AT_ONCE);
  return { outbox, ...Object.fromEntries(topics) };
}

export function publisherMetrics(metrics: Metrics): (log: Log) => PublisherWatch {
  const published = metrics.counter('merit_published_total', 'Events published to downstream consumers', {
    topic: DOWNSTREAM_TOPICS,
  });
  const failures = metrics.counter('merit_publish_failures_total', 'Tries to publish that failed', {});
  const waiting = metrics.gauge('merit_publish_waiting_events', 'Facts and audit events that wait to be published', {});
  const age = metrics.gauge('merit_publish_oldest_age_seconds', 'Age of the oldest of them', {});
  return (log) => ({
    published: (topic) => published({ topic }),
    failed: (error, retryInMs) => {
      failures({});
      log.warn({ error: String(error), retryInMs }, 'what happened could not be published; it is tried again');
    },
    waiting: (count, oldestSeconds) => {
      waiting({}, count);
      age({}, oldestSeconds);
    },
  });
}
