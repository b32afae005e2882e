import type { Metrics } from '../../platform/metrics.ts';
import { BY_PARTITION } from '../metrics.ts';
import { ARCHIVE_STEPS, type ArchiveMetrics } from './context.ts';

export function archiveMetrics(metrics: Metrics): ArchiveMetrics {
  const segments = metrics.counter('merit_archive_segments_total', 'Segments of the report log that were archived', {});
  const messages = metrics.counter('merit_archive_messages_total', 'Messages of the report log that were archived', {});
  const bytes = metrics.counter('merit_archive_bytes_total', 'Bytes archived, as they were sent and as stored', {
    of: ['messages', 'objects'],
  });
  const depth = metrics.gauge('merit_archive_lag_messages', 'Messages consumed and not archived yet', BY_PARTITION);
  const age = metrics.gauge('merit_archive_lag_seconds', 'Age of the oldest of them', BY_PARTITION);
  const expired = metrics.counter('merit_archive_expired_total', 'Segments whose time was over', {});
  const trimmed = metrics.counter(
    'merit_log_trimmed_messages_total',
    'Messages of the embedded log that were archived and are there no more',
    {},
  );
  const failures = metrics.counter('merit_archive_failures_total', 'Looks of the archiver that ended in a fault', {
    step: ARCHIVE_STEPS,
  });
  const lost = metrics.counter(
    'merit_archive_lost_offsets_total',
    'Offsets that the log let go before they could be archived',
    {},
  );
  return {
    archived: (count, sent, stored) => {
      segments({});
      messages({}, count);
      bytes({ of: 'messages' }, sent);
      bytes({ of: 'objects' }, stored);
    },
    lag: (of, count, seconds) => {
      depth({ partition: String(of) }, count);
      age({ partition: String(of) }, seconds);
    },
    expired: (count) => expired({}, count),
    trimmed: (count) => trimmed({}, count),
    failed: (step) => failures({ step }),
    lost: (offsets) => lost({}, offsets),
  };
}
