import type { Placement } from '../../core/booking.ts';
import { type Carried, type Extended, extendedMs, grantedExtensions } from '../../core/extension.ts';
import type { JobSpec } from '../../core/job.ts';
import type { TransferRequest } from '../../ledger/quota/transfer.ts';
import { costCents } from '../../pools/cost.ts';
import type { Booking } from './booking-store.ts';
import { PENDING_TIMEOUT_MS } from './limits.ts';
import { accounts, type Cost, holdId, moneyId, unitsMilli } from './money.ts';

/** Finance's id for what an extension of an attempt adds. */
export function extensionHoldId(bookingId: string, attempt: number, n: number): string {
  return `${holdId(bookingId, attempt)}-x${n}`;
}

export function extensionPendingId(booking: Booking, attempt: number, n: number): string {
  return `${moneyId(booking, attempt)}-x${n}`;
}

/** What a lease that is longer by `byMs` costs more at most: of rounding there is one in all. */
export function extensionCents(spec: JobSpec, placement: Placement, of: Extended & Carried, byMs: number): bigint {
  const leaseMs = BigInt(spec.leaseMs + extendedMs(of) + byMs);
  const whole = costCents(unitsMilli(placement), leaseMs, BigInt(placement.centsPerUnitHour));
  const more = whole - BigInt(placement.holdCents);
  return more > 0n ? more : 0n;
}

/** The money of an extension, pending. */
export function extensionTransfer(
  booking: Booking,
  attempt: number,
  n: number,
  money: { readonly placement: Placement; readonly holdCents: string; readonly nowMs: number },
): TransferRequest {
  const { budget, spend } = accounts(booking, money.placement);
  return {
    id: extensionPendingId(booking, attempt, n),
    kind: 'pending',
    debit: budget,
    credit: spend,
    amount: BigInt(money.holdCents),
    expiresAtMs: money.nowMs + PENDING_TIMEOUT_MS,
  };
}

/** A cost in parts, one a hold at Finance: each is used up before the next. */
export function costParts(
  { cents }: Pick<Cost, 'cents'>,
  { placement, attempt, ...of }: Extended & { readonly placement: Placement; readonly attempt: number },
  bookingId: string,
): readonly { readonly holdId: string; readonly heldCents: bigint; readonly cents: bigint }[] {
  const granted = grantedExtensions(of);
  const more = granted.reduce((sum, one) => sum + BigInt(one.holdCents), 0n);
  const holds = [
    { holdId: holdId(bookingId, attempt), heldCents: BigInt(placement.holdCents) - more },
    ...granted.map((one) => ({ holdId: extensionHoldId(bookingId, attempt, one.n), heldCents: BigInt(one.holdCents) })),
  ];
  let left = cents;
  return holds.map((hold) => {
    const part = left < hold.heldCents ? left : hold.heldCents;
    left -= part;
    return { ...hold, cents: part };
  });
}
