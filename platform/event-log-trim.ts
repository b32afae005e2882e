import type { Tx } from './postgres.ts';

/**
 * Removes the oldest messages of a partition of the embedded log: below `before`, appended before `appendedBeforeMs`, at most `limit`, and
 * never the last one, whose append time the log goes on telling. Returns how many.
 */
export async function trimPostgresLog(
  tx: Tx,
  topic: string,
  partition: number,
  before: bigint,
  appendedBeforeMs: number,
  limit: number,
): Promise<number> {
  return tx.execute(
    `with last as (select max(log_offset) as log_offset from log_messages where topic = $1 and partition = $2),
          oldest as materialized (
            select log_offset, appended_at from log_messages
            where topic = $1 and partition = $2 and log_offset < least($3::bigint, (select log_offset from last))
            order by log_offset limit $5)
     delete from log_messages where topic = $1 and partition = $2 and log_offset in (
       select log_offset from oldest where log_offset < coalesce(
         (select min(log_offset) from oldest where appended_at >= to_timestamp($4::float8 / 1000)), 9223372036854775807))`,
    [topic, partition, before, appendedBeforeMs, limit],
  );
}
