import type { Placement } from '../../core/booking.ts';
import type { Json } from '../../core/canonical.ts';
import { budgetAccount, capacityAccount, quotaAccount, spendAccount } from '../../ledger/quota/account.ts';
import { executeLinked } from '../../ledger/quota/execute.sql.ts';
import type { Failure, TransferRequest } from '../../ledger/quota/transfer.ts';
import type { Tx } from '../../platform/postgres.ts';
import { costCents } from '../../pools/snapshot.ts';
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

function accounts(booking: Booking, placement: Placement) {
  const resource = BigInt(placement.gpuMilli) > 0n ? 'gpu' : 'cpu';
  const { tenant, division } = booking;
  return {
    capacity: capacityAccount(tenant, placement.pool, placement.flavour, resource),
    quota: quotaAccount(tenant, division, placement.pool, placement.flavour, resource),
    budget: budgetAccount(tenant, division, placement.currency),
    spend: spendAccount(tenant, division, placement.currency),
  };
}

async function run(
  tx: Tx,
  booking: Booking,
  attempt: number,
  nowMs: number,
  transfers: readonly TransferRequest[],
): Promise<readonly Json[]> {
  const result = await executeLinked(
    tx,
    { tenant: booking.tenant, bookingId: booking.bookingId, attempt, nowMs },
    transfers,
  );
  if (!result.ok) throw new LedgerRefusal(result.outcome);
  return result.records.map((record) => ({ ...record }));
}

const quotaId = (booking: Booking, attempt: number) => `${booking.bookingId}-${attempt}-quota`;
const moneyId = (booking: Booking, attempt: number) => `${booking.bookingId}-${attempt}-money`;

/** Pending quota and money. Throws LedgerRefusal where a limit stands in the way: the caller's transaction is undone. */
export async function reserveAll(
  tx: Tx,
  booking: Booking,
  attempt: number,
  placement: Placement,
  nowMs: number,
): Promise<readonly Json[]> {
  const account = accounts(booking, placement);
  const expiresAtMs = nowMs + PENDING_TIMEOUT_MS;
  return run(tx, booking, attempt, nowMs, [
    {
      id: quotaId(booking, attempt),
      kind: 'pending',
      debit: account.capacity,
      credit: account.quota,
      amount: unitsMilli(placement),
      expiresAtMs,
    },
    {
      id: moneyId(booking, attempt),
      kind: 'pending',
      debit: account.budget,
      credit: account.spend,
      amount: BigInt(placement.holdCents),
      expiresAtMs,
    },
  ]);
}

export async function postAll(tx: Tx, booking: Booking, attempt: number, nowMs: number): Promise<readonly Json[]> {
  return run(tx, booking, attempt, nowMs, [
    { id: `${quotaId(booking, attempt)}-post`, kind: 'post', pendingId: quotaId(booking, attempt) },
    { id: `${moneyId(booking, attempt)}-post`, kind: 'post', pendingId: moneyId(booking, attempt) },
  ]);
}

/** Undo before apply. A pending transfer that expired meanwhile is already undone. */
export async function voidAll(tx: Tx, booking: Booking, attempt: number, nowMs: number): Promise<readonly Json[]> {
  const transfers: TransferRequest[] = [];
  for (const pendingId of [quotaId(booking, attempt), moneyId(booking, attempt)]) {
    const resolved = await tx.query('select 1 from transfers where pending_id = $1', [pendingId]);
    if (resolved.length === 0) transfers.push({ id: `${pendingId}-void`, kind: 'void', pendingId });
  }
  return run(tx, booking, attempt, nowMs, transfers);
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
export async function returnAll(
  tx: Tx,
  booking: Booking,
  attempt: number,
  placement: Placement,
  cost: Cost,
  nowMs: number,
): Promise<readonly Json[]> {
  const account = accounts(booking, placement);
  return run(tx, booking, attempt, nowMs, [
    {
      id: `${quotaId(booking, attempt)}-return`,
      kind: 'direct',
      debit: account.quota,
      credit: account.capacity,
      amount: unitsMilli(placement),
    },
    {
      id: `${moneyId(booking, attempt)}-refund`,
      kind: 'direct',
      debit: account.spend,
      credit: account.budget,
      amount: BigInt(placement.holdCents) - cost.cents,
    },
  ]);
}
