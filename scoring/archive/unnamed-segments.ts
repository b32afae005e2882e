import type { ObjectStore } from '../../platform/object-store.ts';
import type { Tx } from '../../platform/postgres.ts';
import { ARCHIVE_PREFIX, segmentOfKey } from './segment-manifest.ts';

/** Objects that one question is about. */
const BATCH = 500;

export interface UnnamedSegmentObject {
  readonly key: string;
  readonly size: number;
}

/**
 * Objects of the archive that belong to no segment: what an archiver that was frozen for longer than a segment is kept wrote when it woke.
 * What lies where a chain ends is a segment that is not recorded yet, and is taken up by whoever archives next. Older than the grace only.
 */
export async function* unnamedSegments(
  store: ObjectStore,
  ask: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>,
  options: { readonly nowMs: number; readonly graceMs: number; readonly dryRun: boolean; readonly signal: AbortSignal },
): AsyncGenerator<UnnamedSegmentObject> {
  let batch: UnnamedSegmentObject[] = [];
  for await (const { key, size, modifiedAtMs } of store.list(ARCHIVE_PREFIX)) {
    if (options.signal.aborted) return;
    if (options.nowMs - modifiedAtMs < options.graceMs || segmentOfKey(key) === undefined) continue;
    batch.push({ key, size });
    if (batch.length < BATCH) continue;
    yield* settle(store, ask, batch, options.dryRun);
    batch = [];
  }
  if (batch.length > 0) yield* settle(store, ask, batch, options.dryRun);
}

async function* settle(
  store: ObjectStore,
  ask: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>,
  batch: readonly UnnamedSegmentObject[],
  dryRun: boolean,
): AsyncGenerator<UnnamedSegmentObject> {
  const segments = batch.map(({ key }) => segmentOfKey(key)!);
  const rows = await ask((tx) =>
    tx.query<{ unnamed: boolean }>(
      // Of a partition that this installation has archived nothing of, nothing is judged.
      `select coalesce(a.from_offset < c.next_offset, false) and (s.from_offset is null or s.expired_at is not null) as unnamed
       from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[]) with ordinality as a (topic, generation, partition, from_offset, n)
         left join archive_segments s using (topic, generation, partition, from_offset)
         left join lateral (select max(next_offset) as next_offset from archive_segments e
                            where (e.topic, e.generation, e.partition) = (a.topic, a.generation, a.partition)) c on true
       order by a.n`,
      [
        segments.map((one) => one.topic),
        segments.map((one) => one.generation),
        segments.map((one) => one.partition),
        segments.map((one) => one.from),
      ],
    ),
  );
  for (const [i, object] of batch.entries()) {
    if (rows[i]?.unnamed !== true) continue;
    if (!dryRun) await store.delete(object.key);
    yield object;
  }
}
