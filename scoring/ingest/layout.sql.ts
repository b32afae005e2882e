import { OperatingError } from '../../core/operating-error.ts';
import type { Tx } from '../../platform/postgres.ts';
import { stopFlushes } from './ownership.sql.ts';
import { loadPositions, type ReadOffsets, readOffsets } from './positions.sql.ts';

/** What a topic was when it was last looked at; its number is compared in each flush. */
export interface Layout {
  readonly layout: bigint;
  readonly generation: number;
  /** null: the log cannot tell one topic from another under the same name. */
  readonly identity: string | null;
  readonly partitions: number;
  /** How the archive names this life of the topic; null: by its identity. */
  readonly life: string | null;
}

/** What the log says of the topic now. */
export interface SeenTopic {
  readonly identity: string | null;
  readonly partitions: number;
}

export type LayoutChange =
  | { readonly kind: 'new' }
  | { readonly kind: 'raised'; readonly from: number; readonly to: number }
  | {
      readonly kind: 'recreated';
      readonly generation: number;
      readonly why: string;
      /** What was read of the old one and is in no archive; null: nothing. */
      readonly unarchived: string | null;
    };

/** A flush is waited for no longer; the change is then tried again. */
const LOCK_TIMEOUT_MS = 2_000;

export async function loadLayout(tx: Tx, topic: string): Promise<Layout | undefined> {
  const rows = await tx.query<Layout>(
    'select layout, generation, identity, partitions, life from ingest_topics where topic = $1',
    [topic],
  );
  return rows[0];
}

/** What has to change in the stored layout; undefined: nothing. */
export function differenceOf(stored: Layout | undefined, seen: SeenTopic): 'new' | 'raised' | 'recreated' | undefined {
  if (stored === undefined) return 'new';
  if (stored.identity !== null && seen.identity !== null && stored.identity !== seen.identity) return 'recreated';
  if (seen.partitions > stored.partitions) return 'raised';
  // A log that tells topics apart says fewer only where what it knows is old.
  if (seen.partitions < stored.partitions && seen.identity === null) return 'recreated';
  return undefined;
}

/**
 * Brings the stored layout up to what was seen. It waits for the flushes that have begun, and those that begin afterwards by the old layout
 * change nothing. undefined: somebody else did it before.
 */
export async function changeLayout(
  tx: Tx,
  topic: string,
  seen: SeenTopic,
  /** Why the topic must be another one though it looks the same. */
  evidence: { readonly layout: bigint; readonly why: string } | undefined,
): Promise<LayoutChange | undefined> {
  await tx.execute(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
  await stopFlushes(tx, topic);
  const stored = await loadLayout(tx, topic);
  if (evidence !== undefined) {
    if (stored?.layout !== evidence.layout) return undefined;
    return recreate(tx, topic, stored, seen, evidence.why);
  }
  const difference = differenceOf(stored, seen);
  if (difference === undefined) return undefined;
  if (stored === undefined || difference === 'new') {
    await tx.execute('insert into ingest_topics (topic, identity, partitions) values ($1, $2, $3)', [
      topic,
      seen.identity,
      seen.partitions,
    ]);
    await addPartitions(tx, topic, seen.partitions);
    return { kind: 'new' };
  }
  if (difference === 'recreated') return recreate(tx, topic, stored, seen, 'it has another identity');
  await saveLayout(tx, topic, { ...stored, partitions: seen.partitions });
  await addPartitions(tx, topic, seen.partitions);
  await addAlert(tx, topic, {
    kind: 'raised',
    detail: `${stored.partitions} partitions became ${seen.partitions}`,
    identity: seen.identity,
    before: { partitions: stored.partitions, readAt: readOffsets(await loadPositions(tx, topic)) },
  });
  return { kind: 'raised', from: stored.partitions, to: seen.partitions };
}

/**
 * What was read of the topic that is no more is kept under its old name's, `<topic>.g<generation>`; the new one is read from its start. Which
 * reports are known stays: those that are sent again are duplicates.
 */
async function recreate(
  tx: Tx,
  topic: string,
  stored: Layout,
  seen: SeenTopic,
  why: string,
): Promise<LayoutChange | undefined> {
  const past = await tx.query(`select 1 from ingest_alerts where topic = $1 and kind = 'recreated' and identity = $2`, [
    topic,
    seen.identity,
  ]);
  if (past.length > 0) {
    throw new OperatingError('conflict', 'safe', `looking at the topic ${topic}`, {
      cause: 'the log tells of a topic that was replaced since',
    });
  }
  // Rows that are kept may be many.
  await tx.execute('set local statement_timeout = 0');
  const old = `${topic}.g${stored.generation}`;
  for (const table of ['consumer_offsets', 'watermarks', 'quarantine']) {
    await tx.execute(`update ${table} set topic = $2 where topic = $1`, [topic, old]);
  }
  await tx.execute(
    `update recomputes set state = 'failed', failure = 'the topic was made anew: its history cannot be read', worker = null, lease_until = null
     where topic = $1 and state in ('waiting', 'running')`,
    [topic],
  );
  await tx.execute('delete from ingest_strays where topic = $1', [topic]);
  // A sealed stray of the old topic, appended again, must not count for the new one.
  await tx.execute('delete from ingest_keys where topic = $1', [topic]);
  await tx.execute('delete from ingest_partitions where topic = $1 and partition >= $2', [topic, seen.partitions]);
  await tx.execute('update ingest_partitions set first_offset = 0 where topic = $1', [topic]);
  const generation = stored.generation + 1;
  // Of a log that cannot tell it from the one before, the archive's chains would otherwise be those of the old one.
  const life =
    seen.identity !== null && seen.identity !== stored.identity
      ? null
      : `${archiveLife(stored.identity)}.g${generation}`;
  await saveLayout(tx, topic, { generation, identity: seen.identity, partitions: seen.partitions, life });
  await addPartitions(tx, topic, seen.partitions);
  const unarchived = await unarchivedOf(tx, topic, old, stored.life ?? archiveLife(stored.identity));
  if (unarchived !== null) await addAlert(tx, topic, { kind: 'unarchived', detail: unarchived });
  await addAlert(tx, topic, {
    kind: 'recreated',
    detail: `the topic was made anew (${why}); it is read from its start, what was read of the old one is kept as ${old}`,
    identity: stored.identity === seen.identity ? null : stored.identity,
  });
  return { kind: 'recreated', generation, why, unarchived };
}

/** What was read of a topic that is no more, its positions by now under its old name, and in no segment of its archive. */
async function unarchivedOf(tx: Tx, topic: string, old: string, life: string): Promise<string | null> {
  const rows = await tx.query<{ partition: number; from: bigint; to: bigint }>(
    `select o.partition, a.next_offset as from, o.next_offset + (o.next_line > 0)::integer as to
     from consumer_offsets o, lateral (select coalesce(max(s.next_offset), 0) as next_offset from archive_segments s
                                       where (s.topic, s.generation, s.partition) = ($1, $3, o.partition)) a
     where o.topic = $2 and o.next_offset + (o.next_line > 0)::integer > a.next_offset order by 1`,
    [topic, old, life],
  );
  if (rows.length === 0) return null;
  const stretches = rows.map(({ partition, from, to }) => `${from} to ${to - 1n} of partition ${partition}`);
  return `of ${old} messages were read that no archive has: ${stretches.join(', ')}; their scores stand, and no replay can prove them`;
}

async function saveLayout(tx: Tx, topic: string, next: Omit<Layout, 'layout'>): Promise<void> {
  await tx.execute(
    `update ingest_topics set layout = layout + 1, generation = $2, identity = $3, partitions = $4, life = $5, changed_at = clock_timestamp()
     where topic = $1`,
    [topic, next.generation, next.identity, next.partitions, next.life],
  );
}

/** A topic of a log that cannot tell its lives apart is taken to have one. */
const ONLY_LIFE = 'one';

/** As the archive names the life of a topic that nothing but its identity tells from others. */
export function archiveLife(identity: string | null): string {
  return identity ?? ONLY_LIFE;
}

/** The log tells by now which of its lives this is. */
export async function nameTopic(tx: Tx, topic: string, identity: string | null): Promise<void> {
  await tx.execute('update ingest_topics set identity = $2 where topic = $1 and identity is null', [topic, identity]);
}

async function addPartitions(tx: Tx, topic: string, count: number): Promise<void> {
  await tx.execute(
    `insert into ingest_partitions (topic, partition) select $1, p from generate_series(0, $2::integer - 1) p on conflict do nothing`,
    [topic, count],
  );
}

export interface NewAlert {
  readonly kind: 'raised' | 'recreated' | 'lost' | 'unarchived';
  readonly detail: string;
  readonly identity?: string | null;
  readonly before?: { readonly partitions: number; readonly readAt: ReadOffsets };
  readonly lost?: { readonly partition: number; readonly from: bigint; readonly to: bigint };
}

export async function addAlert(
  tx: Tx,
  topic: string,
  { kind, detail, identity, lost, before }: NewAlert,
): Promise<void> {
  await tx.execute(
    `insert into ingest_alerts (topic, kind, partition, from_offset, to_offset, detail, identity, partitions, read_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      topic,
      kind,
      lost?.partition ?? null,
      lost?.from ?? null,
      lost?.to ?? null,
      detail,
      identity ?? null,
      before?.partitions ?? null,
      before === undefined ? null : JSON.stringify(before.readAt),
    ],
  );
}
