import { randomBytes } from 'node:crypto';
import { ulid } from '../../core/ids.ts';
import type { Clock } from '../../platform/clock.ts';
import type { CollectionConfig } from '../../platform/collection-config.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Database } from '../../platform/postgres.ts';
import { newTrace } from '../../platform/trace.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { collectUnnamed } from '../http/rooms/collect-unnamed.ts';
import type { LeaderLoop } from './engine.ts';

/** As audit events name it. */
const ACTOR = 'merit/collection';
/** Between two looks at the clock, which may have been set. */
const LOOK_MS = 60_000;

export interface CollectionLoopOptions {
  readonly db: Database;
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly policy: CollectionConfig & { readonly everyMs: number };
}

/**
 * Collects what nothing names, of every tenant, each time that a whole number of `everyMs` has gone by since midnight UTC. What it judges holds for
 * good, so that one that leads no more does no harm; one that fails is told, and left to the next time.
 */
export function collectionLoop(options: CollectionLoopOptions): LeaderLoop {
  const { clock, log, policy } = options;
  const nth = () => Math.floor(clock.now() / policy.everyMs);
  return {
    name: 'collection',
    run: async (_epoch, signal) => {
      for (let last = nth(); !signal.aborted; await clock.sleep(Math.min(LOOK_MS, policy.everyMs), signal)) {
        const now = nth();
        if (now <= last) continue;
        last = now;
        await collectAll(options, signal).catch((error: unknown) =>
          log.warn({ error: String(error) }, 'objects that nothing names cannot be collected'),
        );
      }
    },
  };
}

async function collectAll(
  { db, store, clock, log, policy }: CollectionLoopOptions,
  signal: AbortSignal,
): Promise<void> {
  const tenants = await db.asEngine((tx) => tx.query<{ tenant: string }>('select tenant from tenants order by tenant'));
  for (const { tenant } of tenants) {
    const nowMs = clock.now();
    const { traceId } = newTrace();
    const id = ulid(nowMs, randomBytes(10));
    const asks = { db, store, tenant, actor: ACTOR, traceId, nowMs, graceMs: policy.graceMs, dryRun: false, id };
    for await (const { summary } of collectUnnamed(asks, signal))
      if (summary !== undefined)
        log.info({ tenant, ...(summary as object) }, 'objects that nothing names were collected');
    if (signal.aborted) return;
  }
}
