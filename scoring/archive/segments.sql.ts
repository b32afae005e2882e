import type { Tx } from '../../platform/postgres.ts';
import { loadLayout } from '../ingest/layout.sql.ts';
import type { SegmentManifest } from './segment-manifest.ts';

/** One partition of one life of a topic. */
export interface Place {
  readonly topic: string;
  readonly generation: string;
  readonly partition: number;
}

/** Where the chain of a partition ends. */
export interface ChainEnd {
  readonly next: bigint;
  readonly manifestSha256: string | null;
}

export interface SegmentRow extends Place {
  readonly from: bigint;
  readonly next: bigint;
  readonly messages: number;
  readonly sha256: string;
  readonly marksSha256: string;
  readonly manifest: Buffer;
  readonly manifestSha256: string;
  readonly previous: string | null;
  readonly firstAppendedMs: number;
  readonly lastAppendedMs: number;
  /** Its time is over: its objects are gone, or about to go. */
  readonly expired: boolean;
}

/** Another archiver has gone on from where this one began: nothing was changed. */
export class StaleArchive extends Error {
  override name = 'StaleArchive';
}

const OF_PLACE = 'topic = $1 and generation = $2 and partition = $3';

function placeValues({ topic, generation, partition }: Place): unknown[] {
  return [topic, generation, partition];
}

const COLUMNS = `topic, generation, partition, from_offset, next_offset, messages, sha256, marks_sha256, manifest, manifest_sha256, previous,
  first_appended_ms, last_appended_ms, expired_at is not null as expired`;

interface StoredRow extends Place {
  readonly from_offset: bigint;
  readonly next_offset: bigint;
  readonly messages: number;
  readonly sha256: string;
  readonly marks_sha256: string;
  readonly manifest: Buffer;
  readonly manifest_sha256: string;
  readonly previous: string | null;
  readonly first_appended_ms: number;
  readonly last_appended_ms: number;
  readonly expired: boolean;
}

function segmentRow(row: StoredRow): SegmentRow {
  return {
    topic: row.topic,
    generation: row.generation,
    partition: row.partition,
    from: row.from_offset,
    next: row.next_offset,
    messages: row.messages,
    sha256: row.sha256,
    marksSha256: row.marks_sha256,
    manifest: row.manifest,
    manifestSha256: row.manifest_sha256,
    previous: row.previous,
    firstAppendedMs: row.first_appended_ms,
    lastAppendedMs: row.last_appended_ms,
    expired: row.expired,
  };
}

export async function chainEnd(tx: Tx, place: Place): Promise<ChainEnd> {
  const rows = await tx.query<{ next_offset: bigint; manifest_sha256: string }>(
    `select next_offset, manifest_sha256 from archive_segments where ${OF_PLACE} order by from_offset desc limit 1`,
    placeValues(place),
  );
  const row = rows[0];
  return row === undefined
    ? { next: 0n, manifestSha256: null }
    : { next: row.next_offset, manifestSha256: row.manifest_sha256 };
}

/** The life of the topic that the consumer's positions are of; null: it has not looked, or the log cannot tell. */
export async function lifeRead(tx: Tx, topic: string): Promise<string | null> {
  const layout = await loadLayout(tx, topic);
  return layout?.life ?? layout?.identity ?? null;
}

/** Adds a segment behind the end of its chain, or throws StaleArchive. */
export async function addSegment(
  tx: Tx,
  manifest: SegmentManifest,
  sealed: { readonly bytes: Buffer; readonly sha256: string },
  appendedMs: { readonly first: number; readonly last: number },
): Promise<void> {
  const end = await chainEnd(tx, manifest);
  if (end.next !== BigInt(manifest.from) || end.manifestSha256 !== manifest.previous)
    throw new StaleArchive(`${manifest.topic}/${manifest.partition} is archived up to ${end.next}`);
  const added = await tx.execute(
    `insert into archive_segments (topic, generation, partition, from_offset, next_offset, messages, bytes, size, sha256, marks_sha256,
       manifest, manifest_sha256, previous, first_appended_ms, last_appended_ms)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) on conflict do nothing`,
    [
      ...placeValues(manifest),
      manifest.from,
      manifest.next,
      manifest.messages,
      manifest.bytes,
      manifest.size,
      manifest.sha256,
      manifest.marks,
      sealed.bytes,
      sealed.sha256,
      manifest.previous,
      appendedMs.first,
      appendedMs.last,
    ],
  );
  if (added !== 1)
    throw new StaleArchive(`${manifest.topic}/${manifest.partition} is archived beyond ${manifest.from}`);
}

/** Segments that hold offsets of [from, to), ascending; expired ones too. */
export async function segmentsIn(
  tx: Tx,
  place: Place,
  from: bigint,
  to: bigint,
  limit: number,
): Promise<readonly SegmentRow[]> {
  const rows = await tx.query<StoredRow>(
    `select ${COLUMNS} from archive_segments where ${OF_PLACE} and next_offset > $4 and from_offset < $5 order by from_offset limit $6`,
    [...placeValues(place), from, to, limit],
  );
  return rows.map(segmentRow);
}

/** Marks the oldest segments whose last message is older as expired; a chain loses its beginning only. Returns how many. */
export async function expireSegments(tx: Tx, beforeMs: number, limit: number): Promise<number> {
  return tx.execute(
    `update archive_segments s set expired_at = clock_timestamp()
     from (select a.topic, a.generation, a.partition, a.from_offset from archive_segments a
           where a.expired_at is null and a.last_appended_ms < $1
             and not exists (select 1 from archive_segments b where (b.topic, b.generation, b.partition) = (a.topic, a.generation, a.partition)
                               and b.from_offset < a.from_offset and b.expired_at is null and b.last_appended_ms >= $1)
           order by a.last_appended_ms limit $2) old
     where (s.topic, s.generation, s.partition, s.from_offset) = (old.topic, old.generation, old.partition, old.from_offset)`,
    [beforeMs, limit],
  );
}

/** Expired segments whose objects may still be there. */
export async function segmentsToDelete(tx: Tx, limit: number): Promise<readonly SegmentRow[]> {
  const rows = await tx.query<StoredRow>(
    `select ${COLUMNS} from archive_segments where expired_at is not null and deleted_at is null order by expired_at limit $1`,
    [limit],
  );
  return rows.map(segmentRow);
}

export async function markDeleted(tx: Tx, row: SegmentRow): Promise<void> {
  await tx.execute(
    `update archive_segments set deleted_at = clock_timestamp() where ${OF_PLACE} and from_offset = $4 and deleted_at is null`,
    [...placeValues(row), row.from],
  );
}

/** Of each partition of a topic's lives, what the archive holds; for who begins to read. */
export async function archivedRanges(
  tx: Tx,
  topic: string,
): Promise<readonly (Place & { readonly from: bigint; readonly next: bigint })[]> {
  const rows = await tx.query<Place & { from_offset: bigint; next_offset: bigint }>(
    `select topic, generation, partition, min(from_offset) as from_offset, max(next_offset) as next_offset from archive_segments
     where topic = $1 and expired_at is null group by topic, generation, partition order by generation, partition`,
    [topic],
  );
  return rows.map((row) => ({
    topic: row.topic,
    generation: row.generation,
    partition: row.partition,
    from: row.from_offset,
    next: row.next_offset,
  }));
}
