import { assert } from '../../core/assert.ts';
import type { Json } from '../../core/canonical.ts';
import { canonicalText } from '../../core/canonical.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { inOrder } from './in-order.ts';

/**
 * Facts for downstream consumers, written in the transaction that makes them true and published afterwards: at least once,
 * each with its id, those of one key in the order they were written. Facts of one key are written under the lock of what the key
 * names, so that their order is the order of the changes; across keys there is none.
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
export type Publish = (message: OutboxMessage) => Promise<void>;

/** Facts in one call of `enqueue`. */
export const MAX_FACTS_PER_CALL = 10_000;
/** Messages read, published and marked together, and about so many bytes; a crash repeats at most these. */
export const DRAIN_BATCH = 200;
const DRAIN_BYTES = 4 * 1024 * 1024;

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
 * Publishes the oldest unpublished facts and marks those that went; where some did not, the others of their keys wait behind them, and the first
 * error is thrown. Returns how many were published. `tenants`: of these alone.
 */
export async function drainOnce(
  db: Database,
  epoch: bigint,
  publish: Publish,
  tenants: readonly string[] | undefined = undefined,
): Promise<number> {
  const rows = await db.asEngine((tx) =>
    tx.query<Row>(
      `select outbox_id, tenant, topic, key, body, created_at from (
         select *, sum(pg_column_size(body)) over (order by outbox_id) - pg_column_size(body) as before from (
           select * from outbox where published_at is null and ($1::text[] is null or tenant = any($1))
           order by outbox_id limit ${DRAIN_BATCH}) oldest) sized
       where before < ${DRAIN_BYTES} order by outbox_id`,
      [tenants ?? null],
    ),
  );
  const { done, error } = await inOrder(
    rows,
    (row) => JSON.stringify([row.tenant, row.topic, row.key]),
    ({ outbox_id: id, tenant: of, topic, key, body, created_at: createdAt }) =>
      publish({ id, tenant: of, topic, key, body, createdAtMs: createdAt.getTime() }),
  );
  const published = rows.filter((_row, i) => done[i]).map((row) => String(row.outbox_id));
  if (published.length > 0) {
    await db.asLeader(epoch, (tx) =>
      tx.execute('update outbox set published_at = clock_timestamp() where outbox_id = any($1::bigint[])', [published]),
    );
  }
  if (error !== undefined) throw error;
  return published.length;
}

export interface OutboxState {
  readonly waiting: number;
  /** Of the oldest that waits; undefined: none does. */
  readonly oldestMs: number | undefined;
}

/** Counted up to here. */
const MAX_COUNTED = 10_000;

export async function outboxState(tx: Tx, tenants: readonly string[] | undefined): Promise<OutboxState> {
  const [row] = await tx.query<{ waiting: bigint; oldest: Date | null }>(
    `select count(*) as waiting, min(created_at) as oldest from (
       select created_at from outbox where published_at is null and ($1::text[] is null or tenant = any($1))
       order by outbox_id limit ${MAX_COUNTED}) waiting`,
    [tenants ?? null],
  );
  return { waiting: Number(row?.waiting ?? 0), oldestMs: row?.oldest?.getTime() };
}

/** Removes what was published before `beforeMs`, at most `limit`; returns how many. */
export function expirePublished(db: Database, epoch: bigint, beforeMs: number, limit: number): Promise<number> {
  return db.asLeader(epoch, (tx) =>
    tx.execute(
      `delete from outbox where outbox_id in (
         select outbox_id from outbox where published_at < to_timestamp($1::float8 / 1000) order by published_at limit $2)`,
      [beforeMs, limit],
    ),
  );
}
