import type { Database } from '../../platform/postgres.ts';
import { KEPT_FOR_REPLAYS } from './set-aside.ts';

/** Rows in one transaction. */
export const EXPIRED_AT_ONCE = 1_000;

/**
 * Removes lines that were set aside before `beforeMs`, at most `limit`, but for those on their way to a second reading; of those that a replay has to
 * know only the bytes. Returns their number.
 */
export function expireQuarantine(
  db: Database,
  epoch: bigint,
  beforeMs: number,
  limit = EXPIRED_AT_ONCE,
): Promise<number> {
  return db.asLeader(epoch, async (tx) => {
    const [row] = await tx.query<{ n: bigint }>(
      `with old as (
         select topic, partition, log_offset, line, reason = any($3::text[]) as kept from quarantine
         where not bytes_gone and created_at < to_timestamp($1::float8 / 1000) and not resend order by created_at limit $2),
       gone as (
         delete from quarantine q using old where not old.kept
           and (q.topic, q.partition, q.log_offset, q.line) = (old.topic, old.partition, old.log_offset, old.line) returning 1),
       emptied as (
         update quarantine q set raw = '', bytes_gone = true from old where old.kept
           and (q.topic, q.partition, q.log_offset, q.line) = (old.topic, old.partition, old.log_offset, old.line) returning 1)
       select (select count(*) from gone) + (select count(*) from emptied) as n`,
      [beforeMs, limit, KEPT_FOR_REPLAYS],
    );
    return Number(row?.n ?? 0);
  });
}
