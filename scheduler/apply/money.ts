import type { Placement } from '../../core/booking.ts';
import { budgetAccount, capacityAccount, quotaAccount, spendAccount } from '../../ledger/quota/account.ts';
import type { Failure, TransferRequest } from '../../ledger/quota/transfer.ts';
import { costCents } from '../../pools/cost.ts';
import type { Booking } from './booking-store.ts';
import { PENDING_TIMEOUT_MS } from './limits.ts';

/**
 * The ledger side of an attempt: one linked batch, quota and money together. Ids are made from booking and attempt, so a
 * repeat `exists`. Capacity moves from the pool's capacity account to the division's quota account; money from the division's budget to
 * its spend. Reserve: both pending. Apply: both posted. Undo before apply: both voided. End after apply: the quota goes back whole,
 * and of the money what was not used.
 */
export class LedgerRefusal extends Error {
  override name = 'LedgerRefusal';
  readonly outcome: Failure;

  constructor(outcome: Failure) {
    super(`the ledger answered ${outcome.kind}`);
    this.outcome = outcome;
  }
}

/** Finance's id for the hold of an attempt. */
export function holdId(bookingId: string, attempt: number): string {
  return `h-${bookingId}-${attempt}`;
}

/** What the flavour counts: its GPUs, or its CPUs where it has none. */
export function unitsMilli(placement: Placement): bigint {
  return BigInt(placement.gpuMilli) > 0n ? BigInt(placement.gpuMilli) : BigInt(placement.cpuMilli);
}

export function accounts(booking: Booking, placement: Placement) {
  const resource = BigInt(placement.gpuMilli) > 0n ? 'gpu' : 'cpu';
  const { tenant, division } = booking;
  return {
    capacity: capacityAccount(tenant, placement.pool, placement.flavour, resource),
    quota: quotaAccount(tenant, division, placement.pool, placement.flavour, resource),
    budget: budgetAccount(tenant, division, placement.currency),
    spend: spendAccount(tenant, division, placement.currency),
  };
}

const quotaId = (booking: Booking, attempt: number) => `${booking.bookingId}-${attempt}-quota`;
export const moneyId = (booking: Booking, attempt: number) => `${booking.bookingId}-${attempt}-money`;

/** Pending quota and money; of money alone there is no quota. */
export function reserveTransfers(
  booking: Booking,
  attempt: number,
  placement: Placement,
  nowMs: number,
): readonly TransferRequest[] {
  const account = accounts(booking, placement);
  const expiresAtMs = nowMs + PENDING_TIMEOUT_MS;
  const money: TransferRequest = {
    id: moneyId(booking, attempt),
    kind: 'pending',
    debit: account.budget,
    credit: account.spend,
    amount: BigInt(placement.holdCents),
    expiresAtMs,
  };
  if (booking.spec.money !== undefined) return [money];
  const quota: TransferRequest = {
    id: quotaId(booking, attempt),
    kind: 'pending',
    debit: account.capacity,
    credit: account.quota,
    amount: unitsMilli(placement),
    expiresAtMs,
  };
  return [quota, money];
}

export function postTransfers(booking: Booking, attempt: number): readonly TransferRequest[] {
  return pendingIds(booking, attempt).map((pendingId) => ({ id: `${pendingId}-post`, kind: 'post', pendingId }));
}

/** What an attempt holds before it is applied. */
export function pendingIds(booking: Booking, attempt: number): readonly string[] {
  const money = moneyId(booking, attempt);
  return booking.spec.money === undefined ? [quotaId(booking, attempt), money] : [money];
}

export interface Cost {
  readonly currency: string;
  readonly cents: bigint;
  readonly billedMs: bigint;
  readonly centsPerUnitHour: bigint;
  readonly unitsMilli: bigint;
}

/**
 * When billing ends: at the end the provider tells, so that a server that was down meanwhile costs nobody anything; never before the
 * apply and never after now, whatever the provider's clock says.
 */
export function billingEnd(appliedAtMs: number, toldEndMs: number | undefined, nowMs: number): number {
  return Math.min(nowMs, Math.max(appliedAtMs, toldEndMs ?? nowMs));
}

/** The price of what was used, never more than was held. */
export function costOf(placement: Placement, appliedAtMs: number, endedAtMs: number): Cost {
  const billedMs = BigInt(Math.max(0, endedAtMs - appliedAtMs));
  const centsPerUnitHour = BigInt(placement.centsPerUnitHour);
  const used = costCents(unitsMilli(placement), billedMs, centsPerUnitHour);
  const held = BigInt(placement.holdCents);
  return {
    currency: placement.currency,
    cents: used < held ? used : held,
    billedMs,
    centsPerUnitHour,
    unitsMilli: unitsMilli(placement),
  };
}

/** End after apply: quota back whole, unused money back. */
export function returnTransfers(
  booking: Booking,
  attempt: number,
  placement: Placement,
  cost: Cost,
): readonly TransferRequest[] {
  const account = accounts(booking, placement);
  const refund: TransferRequest = {
    id: `${moneyId(booking, attempt)}-refund`,
    kind: 'direct',
    debit: account.spend,
    credit: account.budget,
    amount: BigInt(placement.holdCents) - cost.cents,
  };
  if (booking.spec.money !== undefined) return [refund];
  const quota: TransferRequest = {
    id: `${quotaId(booking, attempt)}-return`,
    kind: 'direct',
    debit: account.quota,
    credit: account.capacity,
    amount: unitsMilli(placement),
  };
  return [quota, refund];
}
