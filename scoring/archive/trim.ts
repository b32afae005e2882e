import { trimPostgresLog } from '../../platform/event-log-trim.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import type { ArchiveContext } from './context.ts';
import { generationOf } from './generation.ts';
import { chainEnd } from './segments.sql.ts';

/** Messages removed in one transaction: at most about a gigabyte of them, of which only the rows are touched. */
const MAX_TRIMMED_AT_ONCE = 1_000;

/** Removes from the embedded log what is archived (so it was consumed) and older than the policy keeps there. False where there was nothing. */
export async function trimArchived(ctx: ArchiveContext): Promise<boolean> {
  const { clock, db, epoch, eventLog, metrics, policy } = ctx;
  const { logKeepMs } = policy;
  if (logKeepMs === null) return false;
  const generation = await generationOf(db, eventLog, REPORTS_TOPIC);
  let more = false;
  for (const partition of await eventLog.partitions(REPORTS_TOPIC)) {
    const trimmed = await db.asLeader(epoch, async (tx) => {
      const { next } = await chainEnd(tx, { topic: REPORTS_TOPIC, generation, partition });
      return trimPostgresLog(tx, REPORTS_TOPIC, partition, next, clock.now() - logKeepMs, MAX_TRIMMED_AT_ONCE);
    });
    if (trimmed > 0) metrics.trimmed(trimmed);
    if (trimmed === MAX_TRIMMED_AT_ONCE) more = true;
  }
  return more;
}
