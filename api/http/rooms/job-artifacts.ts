import { randomBytes } from 'node:crypto';
import { ulid } from '../../../core/ids.ts';
import { OperatingError } from '../../../core/operating-error.ts';
import type { Tx } from '../../../platform/postgres.ts';
import type { ArtifactsService } from '../services.ts';
import { type RoomPorts, requesterOf } from './base.ts';
import { collectUnnamed } from './collect-unnamed.ts';

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
    collect: (caller, options, signal) => {
      const { db, store } = ports;
      const id = ulid(caller.nowMs, randomBytes(10));
      return collectUnnamed({ db, store, ...requesterOf(caller), ...options, id }, signal);
    },
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
export async function fileOf(tx: Tx, jobId: string, path: string, attempt: number | undefined) {
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
