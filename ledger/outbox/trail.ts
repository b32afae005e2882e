import type { AuditEvent } from '../../core/audit-event.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { inOrder } from './in-order.ts';

/**
 * The audit trail for downstream consumers. It needs no rows of its own in the outbox: it is written in the transactions that make it true, and its
 * places are dense and only grow, so that a stored place says what was published. That costs the transactions of bookings nothing.
 */

export interface SequencedEvent {
  readonly event: AuditEvent;
  /** Its place in the chain. */
  readonly seq: bigint;
}

/** Hands one event on to wherever it belongs; resolves when it is durable there. */
export type PublishEvent = (sequenced: SequencedEvent) => Promise<void>;

/** Events read, published and passed together, and about so many bytes; a crash repeats at most these. */
export const TRAIL_BATCH = 500;
const TRAIL_BYTES = 4 * 1024 * 1024;
/** Names the stored place of what downstream consumers read. */
const DOWNSTREAM = 'audit';

interface Row {
  readonly seq: bigint;
  readonly tenant: string;
  readonly bytes: Buffer;
}

/**
 * Publishes the next events, those of one subject in their order, and moves the stored place up to the first that did not go; its error is thrown.
 * Returns how many were passed. `tenants`: events of others are passed and not published. `reader`: whose place it is.
 */
export async function publishTrailOnce(
  db: Database,
  epoch: bigint,
  publish: PublishEvent,
  tenants: readonly string[] | undefined = undefined,
  reader = DOWNSTREAM,
): Promise<number> {
  const { next, rows } = await db.asEngine(async (tx) => {
    const from = await placeOf(tx, reader);
    const found = await tx.query<Row>(
      `select seq, tenant, bytes from (
         select *, sum(octet_length(bytes)) over (order by seq) - octet_length(bytes) as before from (
           select seq, tenant, bytes from audit_events where seq >= $1 order by seq limit ${TRAIL_BATCH}) ahead) sized
       where before < ${TRAIL_BYTES} order by seq`,
      [from],
    );
    return { next: from, rows: found };
  });
  if (rows.length === 0) return 0;
  const wanted = rows
    .filter((row) => tenants === undefined || tenants.includes(row.tenant))
    .map(({ seq, bytes }) => ({ seq, event: JSON.parse(bytes.toString('utf8')) as AuditEvent }));
  // What goes behind the first that fails is sent again: the place is one for all.
  const subjectOf = ({ event }: SequencedEvent) => JSON.stringify([event.tenant, event.subject]);
  const { done, error } = await inOrder(wanted, subjectOf, publish, 'all');
  const failed = wanted.find((_one, i) => !done[i]);
  const to = failed?.seq ?? rows.at(-1)!.seq + 1n;
  if (to > next) await db.asLeader(epoch, (tx) => movePlace(tx, reader, to));
  if (error !== undefined) throw error;
  return rows.length;
}

async function placeOf(tx: Tx, reader: string): Promise<bigint> {
  const [row] = await tx.query<{ next_seq: bigint }>('select next_seq from publications where name = $1', [reader]);
  return row?.next_seq ?? 0n;
}

async function movePlace(tx: Tx, reader: string, to: bigint): Promise<void> {
  await tx.execute(
    `insert into publications (name, next_seq) values ($1, $2)
     on conflict (name) do update set next_seq = greatest(publications.next_seq, excluded.next_seq), moved_at = clock_timestamp()`,
    [reader, to],
  );
}

/** The place behind the newest event that has one. */
const TRAIL_END = 'coalesce((select seq + 1 from audit_events where seq is not null order by seq desc limit 1), 0)';

/** A reader that never read begins with what happens from now on. */
export async function beginTrail(db: Database, epoch: bigint, reader: string): Promise<void> {
  await db.asLeader(epoch, (tx) =>
    tx.execute(
      `insert into publications (name, next_seq)
       select $1, ${TRAIL_END}
       on conflict (name) do nothing`,
      [reader],
    ),
  );
}

export interface TrailState {
  readonly waiting: number;
  /** When the oldest that waits was recorded; undefined: none does. */
  readonly oldestMs: number | undefined;
}

export async function trailState(tx: Tx, reader = DOWNSTREAM): Promise<TrailState> {
  const next = await placeOf(tx, reader);
  const [row] = await tx.query<{ size: bigint; oldest: Date | null }>(
    `select ${TRAIL_END} as size,
            (select recorded_at from audit_events where seq = $1) as oldest`,
    [next],
  );
  const size = row?.size ?? 0n;
  return { waiting: size > next ? Number(size - next) : 0, oldestMs: row?.oldest?.getTime() };
}
