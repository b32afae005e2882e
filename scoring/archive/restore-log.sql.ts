import { sha256Hex } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { byteaArray } from '../../platform/pg-arrays.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { decodeSegment, unpack } from './segment-codec.ts';
import { ARCHIVE_PREFIX, manifestOf, type SegmentManifest, segmentKeys } from './segment-manifest.ts';
import { chainEnd, type Place } from './segments.sql.ts';
import { readObject } from './stored-segment.ts';

export interface RestoredLog {
  readonly segments: number;
  readonly messages: number;
}

/**
 * Puts back what the archive holds of the embedded log behind its end, after the database was restored to a time before that: the same
 * messages at the same offsets with the same times, so that they are consumed as they would have been. Each segment is held to its manifest and to the
 * chain that Postgres remembers. Run it before anything is appended: where something was, it says so and changes nothing.
 */
export async function restoreLog(db: Database, store: ObjectStore, place: Place): Promise<RestoredLog> {
  const restored = { segments: 0, messages: 0 };
  let end = await db.asEngine((tx) => chainEnd(tx, place));
  for (;;) {
    const manifest = await manifestAt(store, place, end.next);
    if (manifest === undefined) return restored;
    if (manifest.value.previous !== end.manifestSha256)
      throw refused(place, end.next, 'the archive goes on from another segment than this database knows');
    const messages = await messagesOf(store, place, manifest.value);
    const added = await db.asEngine((tx) => append(tx, place, messages));
    restored.segments++;
    restored.messages += added;
    end = { next: BigInt(manifest.value.next), manifestSha256: manifest.sha256 };
  }
}

async function manifestAt(
  store: ObjectStore,
  place: Place,
  from: bigint,
): Promise<{ readonly value: SegmentManifest; readonly sha256: string } | undefined> {
  const bytes = await readObject(store, segmentKeys({ ...place, from }).manifest);
  if (bytes === undefined) return undefined;
  const value = manifestOf(bytes, { ...place, from });
  if (value === undefined) throw refused(place, from, 'a manifest of the archive is none');
  return { value, sha256: sha256Hex(bytes) };
}

async function messagesOf(store: ObjectStore, place: Place, manifest: SegmentManifest): Promise<readonly LogMessage[]> {
  const from = BigInt(manifest.from);
  const packed = await readObject(store, segmentKeys({ ...place, from }).segment);
  if (packed === undefined || sha256Hex(packed) !== manifest.sha256)
    throw refused(place, from, 'a segment of the archive is missing, or is not what its manifest says');
  const text = await unpack(packed);
  const read = text === undefined ? undefined : decodeSegment(text);
  if (read === undefined || read.fault !== undefined) throw refused(place, from, 'a segment cannot be read');
  return read.messages;
}

/** Those behind the log's end; none may be missing between. */
async function append(tx: Tx, { topic, partition }: Place, messages: readonly LogMessage[]): Promise<number> {
  const rows = await tx.query<{ next_offset: bigint }>(
    'select next_offset from log_partitions where topic = $1 and partition = $2 for update',
    [topic, partition],
  );
  const end = rows[0]?.next_offset ?? 0n;
  const fresh = messages.filter(({ offset }) => offset >= end);
  const gap = fresh.findIndex(({ offset }, i) => offset !== end + BigInt(i));
  if (gap !== -1)
    throw refused({ topic, partition, generation: '' }, end, 'the archive lacks messages behind the end of the log');
  const last = messages.findLast(({ offset }) => offset < end);
  if (last !== undefined && !(await isInLog(tx, last)))
    throw refused({ topic, partition, generation: '' }, last.offset, 'the log holds another message than the archive');
  if (fresh.length === 0) return 0;
  await tx.execute(
    `insert into log_messages (topic, partition, log_offset, tenant, key, value, headers, appended_at)
     select $1, $2, log_offset, tenant, key, value, headers, to_timestamp(appended_ms / 1000)
     from unnest($3::bigint[], $4::text[], $5::text[], $6::bytea[], $7::jsonb[], $8::float8[]) as m (log_offset, tenant, key, value, headers, appended_ms)`,
    [
      topic,
      partition,
      fresh.map((message) => message.offset),
      fresh.map((message) => message.tenant),
      fresh.map((message) => message.key),
      byteaArray(fresh.map((message) => message.value)),
      fresh.map((message) => JSON.stringify(message.headers)),
      fresh.map((message) => message.appendedAtMs),
    ],
  );
  await tx.execute('update log_partitions set next_offset = $3 where topic = $1 and partition = $2', [
    topic,
    partition,
    end + BigInt(fresh.length),
  ]);
  return fresh.length;
}

/** Of one log that went on in two ways the last message that both have differs. Times are told to the microsecond. */
async function isInLog(tx: Tx, { topic, partition, offset, value, appendedAtMs }: LogMessage): Promise<boolean> {
  const rows = await tx.query<{ same: boolean }>(
    `select value is not distinct from $4 and abs(extract(epoch from appended_at)::float8 * 1000 - $5) < 0.001 as same
     from log_messages where topic = $1 and partition = $2 and log_offset = $3`,
    [topic, partition, offset, value === null ? null : Buffer.from(value), appendedAtMs],
  );
  return rows[0]?.same ?? true;
}

function refused({ topic, partition }: Place, offset: bigint, problem: string): OperatingError {
  return new OperatingError('conflict', 'never', `putting ${topic}/${partition} back from the archive at ${offset}`, {
    cause: problem,
    mend: `look at the objects below ${ARCHIVE_PREFIX}, and at what was appended since the database was restored`,
  });
}
