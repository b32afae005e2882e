import type { BookingState, Reason } from '../../core/booking.ts';
import { attemptKey } from '../../core/ids.ts';
import { ACTOR, gaveUp, isPastDeadline, type StepResult, undo } from './apply.saga.ts';
import type { Booking } from './booking-store.ts';
import type { StepContext } from './context.ts';
import { graceMs, PEER_TIMEOUT_MS } from './limits.ts';
import { PROVIDER } from './money-alone.ts';

/**
 * An allocation of money alone takes the same saga, with Finance in the provider's place:
 *
 *   requesting  → Finance's own record of the hold is looked up, and is the same booking, amount and division → confirming
 *   applied     → whoever has it says what was spent, or it is revoked, or its time and its grace are over   → releasing
 *   draining    → cancelled: the same, within its grace                                                      → releasing
 *
 * What was said to be spent is settled, and the rest goes back to the budget. Of what nobody said anything, all counts as spent: whoever spends it and
 * keeps quiet gets none of it back.
 */

/** `requesting`: the hold as Finance has it now must be what was asked for. What it does not tell is asked again. */
export async function reconcileHold(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'requesting' }>,
): Promise<StepResult> {
  if (isPastDeadline(ctx, booking)) return undo(ctx, booking, 'retry', gaveUp('Finance did not tell of its hold'));
  const { bookingId, tenant, division } = booking;
  const { holdId, placement, attempt } = state;
  const hold = await ctx.finance.get(holdId, AbortSignal.timeout(PEER_TIMEOUT_MS));
  const { ask } = hold ?? {};
  const isOurs = ask?.bookingId === bookingId && ask.attempt === attempt && ask.division === division;
  const isSame = ask?.amountCents === placement.holdCents && ask.currency === placement.currency;
  const stands = hold?.tenant === tenant && (hold.status === 'held' || hold.status === 'confirmed');
  if (!isOurs || !isSame || !stands) {
    const has =
      hold === undefined ? 'does not know it' : `has it as ${hold.status}, ${ask?.amountCents} ${ask?.currency}`;
    const reason: Reason = {
      code: 'finance_differs',
      text: `Finance does not have hold ${holdId} as it was asked for: it ${has}`,
      mend: 'compare the allocation with Finance’s record, then ask again',
    };
    return undo(ctx, booking, 'rejected', reason);
  }
  const handle = { provider: PROVIDER, id: holdId };
  const nowMs = ctx.clock.now();
  const moved = await ctx.commit({
    booking,
    event: { type: 'accepted', handle },
    actor: ACTOR,
    nowMs,
    attempt: { kind: 'started', handle },
    data: { key: attemptKey(bookingId, attempt), handle },
  });
  return { kind: 'moved', booking: moved };
}

/** How often money that somebody has is looked at where nobody says anything of it. */
const LOOK_EVERY_MS = 60_000;

/** `applied`, `draining`: nothing runs, and the notice is the time to say what was spent. */
export async function watchMoney(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'applied' | 'draining' }>,
): Promise<StepResult> {
  const untilMs = state.state === 'draining' ? state.deadlineMs : state.leaseEndsAtMs + graceMs(booking.spec);
  const leftMs = untilMs - ctx.clock.now();
  if (leftMs > 0) return { kind: 'idle', againInMs: Math.min(leftMs, LOOK_EVERY_MS) };
  if (state.state === 'draining') return undo(ctx, booking, state.outcome, state.reason);
  return undo(ctx, booking, 'expired', {
    code: 'lease_expired',
    text: 'its time is over, and nobody said what was spent: all of it counts as spent',
    mend: 'say what was spent before it is over: merit allocations close',
  });
}
