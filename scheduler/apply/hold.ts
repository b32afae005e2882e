import { advance } from '../../core/booking.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Booking, loadBooking, note } from './booking-store.ts';
import { notifyBooking } from './wake.ts';

export type Held =
  | { readonly kind: 'done'; readonly booking: Booking }
  /** Only what waits can be kept back. */
  | { readonly kind: 'not_waiting'; readonly booking: Booking };

/** Keeps a waiting booking back from the planner, or lets it go again. Repeating it changes nothing. undefined: this tenant has no such booking. */
export async function setHold(
  tx: Tx,
  bookingId: string,
  wanted: 'hold' | 'let_go',
  actor: string,
  nowMs: number,
): Promise<Held | undefined> {
  const booking = await loadBooking(tx, bookingId, 'lock');
  if (booking === undefined) return undefined;
  if (booking.state.state !== 'waiting') return { kind: 'not_waiting', booking };
  if ((booking.state.held !== undefined) === (wanted === 'hold')) return { kind: 'done', booking };
  const event = wanted === 'hold' ? ({ type: 'hold', hold: { by: actor, atMs: nowMs } } as const) : { type: wanted };
  const next = advance(booking.state, event);
  if (next === undefined) return { kind: 'not_waiting', booking };
  const noted = await note(tx, booking, next, nowMs);
  await appendAudit(tx, {
    tenant: booking.tenant,
    subject: `booking/${bookingId}`,
    type: wanted === 'hold' ? 'booking.held' : 'booking.let_go',
    at: new Date(nowMs).toISOString(),
    actor,
    trace: booking.traceId,
    data: { attempt: booking.state.attempt },
  });
  await notifyBooking(tx, bookingId);
  return { kind: 'done', booking: noted };
}
