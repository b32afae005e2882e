import { assert } from '../../core/assert.ts';
import type { BookingEvent, Reason } from '../../core/booking.ts';
import { isEnded } from '../../core/booking.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Booking, loadBooking } from './booking-store.ts';
import { graceMs } from './limits.ts';
import { commitMoves } from './moves.ts';
import { notifyBooking } from './wake.ts';

export type Cancelled = { readonly kind: 'asked' | 'ended'; readonly booking: Booking };

/**
 * Asks for a booking's end in the caller's transaction: what waits ends at once; what runs is drained with notice; what is on its way
 * is undone. Repeating it changes nothing. undefined: this tenant has no such booking.
 */
export async function cancelBooking(
  tx: Tx,
  bookingId: string,
  actor: string,
  nowMs: number,
): Promise<Cancelled | undefined> {
  const booking = await loadBooking(tx, bookingId, 'lock');
  if (booking === undefined) return undefined;
  const event = cancelEvent(booking, actor, nowMs);
  if (event === undefined) return { kind: isEnded(booking.state.state) ? 'ended' : 'asked', booking };
  const [result] = await commitMoves(tx, [{ booking, event, actor, nowMs }]);
  assert(result?.kind === 'moved', 'a locked booking takes a legal event');
  await notifyBooking(tx, bookingId);
  return { kind: 'asked', booking: result.booking };
}

/** What a cancel is of a booking as it stands; undefined: it leaves already. Pure. */
export function cancelEvent(booking: Booking, actor: string, nowMs: number): BookingEvent | undefined {
  const reason: Reason = { code: 'cancelled', text: `cancelled by ${actor}`, mend: 'submit again if it was a mistake' };
  switch (booking.state.state) {
    case 'waiting':
    case 'awaiting_signatures':
      return { type: 'cancel', reason };
    case 'reserved':
    case 'requesting':
    case 'confirming':
      return { type: 'release', outcome: 'cancelled', reason, atMs: nowMs };
    case 'applied':
      return { type: 'drain', deadlineMs: nowMs + graceMs(booking.spec), outcome: 'cancelled', reason };
    case 'draining':
    case 'releasing':
    case 'released':
    case 'rejected':
    case 'infeasible':
    case 'failed':
    case 'expired':
    case 'cancelled':
    case 'revoked':
      return undefined;
  }
}
