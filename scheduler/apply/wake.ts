import type { Tx } from '../../platform/postgres.ts';

/** The Postgres channel on which the allocator hears, at commit, that a booking may have something to do. */
export const BOOKINGS_CHANNEL = 'merit_bookings';

export async function notifyBookings(tx: Tx): Promise<void> {
  await tx.query("select pg_notify('merit_bookings', '')");
}
