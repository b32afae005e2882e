import type { Tx } from '../../platform/postgres.ts';
import { loadLayout } from './layout.sql.ts';
import type { ReadOffsets } from './positions.sql.ts';
import { isWithin, type Vector, vectorOf } from './vector.ts';

/** By how much the clocks of database and log may differ. */
export const CLOCKS_APART_MS = 3_600_000;

/** What was read of a topic while it had so many partitions. */
export interface Era {
  readonly partitions: number;
  /** Up to where; null: it still has as many. */
  readonly until: Vector | null;
  /** When it got more. */
  readonly endedAtMs: number | null;
}

/** What has to be known of a topic to read again what was read of it. */
export interface TopicHistory {
  /** Of its present life; the last is now's. */
  readonly eras: readonly Era[];
  /** The change before which nothing of it can be read as it was read; null: there was none. */
  readonly begins: Beginning | null;
}

export interface Beginning {
  readonly atMs: number;
  readonly detail: string;
  /** It was made anew: what was read before lies in the archive of an earlier life. */
  readonly anew: boolean;
}

interface Change {
  readonly kind: 'raised' | 'recreated';
  readonly at: Date;
  readonly detail: string;
  readonly partitions: number | null;
  readonly read_at: ReadOffsets | null;
}

export async function loadHistory(tx: Tx, topic: string): Promise<TopicHistory> {
  const changes = await tx.query<Change>(
    `select kind, at, detail, partitions, read_at from public.ingest_alerts where topic = $1 and kind in ('raised', 'recreated') order by alert_id`,
    [topic],
  );
  let begins = null as Beginning | null;
  let eras: Era[] = [];
  for (const { kind, at, detail, partitions, read_at: readAt } of changes) {
    if (kind === 'raised' && partitions !== null && readAt !== null)
      eras.push({ partitions, until: vectorOf(readAt), endedAtMs: at.getTime() });
    else {
      eras = [];
      begins = { atMs: at.getTime(), detail, anew: kind === 'recreated' || begins?.anew === true };
    }
  }
  const { partitions } = (await loadLayout(tx, topic)) ?? { partitions: 1 };
  return { eras: [...eras, { partitions, until: null, endedAtMs: null }], begins };
}

/** Those in which something of what lies before `until` was read. */
export function erasUpTo(eras: readonly Era[], until: Vector): readonly Era[] {
  const last = eras.findIndex((era) => era.until === null || isWithin(until, era.until));
  return eras.slice(0, last + 1);
}
