import type { BookingState, StateName } from '../../core/booking.ts';
import { canonicalText } from '../../core/canonical.ts';
import { extendedMs } from '../../core/extension.ts';
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

/** The whole lease of its attempt: as it was booked, and what was granted since. */
export function leaseMsOf({ spec, state }: Pick<Booking, 'spec' | 'state'>): number {
  return spec.leaseMs + extendedMs(state);
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

/** The engine holds no more than this many live bookings; younger ones wait unseen until others ended. */
export const MAX_LIVE_BOOKINGS = 200_000;

/** All that live, oldest first; of one tenant, where one is named. */
export async function liveBookings(tx: Tx, tenant?: string): Promise<readonly Booking[]> {
  const rows = await tx.query(
    `select ${BOOKING_COLUMNS} from bookings where not ended and ($1::text is null or tenant = $1)
     order by created_at, booking_id limit ${MAX_LIVE_BOOKINGS}`,
    [tenant ?? null],
  );
  return rows.map(bookingOf);
}

/** Tells a booking as stored from one that was read before: a flag leaves the version as it is, but not the time. */
export type Stamp = Pick<Booking, 'version' | 'updatedAtMs'>;

/** Of all that live: what a reader that followed changes compares itself with. */
export async function liveStamps(tx: Tx): Promise<ReadonlyMap<string, Stamp>> {
  const rows = await tx.query<{ booking_id: string; version: bigint; updated_at: Date }>(
    `select booking_id, version, updated_at from bookings where not ended order by created_at, booking_id limit ${MAX_LIVE_BOOKINGS}`,
  );
  return new Map(rows.map((row) => [row.booking_id, { version: row.version, updatedAtMs: row.updated_at.getTime() }]));
}

export async function bookingsById(tx: Tx, ids: readonly string[]): Promise<readonly Booking[]> {
  if (ids.length === 0) return [];
  const rows = await tx.query(`select ${BOOKING_COLUMNS} from bookings where booking_id = any($1::text[])`, [ids]);
  return rows.map(bookingOf);
}

/** Booking → the state of each job it depends on. */
export async function dependencyStates(
  tx: Tx,
  bookings: readonly Booking[],
): Promise<ReadonlyMap<string, ReadonlyMap<string, StateName>>> {
  const ids = bookings.filter(({ spec }) => spec.dependsOn !== undefined).map((booking) => booking.bookingId);
  if (ids.length === 0) return new Map();
  const rows = await tx.query<{ booking_id: string; needs: string; state: StateName }>(
    `select d.booking_id, d.needs, b.state from booking_dependencies d join bookings b on b.booking_id = d.needs
     where d.booking_id = any($1::text[])`,
    [ids],
  );
  const found = new Map<string, Map<string, StateName>>();
  for (const row of rows) found.set(row.booking_id, (found.get(row.booking_id) ?? new Map()).set(row.needs, row.state));
  return found;
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

/** Notes the reasons of many waiting bookings; version and time stay, and whoever moved on meanwhile is left alone. The bookings as they are now. */
export async function noteReasons(
  tx: Tx,
  changed: readonly { readonly booking: Booking; readonly state: BookingState }[],
): Promise<readonly Booking[]> {
  const rows = await tx.query<{ booking_id: string }>(
    `update bookings b set data = jsonb_set(b.data, '{reasons}', n.reasons::jsonb)
     from unnest($1::text[], $2::bigint[], $3::text[]) as n (id, version, reasons)
     where b.booking_id = n.id and b.version = n.version and b.state = 'waiting' returning b.booking_id`,
    [
      changed.map(({ booking }) => booking.bookingId),
      changed.map(({ booking }) => booking.version),
      changed.map(({ state }) => canonicalText('reasons' in state ? state.reasons : [])),
    ],
  );
  const noted = new Set(rows.map((row) => row.booking_id));
  return changed
    .filter(({ booking }) => noted.has(booking.bookingId))
    .map(({ booking, state }) => ({ ...booking, state }));
}
