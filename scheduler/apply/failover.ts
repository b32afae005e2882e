import type { BookingState, PassedOver } from '../../core/booking.ts';
import { flavourId } from '../../pools/pool-facts.ts';
import type { Booking } from './booking-store.ts';
import { attemptBackoffMs } from './limits.ts';

/** Ends of an attempt that are the provider's and not the job's: another place may take it at once. */
export const REFUSALS_OF_A_PLACE: ReadonlySet<string> = new Set([
  'no_capacity',
  'quota_exceeded',
  'preempted',
  'provider_auth',
  'provider_unreachable',
]);

/**
 * The place that a released attempt is not tried at for a while, which doubles from refusal to refusal there; undefined: the end was
 * not the place's doing. What was preempted for another booking may go back to where it was: its planner knows whom it left for.
 */
export function passOverOf(
  booking: Booking,
  { reason, outcome, placement, appliedAtMs, passedOver = [] }: Extract<BookingState, { state: 'releasing' }>,
  nowMs: number,
): PassedOver | undefined {
  if (outcome !== 'retry' || reason.for !== undefined || !REFUSALS_OF_A_PLACE.has(reason.code)) return undefined;
  const place = flavourId(placement.pool, placement.flavour);
  const before = appliedAtMs === null ? (passedOver.find((one) => one.place === place)?.times ?? 0) : 0;
  const times = before + 1;
  return { place, untilMs: nowMs + attemptBackoffMs(booking.spec, times), code: reason.code, times };
}
