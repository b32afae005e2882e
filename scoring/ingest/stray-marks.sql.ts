import { randomBytes } from 'node:crypto';
import type { Tx } from '../../platform/postgres.ts';
import type { StrayMark } from './strays.ts';

/** How far lines of other partitions were taken in to this one. */
export async function loadStrayMarks(tx: Tx, topic: string, partition: number): Promise<readonly StrayMark[]> {
  const rows = await tx.query<{ source: number; log_offset: bigint; line: number }>(
    'select source, log_offset, line from ingest_strays where topic = $1 and partition = $2',
    [topic, partition],
  );
  return rows.map((row) => ({ source: row.source, offset: row.log_offset, line: row.line }));
}

export async function saveStrayMarks(
  tx: Tx,
  topic: string,
  partition: number,
  marks: readonly StrayMark[],
): Promise<void> {
  if (marks.length === 0) return;
  await tx.execute(
    `insert into ingest_strays (topic, partition, source, log_offset, line)
     select $1, $2, a.* from unnest($3::integer[], $4::bigint[], $5::integer[]) as a (source, log_offset, line)
     on conflict (topic, partition, source) do update set log_offset = excluded.log_offset, line = excluded.line`,
    [
      topic,
      partition,
      marks.map((mark) => mark.source),
      marks.map((mark) => mark.offset),
      marks.map((mark) => mark.line),
    ],
  );
}

const KEY_BYTES = 32;

/** What strays are sealed by, made by whoever asks first. The installation's own: a replay, which has tables of its own, reads what was sealed by it. */
export async function loadStrayKey(tx: Tx, topic: string): Promise<Uint8Array> {
  const rows = await tx.query<{ secret: Uint8Array }>(
    `insert into public.ingest_keys as k (topic, secret) values ($1, $2)
     on conflict (topic) do update set secret = k.secret returning secret`,
    [topic, randomBytes(KEY_BYTES)],
  );
  return rows[0]!.secret;
}
