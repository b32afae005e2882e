import { assert } from '../../core/assert.ts';

/**
 * A transfer moves an amount from a debit to a credit account: at once (`direct`), or in two phases (`pending`, which
 * holds, then exactly one of `post`, `void`, or `expire` by time). Ids are the caller's, so that a repeat `exists`.
 */
export type TransferRequest =
  | {
      readonly kind: 'pending';
      readonly id: string;
      readonly debit: string;
      readonly credit: string;
      readonly amount: bigint;
      /** From then on it cannot be posted, and `expire` gives it back. */
      readonly expiresAtMs?: number;
    }
  | {
      readonly kind: 'direct';
      readonly id: string;
      readonly debit: string;
      readonly credit: string;
      readonly amount: bigint;
    }
  /** No amount: all of it. Less: the rest returns. */
  | { readonly kind: 'post'; readonly id: string; readonly pendingId: string; readonly amount?: bigint }
  | { readonly kind: 'void'; readonly id: string; readonly pendingId: string };

/** Who moves it; stored with the transfer and part of its content. */
export interface TransferContext {
  readonly tenant: string;
  readonly bookingId?: string;
  readonly attempt?: number;
  readonly nowMs: number;
}

/**
 * `borrow` and `repay` nobody asks for: each transfer that changes what a node of the quota tree uses past its local part is stored with one for each
 * level on which it does.
 */
export type TransferKind = 'pending' | 'direct' | 'post' | 'void' | 'expire' | 'borrow' | 'repay';

/** An immutable row. A resolution names its pending transfer and has its accounts; a void's or expiry's amount is what returns. */
export interface StoredTransfer {
  readonly id: string;
  readonly tenant: string;
  readonly bookingId: string | undefined;
  readonly attempt: number | undefined;
  readonly kind: TransferKind;
  readonly pendingId: string | undefined;
  readonly debit: string;
  readonly credit: string;
  readonly amount: bigint;
  readonly expiresAtMs: number | undefined;
}

/**
 * Every answer to a transfer, in order of precedence: the first that fits is given. `ok` and `exists` are success; all
 * others change nothing, and fail the linked batch they are in.
 */
export type TransferOutcome =
  | { readonly kind: 'exists' }
  | { readonly kind: 'exists_with_different_tenant' }
  | { readonly kind: 'exists_with_different_kind' }
  | { readonly kind: 'exists_with_different_pending_id' }
  | { readonly kind: 'exists_with_different_debit' }
  | { readonly kind: 'exists_with_different_credit' }
  | { readonly kind: 'exists_with_different_amount' }
  | { readonly kind: 'exists_with_different_expiry' }
  | { readonly kind: 'exists_with_different_booking' }
  | { readonly kind: 'exists_with_different_attempt' }
  /** The pending transfer is unknown, another tenant's or booking's, or not pending at all. */
  | { readonly kind: 'pending_not_found' }
  | { readonly kind: 'already_posted' }
  | { readonly kind: 'already_voided' }
  /** Its time-out has passed, swept or not. A void of one not swept yet succeeds: it does what the sweep would. */
  | { readonly kind: 'expired' }
  | { readonly kind: 'exceeds_pending'; readonly pending: bigint }
  | { readonly kind: 'same_account' }
  | { readonly kind: 'account_not_found'; readonly account: string }
  /** A group's account holds only what its children owe it. */
  | { readonly kind: 'account_of_a_group'; readonly account: string }
  | { readonly kind: 'different_units' }
  /** The account's limit stands in the way by `shortfall`; the debit account is looked at first, the groups above the credit's last, from below. */
  | { readonly kind: 'exceeds_limit'; readonly account: string; readonly shortfall: bigint }
  /** More would come back than was posted. */
  | { readonly kind: 'exceeds_posted'; readonly account: string; readonly shortfall: bigint }
  | { readonly kind: 'ok' };

export type Success = Extract<TransferOutcome, { readonly kind: 'ok' | 'exists' }>;
export type Failure = Exclude<TransferOutcome, Success>;

/** A transfer as audit events and receipts name it. */
export interface TransferRecord {
  readonly id: string;
  readonly kind: TransferKind;
  readonly debit: string;
  readonly credit: string;
  /** Decimal. */
  readonly amount: string;
  readonly pendingId?: string;
}

/** A linked batch: all of it, or the first failure and nothing. */
export type BatchResult =
  | {
      readonly ok: true;
      readonly outcomes: readonly Success[];
      /** The rows, new or there before, in the order asked; the shape in which `data.transfers` of an audit event names them. */
      readonly records: readonly TransferRecord[];
    }
  | { readonly ok: false; readonly index: number; readonly outcome: Failure };

export interface Batch {
  readonly context: TransferContext;
  readonly transfers: readonly TransferRequest[];
}

/** 2^53 − 1: far above any capacity or budget, and a thousand of them still fit the counters' int8. */
export const MAX_AMOUNT = 2n ** 53n - 1n;
export const MAX_ID_LENGTH = 200;
/** Transfers in one call; a planner's cycle commits about 500 bookings of a few transfers each. */
export const MAX_TRANSFERS_PER_CALL = 10_000;

/** Programmer's mistakes only: negative amounts and ids that are empty or too long. */
export function assertTransfer(transfer: TransferRequest): void {
  assert(transfer.id.length > 0 && transfer.id.length <= MAX_ID_LENGTH, 'a transfer id has 1 to 200 characters');
  const amount = 'amount' in transfer ? transfer.amount : undefined;
  assert(
    amount === undefined || (amount >= 0n && amount <= MAX_AMOUNT),
    `the amount of transfer ${transfer.id} is in 0 … 2^53 − 1`,
  );
}

export function isFailure(outcome: TransferOutcome): outcome is Failure {
  return outcome.kind !== 'ok' && outcome.kind !== 'exists';
}

/** What a repeat of a stored id answers. `wholeAmount` is what a post without amount would move. */
export function repeatOutcome(
  stored: StoredTransfer,
  asked: TransferRequest,
  context: TransferContext,
  wholeAmount: bigint | undefined,
): TransferOutcome {
  if (stored.tenant !== context.tenant) return { kind: 'exists_with_different_tenant' };
  if (stored.kind !== asked.kind) return { kind: 'exists_with_different_kind' };
  if (asked.kind === 'post' || asked.kind === 'void') {
    if (stored.pendingId !== asked.pendingId) return { kind: 'exists_with_different_pending_id' };
    const amount = asked.kind === 'post' ? (asked.amount ?? wholeAmount) : stored.amount;
    if (stored.amount !== amount) return { kind: 'exists_with_different_amount' };
  } else {
    if (stored.debit !== asked.debit) return { kind: 'exists_with_different_debit' };
    if (stored.credit !== asked.credit) return { kind: 'exists_with_different_credit' };
    if (stored.amount !== asked.amount) return { kind: 'exists_with_different_amount' };
    const expiresAtMs = asked.kind === 'pending' ? asked.expiresAtMs : undefined;
    if (stored.expiresAtMs !== expiresAtMs) return { kind: 'exists_with_different_expiry' };
  }
  if (stored.bookingId !== context.bookingId) return { kind: 'exists_with_different_booking' };
  if (stored.attempt !== context.attempt) return { kind: 'exists_with_different_attempt' };
  return { kind: 'exists' };
}

export function recordOf(transfer: StoredTransfer): TransferRecord {
  const { id, kind, debit, credit, pendingId } = transfer;
  const amount = transfer.amount.toString();
  return pendingId === undefined ? { amount, credit, debit, id, kind } : { amount, credit, debit, id, kind, pendingId };
}

/** The id under which the sweep resolves a pending transfer. */
export function expiryId(pendingId: string): string {
  return `${pendingId}:expire`;
}
