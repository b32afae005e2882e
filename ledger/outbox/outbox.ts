import { assert } from '../../core/assert.ts';
import type { Json } from '../../core/canonical.ts';
import { canonicalText } from '../../core/canonical.ts';
import type { Clock } from '../../platform/clock.ts';
import { type Database, StaleLeader, type Tx } from '../../platform/postgres.ts';

/**
 * Facts for downstream consumers, written in the transaction that makes them true and published afterwards: at least once,
 * each with its id, in the order they were written. Facts of one key are written under the lock of what the key names, so
 * that their order is the order of the changes; across keys, one that commits late may come after a newer one.
 */
export interface Fact {
  readonly tenant: string;
  readonly topic: string;
  /** What must stay in order: a booking, a suite. */
  readonly key: string;
  readonly body: Json;
}

export interface OutboxMessage extends Fact {
  /** The same at every repeat. */
  readonly id: bigint;
  readonly createdAtMs: number;
}

/** Hands one message on; resolves when it is durable there. */
export type Publish = (message: OutboxMessage, signal: AbortSignal) => Promise<void>;

/** Facts in one call of `enqueue`. */
export const MAX_FACTS_PER_CALL = 10_000;
/** Messages read, published and marked together; a crash repeats at most these. */
export const DRAIN_BATCH = 200;
export const IDLE_MS = 500;
export const RETRY_MIN_MS = 200;
export const RETRY_MAX_MS = 15_000;

/** Writes facts in the caller's transaction, in the order given. */
export async function enqueue(tx: Tx, ...facts: readonly Fact[]): Promise<void> {
  if (facts.length === 0) return;
  assert(facts.length <= MAX_FACTS_PER_CALL, `at most ${MAX_FACTS_PER_CALL} facts a call`);
  await tx.execute(
    `insert into outbox (tenant, topic, key, body)
     select tenant, topic, key, body from unnest($1::text[], $2::text[], $3::text[], $4::jsonb[])
       with ordinality as f (tenant, topic, key, body, at) order by at`,
    [
      facts.map((fact) => fact.tenant),
      facts.map((fact) => fact.topic),
      facts.map((fact) => fact.key),
      facts.map((fact) => canonicalText(fact.body)),
    ],
  );
}

interface Row {
  readonly outbox_id: bigint;
  readonly tenant: string;
  readonly topic: string;
  readonly key: string;
  readonly body: Json;
  readonly created_at: Date;
}

/**
 * Publishes the oldest unpublished facts one after the other, then marks them. Stops at the first that fails: what went
 * before is marked, and the error is thrown. Returns how many were published.
 */
export async function drainOnce(db: Database, epoch: bigint, publish: Publish, signal: AbortSignal): Promise<number> {
  const rows = await db.asEngine((tx) =>
    tx.query<Row>(
      `select outbox_id, tenant, topic, key, body, created_at from outbox
       where published_at is null order by outbox_id limit ${DRAIN_BATCH}`,
    ),
  );
  const published: bigint[] = [];
  try {
    for (const row of rows) {
      if (signal.aborted) break;
      const { tenant, topic, key, body } = row;
      await publish({ id: row.outbox_id, tenant, topic, key, body, createdAtMs: row.created_at.getTime() }, signal);
      published.push(row.outbox_id);
    }
  } finally {
    if (published.length > 0) {
      await db.asLeader(epoch, (tx) =>
        tx.execute('update outbox set published_at = clock_timestamp() where outbox_id = any($1::bigint[])', [
          published.map(String),
        ]),
      );
    }
  }
  return published.length;
}

export interface OutboxDeps {
  readonly db: Database;
  readonly epoch: bigint;
  readonly clock: Clock;
  readonly publish: Publish;
  readonly failed?: (error: unknown, retryInMs: number) => void;
}

/** Drains until `signal`. Failures are retried with back-off; only StaleLeader ends it (it is thrown: another leads). */
export async function runOutbox(deps: OutboxDeps, signal: AbortSignal): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    let pauseMs = IDLE_MS;
    try {
      if ((await drainOnce(deps.db, deps.epoch, deps.publish, signal)) === DRAIN_BATCH) pauseMs = 0;
      failures = 0;
    } catch (error) {
      if (error instanceof StaleLeader) throw error;
      pauseMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(failures++, 10));
      deps.failed?.(error, pauseMs);
    }
    if (pauseMs > 0) await deps.clock.sleep(pauseMs, signal);
  }
}
