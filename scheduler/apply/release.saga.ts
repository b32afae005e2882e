import type { BookingState, Reason } from '../../core/booking.ts';
import type { Json } from '../../core/canonical.ts';
import { openExtension } from '../../core/extension.ts';
import { attemptKey } from '../../core/ids.ts';
import { ACTOR, type StepResult } from './apply.saga.ts';
import type { Booking } from './booking-store.ts';
import type { StepContext } from './context.ts';
import { type HoldEnd, reverseHold, settleHold } from './end-hold.ts';
import { costParts, extensionHoldId, extensionPendingId } from './extension-money.ts';
import { passOverOf } from './failover.ts';
import { attemptBackoffMs, PROVIDER_TIMEOUT_MS } from './limits.ts';
import { type Cost, costOf, holdId, pendingIds, returnTransfers } from './money.ts';
import { isMoneyAlone, moneyCost } from './money-alone.ts';

/**
 * `releasing`: undoes in reverse. The provider first (until nothing of the attempt runs, its quota stays taken), then Finance
 * (the used part is settled, the rest or all of it reversed), then the ledger and the end state in one transaction. Every call is by
 * the attempt's own ids, so that a repeat after a crash changes nothing. Where Finance refuses for good, the attempt ends all the same, by the
 * ledger, and its event has what Finance said.
 */
export async function releaseAll(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'releasing' }>,
): Promise<StepResult> {
  if (!isMoneyAlone(booking)) await releaseRun(ctx, booking, state);
  const cost = costToEnd(booking, state);
  const evidence: object[] = [];
  const refusals: { readonly holdId: string; readonly reason: Reason }[] = [];
  for (const [id, end] of holdsToEnd(ctx, booking, state, cost)) {
    const money = await end();
    if (money.kind === 'again') return { kind: 'retry', why: money.why };
    evidence.push(...money.evidence);
    if (money.kind === 'refused') refusals.push({ holdId: id, reason: money.reason });
  }
  const open = openExtension(state);
  const nowMs = ctx.clock.now();
  const passOver = passOverOf(booking, state, nowMs);
  const event = {
    type: 'released',
    notBeforeMs: passOver === undefined ? nowMs + backoffOf(booking, state) : nowMs,
    ...(passOver === undefined ? {} : { passOver }),
  } as const;
  const { attempt, placement, reason } = state;
  const moved = await ctx.commit({
    booking,
    event,
    actor: ACTOR,
    nowMs,
    evidence,
    ...(cost === undefined
      ? { voids: pendingIds(booking, attempt) }
      : { transfers: returnTransfers(booking, attempt, placement, cost) }),
    ...(open?.state === 'holding' ? { voids: [extensionPendingId(booking, attempt, open.n)] } : {}),
    attempt: {
      kind: 'ended',
      endedAtMs: state.endedAtMs,
      outcome: state.outcome,
      code: reason.code,
      message: reason.text,
    },
    // An attempt that ends in another one keeps its own number here; the next one is the state's.
    data: {
      attempt,
      reason: { ...reason },
      ...(passOver === undefined ? {} : { passOver: { ...passOver } }),
      ...(cost === undefined ? {} : { cost: costJson(cost) }),
      ...(refusals.length === 0
        ? {}
        : { financeDiffers: refusals.map((one) => ({ ...one, reason: { ...one.reason } })) }),
    },
  });
  if (passOver !== undefined) ctx.metrics.passedOver(passOver.code);
  for (const refusal of refusals) tellDifference(ctx, booking, refusal);
  return { kind: 'moved', booking: moved };
}

/** The provider's part. */
async function releaseRun(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'releasing' }>,
): Promise<void> {
  const provider = await ctx.providers.of(booking.tenant, state.placement.pool);
  // Also where no handle is known: a request whose reply was lost may have started something. Unknown keys are released silently.
  if (state.holdId !== null)
    await provider.release(attemptKey(booking.bookingId, state.attempt), AbortSignal.timeout(PROVIDER_TIMEOUT_MS));
  // What ran past its notice was ended just now: its log has had no end yet.
  if (state.appliedAtMs !== null) {
    await ctx.logs.complete(booking, state.attempt, provider);
    const run = { beganAtMs: state.appliedAtMs, endedAtMs: state.endedAtMs, exitCode: undefined };
    await ctx.runs.complete(booking, state.attempt, provider, run);
  }
}

/** undefined: it was never applied. */
function costToEnd(booking: Booking, state: Extract<BookingState, { state: 'releasing' }>): Cost | undefined {
  if (state.appliedAtMs === null) return undefined;
  return isMoneyAlone(booking) ? moneyCost(state) : costOf(state.placement, state.appliedAtMs, state.endedAtMs);
}

/** Each hold of the attempt with what ends it: what was used is settled, what was on its way or never applied is reversed. */
function holdsToEnd(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'releasing' }>,
  cost: Cost | undefined,
): readonly (readonly [string, () => Promise<HoldEnd>])[] {
  const { bookingId, tenant, division } = booking;
  const reverse = (id: string) => [id, () => reverseHold(ctx, id, tenant)] as const;
  // From `reserved` the hold may have been granted without our knowing: it is reversed by its id all the same.
  if (cost === undefined) return [reverse(holdId(bookingId, state.attempt))];
  const settled = costParts(cost, state, bookingId).map(({ holdId: id, heldCents, cents }) => {
    const amount = { amountCents: String(heldCents), currency: cost.currency };
    const ask = { holdId: id, tenant, division, bookingId, attempt: state.attempt, ...amount };
    return [id, () => settleHold(ctx, ask, cents)] as const;
  });
  const open = openExtension(state);
  return open?.state === 'holding' ? [...settled, reverse(extensionHoldId(bookingId, state.attempt, open.n))] : settled;
}

function tellDifference(
  ctx: StepContext,
  { bookingId, tenant, traceId }: Booking,
  { holdId: hold, reason }: { readonly holdId: string; readonly reason: Reason },
): void {
  ctx.metrics.financeDiffers();
  ctx.log.warn(
    { booking: bookingId, tenant, trace: traceId, hold, code: reason.code, error: reason.text },
    'Finance refuses for good to end a hold as the ledger has it: compare the two',
  );
}

export function costJson(cost: Cost): Json {
  return {
    currency: cost.currency,
    cents: String(cost.cents),
    milliseconds: String(cost.billedMs),
    centsPerUnitHour: String(cost.centsPerUnitHour),
    unitsMilli: String(cost.unitsMilli),
  };
}

/** Work that had to make room may be planned again at once: it did nothing wrong. */
function backoffOf(booking: Booking, { reason, attempt }: Extract<BookingState, { state: 'releasing' }>): number {
  return reason.code === 'preempted' ? 0 : attemptBackoffMs(booking.spec, attempt);
}
