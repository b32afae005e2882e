import { advance, type BookingEvent, type BookingState, isEnded } from '../../core/booking.ts';
import { canonicalText, type Json } from '../../core/canonical.ts';
import type { BookingId } from '../../core/ids.ts';
import type { JobSpec } from '../../core/job.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';

/** A booking as stored: its spec never changes, its state only through `transition`. */
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

export interface Change {
  readonly actor: string;
  readonly nowMs: number;
  /**
   * What else changes in this transaction, run once the booking's row is ours (rows are always locked booking first, accounts
   * after); what it returns is told by the audit event beside the state: evidence hashes, transfers, handle.
   */
  readonly work?: (tx: Tx) => Promise<{ readonly [key: string]: Json }>;
}

/**
 * Moves a booking and writes its one audit event, in the caller's transaction. Throws StaleBooking where the event is not
 * legal now or the stored version is not the one given.
 */
export async function transition(tx: Tx, booking: Booking, event: BookingEvent, change: Change): Promise<Booking> {
  const next = advance(booking.state, event);
  if (next === undefined)
    throw new StaleBooking(`${event.type} is not legal in ${booking.state.state} (booking ${booking.bookingId})`);
  const version = booking.version + 1n;
  const touched = await tx.execute(
    'update bookings set state = $3, data = $4, version = $5, updated_at = $6 where booking_id = $1 and version = $2',
    [booking.bookingId, booking.version, next.state, canonicalText(next), version, new Date(change.nowMs)],
  );
  if (touched === 0) throw new StaleBooking(`booking ${booking.bookingId} is no longer at version ${booking.version}`);
  const data = await change.work?.(tx);
  await appendAudit(tx, {
    tenant: booking.tenant,
    subject: `booking/${booking.bookingId}`,
    type: `booking.${next.state}`,
    at: new Date(change.nowMs).toISOString(),
    actor: change.actor,
    trace: booking.traceId,
    data: { attempt: next.attempt, ...reasonData(next), ...data },
  });
  return { ...booking, state: next, version, updatedAtMs: change.nowMs };
}

function reasonData(state: BookingState): { readonly [key: string]: Json } {
  if (state.state === 'releasing' || state.state === 'draining')
    return { outcome: state.outcome, reason: { ...state.reason } };
  if (isEnded(state.state) && 'reason' in state) return { reason: { ...state.reason } };
  return {};
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
