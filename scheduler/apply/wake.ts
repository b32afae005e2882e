import type { Tx } from '../../platform/postgres.ts';

/** The Postgres channel on which the allocator hears, at commit, of a booking that somebody else made or changed. */
export const BOOKINGS_CHANNEL = 'merit_bookings';

/** The payload is the booking's id. */
export async function notifyBooking(tx: Tx, bookingId: string): Promise<void> {
  await notifyBookings(tx, [bookingId]);
}

/** More than this many are told as one empty payload: look at everything. */
const MAX_TOLD = 100;

export async function notifyBookings(tx: Tx, bookingIds: readonly string[]): Promise<void> {
  const payloads = bookingIds.length > MAX_TOLD ? [''] : bookingIds;
  await tx.query("select pg_notify('merit_bookings', id) from unnest($1::text[]) as b (id)", [payloads]);
}
