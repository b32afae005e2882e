import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../../platform/postgres.ts';

const LIMIT_MS = 30_000;

/**
 * Resolves once every transaction that runs now has ended, in all databases of the server: what readers hold back for them is then told.
 * Tests of other files share the server.
 */
export async function horizonPassed(db: Database): Promise<void> {
  const [now] = await db.asEngine((tx) =>
    tx.query<{ xact: bigint }>('select pg_current_xact_id()::text::bigint as xact'),
  );
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const [row] = await db.asEngine((tx) =>
      tx.query<{ xmin: bigint }>('select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin'),
    );
    if (row!.xmin > now!.xact) return;
    if (performance.now() > deadline) throw new Error('a transaction of somebody else does not end');
    await sleep(20);
  }
}
