import { assert } from '../../core/assert.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { ACTOR } from './apply.saga.ts';
import { loadBooking } from './booking-store.ts';
import { type KeptLog, LOG_ENDED, type LogBook, type LogChunk, type LogEnd, type LogOf, NO_LOG } from './log-book.ts';

/** The log book of the process that leads by `epoch`. */
export function postgresLogBook(db: Database, epoch: bigint): LogBook {
  return {
    read: (of) => db.asEngine((tx) => readKeptLog(tx, of)),
    chunks: (of, fromByte, limit) => db.asEngine((tx) => readChunks(tx, of, fromByte, limit)),
    append: (of, before, chunk) => db.asLeader(epoch, (tx) => append(tx, of, before, chunk)),
    end: (of, before, end, sha256, atMs) =>
      db.asLeader(epoch, (tx) => finish(tx, of, before, { end, sha256: sha256 ?? null, atMs })),
    cut: (of, before, fromByte) => db.asLeader(epoch, (tx) => cut(tx, of, before, fromByte)),
  };
}

type OfAttempt = Omit<LogOf, 'tenant'>;

interface ChunkRow {
  readonly from_byte: bigint;
  readonly size: number;
  readonly sha256: string;
  readonly object_key: string;
}

function chunkOf(row: ChunkRow): LogChunk {
  return { fromByte: Number(row.from_byte), size: row.size, sha256: row.sha256, objectKey: row.object_key };
}

/** As the transaction's role may see it. */
export async function readKeptLog(tx: Tx, { bookingId, attempt }: OfAttempt): Promise<KeptLog> {
  const [row] = await tx.query<{ bytes: bigint; ended: LogEnd | null } & Partial<ChunkRow>>(
    `select l.bytes, l.ended, c.from_byte, c.size, c.sha256, c.object_key
     from job_logs l left join log_chunks c using (booking_id, attempt)
     where l.booking_id = $1 and l.attempt = $2 order by c.from_byte desc limit 1`,
    [bookingId, attempt],
  );
  if (row === undefined) return NO_LOG;
  const last = row.from_byte == null ? undefined : chunkOf(row as ChunkRow);
  return { bytes: Number(row.bytes), ended: row.ended ?? undefined, last };
}

async function chunkRows(
  tx: Tx,
  { bookingId, attempt }: OfAttempt,
  which: 'from_byte >= $3 order by from_byte' | 'from_byte < $3 order by from_byte desc',
  byte: number,
  limit: number,
): Promise<readonly LogChunk[]> {
  const rows = await tx.query<ChunkRow>(
    `select from_byte, size, sha256, object_key from log_chunks where booking_id = $1 and attempt = $2 and ${which} limit $4`,
    [bookingId, attempt, byte, limit],
  );
  return rows.map(chunkOf);
}

export function readChunks(tx: Tx, of: OfAttempt, fromByte: number, limit: number): Promise<readonly LogChunk[]> {
  return chunkRows(tx, of, 'from_byte >= $3 order by from_byte', fromByte, limit);
}

/** Chunks that lie before a byte, the last one first. */
export function readChunksBefore(tx: Tx, of: OfAttempt, byte: number, limit: number): Promise<readonly LogChunk[]> {
  return chunkRows(tx, of, 'from_byte < $3 order by from_byte desc', byte, limit);
}

/** The chunk that holds a byte; undefined where none does. */
export async function chunkAt(tx: Tx, of: OfAttempt, byte: number): Promise<LogChunk | undefined> {
  const [chunk] = await readChunksBefore(tx, of, byte + 1, 1);
  return chunk === undefined || chunk.fromByte + chunk.size <= byte ? undefined : chunk;
}

/** Sets the row from `before` to `bytes`; false where it is not as `before` says. */
async function moved(tx: Tx, of: LogOf, before: KeptLog, bytes: number): Promise<boolean> {
  const { tenant, bookingId, attempt } = of;
  if (before.bytes === 0 && before.last === undefined)
    await tx.execute('insert into job_logs (booking_id, attempt, tenant) values ($1, $2, $3) on conflict do nothing', [
      bookingId,
      attempt,
      tenant,
    ]);
  const changed = await tx.execute(
    `update job_logs set bytes = $4, updated_at = now()
     where booking_id = $1 and attempt = $2 and bytes = $3 and ended is null`,
    [bookingId, attempt, before.bytes, bytes],
  );
  return changed === 1;
}

async function append(tx: Tx, of: LogOf, before: KeptLog, chunk: LogChunk): Promise<boolean> {
  const { tenant, bookingId, attempt } = of;
  if (!(await moved(tx, of, before, chunk.fromByte + chunk.size))) return false;
  // In the place of the last one, where it begins with that.
  await tx.execute('delete from log_chunks where booking_id = $1 and attempt = $2 and from_byte = $3', [
    bookingId,
    attempt,
    chunk.fromByte,
  ]);
  await tx.execute(
    `insert into log_chunks (booking_id, attempt, tenant, from_byte, size, sha256, object_key)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [bookingId, attempt, tenant, chunk.fromByte, chunk.size, chunk.sha256, chunk.objectKey],
  );
  return true;
}

interface Ended {
  readonly end: LogEnd;
  readonly sha256: string | null;
  readonly atMs: number;
}

async function finish(tx: Tx, of: LogOf, before: KeptLog, { end, sha256, atMs }: Ended): Promise<boolean> {
  const { tenant, bookingId, attempt } = of;
  // Before the log's row, as whoever moves the booking does: its next event has one number.
  const booking = await loadBooking(tx, bookingId, 'lock');
  assert(booking !== undefined, `a log is of a booking that is there: ${bookingId}`);
  if (!(await moved(tx, of, before, before.bytes))) return false;
  await tx.execute('update job_logs set ended = $3, sha256 = $4 where booking_id = $1 and attempt = $2', [
    bookingId,
    attempt,
    end,
    sha256,
  ]);
  await appendAudit(tx, {
    tenant,
    subject: `booking/${bookingId}`,
    type: LOG_ENDED,
    at: new Date(atMs).toISOString(),
    actor: ACTOR,
    trace: booking.traceId,
    data: { attempt, ended: end, bytes: String(before.bytes), sha256 },
  });
  return true;
}

async function cut(tx: Tx, of: LogOf, before: KeptLog, fromByte: number): Promise<boolean> {
  if (!(await moved(tx, of, before, fromByte))) return false;
  await tx.execute('delete from log_chunks where booking_id = $1 and attempt = $2 and from_byte >= $3', [
    of.bookingId,
    of.attempt,
    fromByte,
  ]);
  return true;
}
