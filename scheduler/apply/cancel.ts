import { assert } from '../../core/assert.ts';
import type { BookingEvent, Reason } from '../../core/booking.ts';
import { isEnded } from '../../core/booking.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Booking, loadBooking } from './booking-store.ts';
import { graceMs } from './limits.ts';
import { billingEnd } from './money.ts';
import { isMoneyAlone, SAY_SPENT } from './money-alone.ts';
import { commitMoves } from './moves.ts';
import { notifyBooking } from './wake.ts';

export type Cancelled = {
  /** `leaving`: it is on its way back to the queue, and can be ended once it is there; nothing was done. */
  readonly kind: 'asked' | 'ended' | 'leaving';
  readonly booking: Booking;
};

/**
 * Asks for a booking's end in the caller's transaction: what waits ends at once; what runs is drained with notice; what is on its way
 * is undone, and so is what has its notice to make room. Of money alone the notice is the time to say what was spent. Repeating it changes nothing. undefined: this tenant has no such booking.
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
  if (event === undefined) return { kind: kindOf(booking), booking };
  const [result] = await commitMoves(tx, [{ booking, event, actor, nowMs }]);
  assert(result?.kind === 'moved', 'a locked booking takes a legal event');
  await notifyBooking(tx, bookingId);
  return { kind: 'asked', booking: result.booking };
}

function kindOf({ state }: Booking): Cancelled['kind'] {
  if (isEnded(state.state)) return 'ended';
  return state.state === 'releasing' && state.outcome === 'retry' ? 'leaving' : 'asked';
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
    case 'applied': {
      const told = isMoneyAlone(booking) ? { ...reason, mend: SAY_SPENT } : reason;
      return { type: 'drain', deadlineMs: nowMs + graceMs(booking.spec), outcome: 'cancelled', reason: told };
    }
    case 'draining':
      // It was to make room and go on: now it is to end, and needs no checkpoint.
      return booking.state.outcome === 'retry'
        ? {
            type: 'release',
            outcome: 'cancelled',
            reason,
            atMs: billingEnd(booking.state.appliedAtMs, undefined, nowMs),
          }
        : undefined;
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
