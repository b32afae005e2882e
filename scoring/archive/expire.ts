import type { ArchiveContext } from './context.ts';
import { segmentKeys } from './segment-manifest.ts';
import { expireSegments, markDeleted, segmentsToDelete } from './segments.sql.ts';

/** In one look. */
const MAX_EXPIRED_AT_ONCE = 64;

/**
 * Lets segments go whose time is over: first the row says so, then the objects go, then the row says that they are gone. A crash in
 * between deletes again. False where there was nothing.
 */
export async function deleteExpired(ctx: ArchiveContext): Promise<boolean> {
  const { clock, db, epoch, metrics, policy, store } = ctx;
  const { keepMs } = policy;
  if (keepMs !== null) await db.asLeader(epoch, (tx) => expireSegments(tx, clock.now() - keepMs, MAX_EXPIRED_AT_ONCE));
  const rows = await db.asEngine((tx) => segmentsToDelete(tx, MAX_EXPIRED_AT_ONCE));
  for (const row of rows) {
    const keys = segmentKeys(row);
    // The manifest first: who reads without the database tells by it what was let go from what was taken away.
    for (const key of [keys.manifest, keys.segment, keys.marks]) await store.delete(key);
    await db.asLeader(epoch, (tx) => markDeleted(tx, row));
    metrics.expired(1);
  }
  return rows.length > 0;
}
