import { artifactsPrefix, manifestKey } from '../../../artifacts/paths.ts';
import { type AttemptObject, unnamedObjects, type Verdict } from '../../../artifacts/unnamed.ts';
import { appendAudit } from '../../../ledger/audit/append.ts';
import type { ObjectStore } from '../../../platform/object-store.ts';
import type { Database, Tx } from '../../../platform/postgres.ts';
import { unnamedSegments } from '../../../scoring/archive/unnamed-segments.ts';
import type { View } from '../services.ts';

/** Objects that one audit event names. */
const OBJECTS_AN_EVENT = 500;

export interface Collection {
  readonly db: Database;
  readonly store: ObjectStore;
  readonly tenant: string;
  readonly actor: string;
  readonly traceId: string;
  readonly nowMs: number;
  readonly graceMs: number;
  readonly dryRun: boolean;
  /** New for each: names the subject of its audit events. */
  readonly id: string;
}

/**
 * Tells of what no manifest, no log and no segment names, one by one, deletes it unless `dryRun`, and ends with a summary. What was deleted stands
 * in audit events, also where the collection was broken off; one whose process died has deleted up to 500 objects that no event names.
 */
export async function* collectUnnamed(collection: Collection, signal: AbortSignal): AsyncGenerator<View> {
  const { db, store, tenant, nowMs, graceMs, dryRun } = collection;
  const asks = { nowMs, graceMs, dryRun, signal };
  const judge = (objects: readonly AttemptObject[]) => db.asTenant(tenant, (tx) => verdicts(tx, tenant, objects));
  const sums = { unnamed: 0, unnamedBytes: 0, unknown: 0, unknownBytes: 0 };
  const deleted: { readonly key: string; readonly size: number }[] = [];
  const collected = async (object: { readonly key: string; readonly size: number }): Promise<void> => {
    sums.unnamed++;
    sums.unnamedBytes += object.size;
    if (!dryRun) deleted.push(object);
    if (deleted.length < OBJECTS_AN_EVENT) return;
    await record(collection, deleted);
    // Only now: what could not be recorded is tried once more at the end.
    deleted.length = 0;
  };
  try {
    for await (const { object, verdict } of unnamedObjects({ store, tenant, judge, ...asks })) {
      if (verdict === 'unnamed') await collected(object);
      else {
        sums.unknown++;
        sums.unknownBytes += object.size;
      }
      const at = new Date(object.modifiedAtMs).toISOString();
      yield { object: object.key, job: object.bookingId, size: object.size, modifiedAt: at, verdict };
    }
    for await (const object of unnamedSegments(store, (work) => db.asEngine(work), asks)) {
      await collected(object);
      yield { object: object.key, job: null, size: object.size, modifiedAt: null, verdict: 'unnamed' };
    }
  } finally {
    if (deleted.length > 0) await record(collection, deleted);
  }
  const unfinished = dryRun ? 0 : await store.sweepUnfinished();
  yield { summary: { ...sums, deleted: dryRun ? 0 : sums.unnamed, unfinishedUploads: unfinished } };
}

function record(
  { db, tenant, actor, traceId, nowMs, graceMs, id }: Collection,
  objects: readonly { readonly key: string; readonly size: number }[],
): Promise<unknown> {
  return db.asTenant(tenant, (tx) =>
    appendAudit(tx, {
      tenant,
      subject: `collection/${id}`,
      type: 'artifacts.collected',
      at: new Date(nowMs).toISOString(),
      actor,
      trace: traceId,
      data: {
        graceMs: String(graceMs),
        objects: objects.map(({ key }) => key),
        bytes: String(objects.reduce((sum, { size }) => sum + size, 0)),
      },
    }),
  );
}

/** What ended stays ended, so that a verdict of `unnamed` holds for good. */
async function verdicts(tx: Tx, tenant: string, objects: readonly AttemptObject[]): Promise<readonly Verdict[]> {
  const rows = await tx.query<{ verdict: Verdict }>(
    `select case
       when b.booking_id is null then 'unknown'
       when not b.ended then 'live'
       when o.kind = 'logs' and exists (select 1 from log_chunks c
         where c.booking_id = o.booking_id and c.attempt = o.attempt and c.object_key = o.key) then 'named'
       when o.kind = 'artifacts' and exists (select 1 from manifests m
         where m.booking_id = o.booking_id and m.attempt = o.attempt and (o.key = o.manifest_key or exists (
           select 1 from manifest_files f where f.manifest_id = m.manifest_id and f.object_key = o.key))) then 'named'
       else 'unnamed' end as verdict
     from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[])
       with ordinality as o (kind, key, booking_id, attempt, manifest_key, place)
     left join bookings b on b.booking_id = o.booking_id order by o.place`,
    [
      objects.map(({ kind }) => kind),
      objects.map(({ key }) => key),
      objects.map(({ bookingId }) => bookingId),
      objects.map(({ attempt }) => attempt),
      objects.map(({ bookingId, attempt }) => manifestKey(artifactsPrefix(tenant, bookingId, attempt))),
    ],
  );
  return rows.map((row) => row.verdict);
}
