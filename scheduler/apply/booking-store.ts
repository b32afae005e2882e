import type { BookingState } from '../../core/booking.ts';
import { canonicalText } from '../../core/canonical.ts';
import type { BookingId } from '../../core/ids.ts';
import type { JobSpec } from '../../core/job.ts';
import type { Tx } from '../../platform/postgres.ts';

/** A booking as stored: its spec never changes, its state only by a move (moves.ts). */
export interface Booking {
  readonly bookingId: BookingId;
  readonly tenant: string;
  readonly division: string;
  readonly jobName: string;
  readonly requester: string;
  readonly traceId: string;
  readonly spec: JobSpec;
  readonly specHash: string;
  readonly state: BookingState;
  readonly version: bigint;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Somebody else moved the booking first: this writer's knowledge is stale, its whole transaction is undone, and it looks again. */
export class StaleBooking extends Error {
  override name = 'StaleBooking';
}

interface BookingRow {
  readonly booking_id: BookingId;
  readonly tenant: string;
  readonly division: string;
  readonly job_name: string;
  readonly requester: string;
  readonly trace_id: string;
  readonly spec: JobSpec;
  readonly spec_hash: string;
  readonly data: BookingState;
  readonly version: bigint;
  readonly created_at: Date;
  readonly updated_at: Date;
}

export const BOOKING_COLUMNS =
  'booking_id, tenant, division, job_name, requester, trace_id, spec, spec_hash, data, version, created_at, updated_at';

export function bookingOf(row: object): Booking {
  const r = row as BookingRow;
  return {
    bookingId: r.booking_id,
    tenant: r.tenant,
    division: r.division,
    jobName: r.job_name,
    requester: r.requester,
    traceId: r.trace_id,
    spec: r.spec,
    specHash: r.spec_hash,
    state: r.data,
    version: r.version,
    createdAtMs: r.created_at.getTime(),
    updatedAtMs: r.updated_at.getTime(),
  };
}

/** The engine looks at no more than this many live bookings at once; the rest wait their turn in order of age. */
export const MAX_LIVE_BOOKINGS = 10_000;

export async function liveBookings(tx: Tx): Promise<readonly Booking[]> {
  const rows = await tx.query(
    `select ${BOOKING_COLUMNS} from bookings
     where state not in ('released', 'rejected', 'infeasible', 'failed', 'expired', 'cancelled', 'revoked')
     order by created_at, booking_id limit ${MAX_LIVE_BOOKINGS}`,
  );
  return rows.map(bookingOf);
}

export async function loadBooking(
  tx: Tx,
  bookingId: string,
  lock: 'lock' | 'read' = 'read',
): Promise<Booking | undefined> {
  const rows = await tx.query(
    `select ${BOOKING_COLUMNS} from bookings where booking_id = $1${lock === 'lock' ? ' for update' : ''}`,
    [bookingId],
  );
  return rows[0] === undefined ? undefined : bookingOf(rows[0]);
}

/** Notes a flag or the reasons for waiting: no transition, no audit event, the version stays. */
export async function note(tx: Tx, booking: Booking, state: BookingState, nowMs: number): Promise<Booking> {
  const touched = await tx.execute(
    'update bookings set data = $3, updated_at = $4 where booking_id = $1 and version = $2',
    [booking.bookingId, booking.version, canonicalText(state), new Date(nowMs)],
  );
  if (touched === 0) throw new StaleBooking(`booking ${booking.bookingId} is no longer at version ${booking.version}`);
  return { ...booking, state, updatedAtMs: nowMs };
}
