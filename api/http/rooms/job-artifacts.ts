import { artifactsPrefix, manifestKey } from '../../../artifacts/paths.ts';
import { type AttemptObject, unnamedObjects, type Verdict } from '../../../artifacts/unnamed.ts';
import { OperatingError } from '../../../core/operating-error.ts';
import type { Tx } from '../../../platform/postgres.ts';
import type { ArtifactsService, Caller } from '../services.ts';
import type { RoomPorts } from './base.ts';

export function artifactsOf(ports: RoomPorts): ArtifactsService {
  return {
    file: (tx, jobId, path, attempt) => fileOf(tx, jobId, path, attempt),
    open: async ({ objectKey, path }, range) => {
      const stream = await ports.store.get(objectKey, range);
      if (stream !== undefined) return stream;
      throw new OperatingError('storage', 'never', `reading ${path}`, {
        cause: 'the object store does not have it any more',
        mend: 'restore it from a copy; `merit jobs verify` tells what is missing',
      });
    },
    collect: (caller, options, signal) => collect(ports, caller, options, signal),
  };
}

interface FileRow {
  readonly path: string;
  readonly size: bigint;
  readonly sha256: string;
  readonly object_key: string;
  readonly attempt: number;
}

/** A file of the newest manifest, or of the one of an attempt. */
async function fileOf(tx: Tx, jobId: string, path: string, attempt: number | undefined) {
  const [row] = await tx.query<FileRow>(
    `select f.path, f.size, f.sha256, f.object_key, m.attempt from manifest_files f join manifests m using (manifest_id)
     where m.booking_id = $1 and f.path = $2
     and m.attempt = coalesce($3::int, (select max(attempt) from manifests where booking_id = $1))`,
    [jobId, path, attempt ?? null],
  );
  return (
    row && {
      path: row.path,
      size: Number(row.size),
      sha256: row.sha256,
      objectKey: row.object_key,
      attempt: row.attempt,
    }
  );
}

async function* collect(
  ports: RoomPorts,
  caller: Caller,
  { dryRun, graceMs }: { readonly dryRun: boolean; readonly graceMs: number },
  signal: AbortSignal,
): ReturnType<ArtifactsService['collect']> {
  const { tenant } = caller.identity;
  const judge = (objects: readonly AttemptObject[]) => ports.db.asTenant(tenant, (tx) => verdicts(tx, tenant, objects));
  const sums = { unnamed: 0, unnamedBytes: 0, unknown: 0, unknownBytes: 0 };
  for await (const { object, verdict } of unnamedObjects({
    store: ports.store,
    tenant,
    nowMs: caller.nowMs,
    graceMs,
    dryRun,
    judge,
    signal,
  })) {
    sums[verdict]++;
    sums[`${verdict}Bytes`] += object.size;
    const at = new Date(object.modifiedAtMs).toISOString();
    yield { object: object.key, job: object.bookingId, size: object.size, modifiedAt: at, verdict };
  }
  const unfinished = dryRun ? 0 : await ports.store.sweepUnfinished();
  yield { summary: { ...sums, deleted: dryRun ? 0 : sums.unnamed, unfinishedUploads: unfinished } };
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
