import { assert } from '../core/assert.ts';
import { sha256Hex } from '../core/canonical.ts';
import { attemptKey, type BookingId } from '../core/ids.ts';
import type { ObjectStore } from '../platform/object-store.ts';
import type { Tx } from '../platform/postgres.ts';
import { type Manifest, manifestBytes, manifestSha256, parseManifest } from './manifest.ts';
import { manifestKey, objectKey } from './paths.ts';

/** Rows a statement inserts: 5 arrays of this many short texts stay well under the protocol's limits. */
const ROWS_A_STATEMENT = 1000;

export interface RecordedManifest {
  readonly manifestId: string;
  readonly sha256: string;
  readonly bytes: Buffer;
}

export type RecordOutcome =
  | { readonly kind: 'recorded' | 'exists'; readonly manifestId: string; readonly sha256: string }
  /** Another manifest of this attempt is recorded; it stays. */
  | {
      readonly kind: 'conflict';
      readonly manifestId: string;
      readonly recordedSha256: string;
      readonly sha256: string;
    };

/** Writes manifest.json beside the objects; outside of any transaction, before `recordManifest`. Safe to repeat. */
export async function writeManifest(
  store: ObjectStore,
  keyPrefix: string,
  manifest: Manifest,
): Promise<{ readonly key: string; readonly sha256: string }> {
  const bytes = manifestBytes(manifest);
  const { key, sha256 } = await store.put(manifestKey(keyPrefix), bytes);
  assert(sha256 === sha256Hex(bytes), 'the object store returned the SHA-256 of other bytes');
  return { key, sha256 };
}

/**
 * Records the manifest and its files in the caller's transaction, so that the audit event commits with them. One manifest
 * an attempt, for ever: the same one again is `exists`, another is `conflict` and changes nothing.
 */
export async function recordManifest(tx: Tx, keyPrefix: string, manifest: Manifest): Promise<RecordOutcome> {
  const manifestId = attemptKey(manifest.booking as BookingId, manifest.attempt);
  const bytes = manifestBytes(manifest);
  const sha256 = sha256Hex(bytes);
  const inserted = await tx.execute(
    `insert into manifests (manifest_id, tenant, booking_id, attempt, sha256, bytes) values ($1, $2, $3, $4, $5, $6)
     on conflict (booking_id, attempt) do nothing`,
    [manifestId, manifest.tenant, manifest.booking, manifest.attempt, sha256, bytes],
  );
  if (inserted === 0) {
    const recorded = await loadManifest(tx, manifest.booking, manifest.attempt);
    assert(recorded !== undefined, `manifest ${manifestId} is there and is not`);
    if (recorded.sha256 === sha256) return { kind: 'exists', manifestId, sha256 };
    return { kind: 'conflict', manifestId, recordedSha256: recorded.sha256, sha256 };
  }
  for (let from = 0; from < manifest.files.length; from += ROWS_A_STATEMENT) {
    const files = manifest.files.slice(from, from + ROWS_A_STATEMENT);
    await tx.execute(
      `insert into manifest_files (manifest_id, tenant, path, size, sha256, object_key)
       select $1, $2, path, size, sha256, object_key
       from unnest($3::text[], $4::bigint[], $5::text[], $6::text[]) as f (path, size, sha256, object_key)`,
      [
        manifestId,
        manifest.tenant,
        files.map((file) => file.path),
        files.map((file) => file.size),
        files.map((file) => file.sha256),
        files.map((file) => objectKey(keyPrefix, file.path)),
      ],
    );
  }
  return { kind: 'recorded', manifestId, sha256 };
}

/** The recorded manifest of an attempt, as its exact bytes. */
export async function loadManifest(tx: Tx, bookingId: string, attempt: number): Promise<RecordedManifest | undefined> {
  const [row] = await tx.query<{ manifest_id: string; sha256: string; bytes: Buffer }>(
    'select manifest_id, sha256, bytes from manifests where booking_id = $1 and attempt = $2',
    [bookingId, attempt],
  );
  return row && { manifestId: row.manifest_id, sha256: row.sha256, bytes: row.bytes };
}

/** The manifest in a record whose bytes are known to be good; undefined where they are not what its hash says. */
export function manifestOf(record: Pick<RecordedManifest, 'sha256' | 'bytes'>): Manifest | undefined {
  const manifest = parseManifest(record.bytes);
  if (!('format' in manifest)) return undefined;
  return manifestSha256(manifest) === record.sha256 ? manifest : undefined;
}
