import { assert, unreachable } from '../../core/assert.ts';
import { type Balance, returnableOf, useOf } from './account.ts';
import { debtId, type Spread, spreadUp } from './lender-debt.ts';
import {
  assertTransfer,
  type Batch,
  type BatchResult,
  isFailure,
  recordOf,
  repeatOutcome,
  type StoredTransfer,
  type Success,
  type TransferContext,
  type TransferOutcome,
  type TransferRequest,
} from './transfer.ts';

/**
 * What a call would do, worked out on locked balances without I/O: each transfer is one ladder of early returns, and after
 * it nothing can fail. Batches are taken in order; one that fails leaves no trace for those after it.
 */
export interface LedgerView {
  /** Accounts by id, as locked; replaced by their next balance as batches are taken. */
  readonly balances: Map<string, Balance>;
  /** Transfers by id: those asked for that exist, and the pending ones they name. */
  readonly transfers: Map<string, StoredTransfer>;
  /** Resolutions by the id of their pending transfer. */
  readonly resolutions: Map<string, StoredTransfer>;
}

export interface Plan {
  readonly results: readonly BatchResult[];
  /** Rows to insert, in order. */
  readonly inserts: readonly StoredTransfer[];
  /** Ids of accounts whose balance in the view changed. */
  readonly touched: ReadonlySet<string>;
}

/** How to take back what a batch did to the view. */
interface Journal {
  readonly balances: Map<string, Balance>;
  readonly inserted: StoredTransfer[];
}

export function planBatches(view: LedgerView, batches: readonly Batch[]): Plan {
  const inserts: StoredTransfer[] = [];
  const touched = new Set<string>();
  const results = batches.map((batch) => {
    const journal: Journal = { balances: new Map(), inserted: [] };
    const result = planBatch(view, batch, journal);
    if (!result.ok) {
      undo(view, journal);
      return result;
    }
    inserts.push(...journal.inserted);
    for (const id of journal.balances.keys()) touched.add(id);
    return result;
  });
  return { results, inserts, touched };
}

function planBatch(view: LedgerView, batch: Batch, journal: Journal): BatchResult {
  const outcomes: Success[] = [];
  for (const [index, transfer] of batch.transfers.entries()) {
    assertTransfer(transfer);
    const outcome = take(view, batch.context, transfer, journal);
    if (isFailure(outcome)) return { ok: false, index, outcome };
    outcomes.push(outcome);
  }
  const records = batch.transfers.map((transfer) => {
    const stored = view.transfers.get(transfer.id);
    assert(stored !== undefined, 'a transfer that succeeded is stored');
    return recordOf(stored);
  });
  return { ok: true, outcomes, records };
}

function undo(view: LedgerView, journal: Journal): void {
  for (const [id, balance] of journal.balances) view.balances.set(id, balance);
  for (const { id, pendingId } of journal.inserted) {
    view.transfers.delete(id);
    if (pendingId !== undefined) view.resolutions.delete(pendingId);
  }
}

function take(
  view: LedgerView,
  context: TransferContext,
  transfer: TransferRequest,
  journal: Journal,
): TransferOutcome {
  const stored = view.transfers.get(transfer.id);
  if (stored !== undefined) {
    const whole = stored.pendingId === undefined ? undefined : view.transfers.get(stored.pendingId)?.amount;
    return repeatOutcome(stored, transfer, context, whole);
  }
  switch (transfer.kind) {
    case 'pending':
    case 'direct':
      return open(view, context, transfer, journal);
    case 'post':
    case 'void':
      return resolve(view, context, transfer, journal);
    default:
      return unreachable(transfer);
  }
}

type Opening = Extract<TransferRequest, { readonly kind: 'pending' | 'direct' }>;
type Resolving = Extract<TransferRequest, { readonly kind: 'post' | 'void' }>;

function open(view: LedgerView, context: TransferContext, transfer: Opening, journal: Journal): TransferOutcome {
  if (transfer.debit === transfer.credit) return { kind: 'same_account' };
  const debit = view.balances.get(transfer.debit);
  if (debit === undefined || debit.tenant !== context.tenant)
    return { kind: 'account_not_found', account: transfer.debit };
  const credit = view.balances.get(transfer.credit);
  if (credit === undefined || credit.tenant !== context.tenant)
    return { kind: 'account_not_found', account: transfer.credit };
  for (const { id, kind } of [debit, credit]) if (kind === 'group') return { kind: 'account_of_a_group', account: id };
  if (debit.unit !== credit.unit) return { kind: 'different_units' };

  const { amount } = transfer;
  const pending = transfer.kind === 'pending';
  const nextDebit: Balance = pending
    ? { ...debit, debitsPending: debit.debitsPending + amount }
    : { ...debit, debitsPosted: debit.debitsPosted + amount };
  const nextCredit: Balance = pending
    ? { ...credit, creditsPending: credit.creditsPending + amount }
    : { ...credit, creditsPosted: credit.creditsPosted + amount };
  const spread = spreadUp(view.balances, [nextDebit, nextCredit]);
  for (const after of spread.balances.values()) {
    const before = view.balances.get(after.id);
    assert(before !== undefined, 'what changes was locked');
    const excess = limitExcess(before, after);
    if (excess > 0n) return { kind: 'exceeds_limit', account: after.id, shortfall: excess };
  }
  for (const id of [debit.id, credit.id]) {
    const after = spread.balances.get(id);
    const returnable = after === undefined ? 0n : returnableOf(after);
    if (returnable < 0n) return { kind: 'exceeds_posted', account: id, shortfall: -returnable };
  }

  const stored: StoredTransfer = {
    id: transfer.id,
    tenant: context.tenant,
    bookingId: context.bookingId,
    attempt: context.attempt,
    kind: transfer.kind,
    pendingId: undefined,
    debit: transfer.debit,
    credit: transfer.credit,
    amount,
    expiresAtMs: transfer.kind === 'pending' ? transfer.expiresAtMs : undefined,
  };
  store(view, journal, stored);
  setBalances(view, journal, spread, stored);
  return { kind: 'ok' };
}

/** By how much more than its limit an account would hold; 0 where its use does not grow. */
function limitExcess(before: Balance, after: Balance): bigint {
  if (after.limit === undefined) return 0n;
  const use = useOf(after);
  if (use <= useOf(before)) return 0n;
  const excess = use - (after.limit + after.drainDebt);
  return excess > 0n ? excess : 0n;
}

function resolve(view: LedgerView, context: TransferContext, transfer: Resolving, journal: Journal): TransferOutcome {
  const pending = view.transfers.get(transfer.pendingId);
  if (pending === undefined || pending.kind !== 'pending') return { kind: 'pending_not_found' };
  if (pending.tenant !== context.tenant || pending.bookingId !== context.bookingId) {
    return { kind: 'pending_not_found' };
  }
  const resolution = view.resolutions.get(pending.id);
  if (resolution !== undefined) return resolvedOutcome(resolution);
  const posting = transfer.kind === 'post';
  if (posting && pending.expiresAtMs !== undefined && context.nowMs >= pending.expiresAtMs) return { kind: 'expired' };
  const amount = posting ? (transfer.amount ?? pending.amount) : pending.amount;
  if (amount > pending.amount) return { kind: 'exceeds_pending', pending: pending.amount };

  settle(view, journal, pending, posting ? amount : 0n, {
    id: transfer.id,
    tenant: context.tenant,
    bookingId: context.bookingId,
    attempt: context.attempt,
    kind: transfer.kind,
    pendingId: pending.id,
    debit: pending.debit,
    credit: pending.credit,
    amount,
    expiresAtMs: undefined,
  });
  return { kind: 'ok' };
}

function resolvedOutcome(resolution: StoredTransfer): TransferOutcome {
  if (resolution.kind === 'post') return { kind: 'already_posted' };
  return resolution.kind === 'void' ? { kind: 'already_voided' } : { kind: 'expired' };
}

/** Ends a pending transfer on both its accounts, of which `posted` stays. Cannot fail: use never grows by it, on no level. */
function settle(
  view: LedgerView,
  journal: Journal,
  pending: StoredTransfer,
  posted: bigint,
  resolution: StoredTransfer,
): void {
  const debit = view.balances.get(pending.debit);
  const credit = view.balances.get(pending.credit);
  assert(debit !== undefined && credit !== undefined, 'the accounts of a pending transfer are locked with it');
  const spread = spreadUp(view.balances, [
    {
      ...debit,
      debitsPending: debit.debitsPending - pending.amount,
      debitsPosted: debit.debitsPosted + posted,
    },
    {
      ...credit,
      creditsPending: credit.creditsPending - pending.amount,
      creditsPosted: credit.creditsPosted + posted,
    },
  ]);
  store(view, journal, resolution);
  setBalances(view, journal, spread, resolution);
}

/** Plans the expiry of pending transfers whose accounts are in the view. */
export function planExpiry(
  view: LedgerView,
  pendings: readonly StoredTransfer[],
  idOf: (pendingId: string) => string,
): Plan {
  const journal: Journal = { balances: new Map(), inserted: [] };
  for (const pending of pendings) {
    settle(view, journal, pending, 0n, {
      ...pending,
      id: idOf(pending.id),
      kind: 'expire',
      pendingId: pending.id,
      expiresAtMs: undefined,
    });
  }
  return { results: [], inserts: journal.inserted, touched: new Set(journal.balances.keys()) };
}

function store(view: LedgerView, journal: Journal, transfer: StoredTransfer): void {
  view.transfers.set(transfer.id, transfer);
  if (transfer.pendingId !== undefined) view.resolutions.set(transfer.pendingId, transfer);
  journal.inserted.push(transfer);
}

/** Takes over what a transfer changed, with an entry for each lender debt that changed by it. */
function setBalances(view: LedgerView, journal: Journal, spread: Spread, cause: StoredTransfer): void {
  for (const balance of spread.balances.values()) setBalance(view, journal, balance);
  for (const [n, { kind, child, parent, amount }] of spread.entries.entries()) {
    store(view, journal, {
      ...cause,
      id: debtId(cause.id, n + 1),
      kind,
      pendingId: undefined,
      debit: kind === 'borrow' ? child : parent,
      credit: kind === 'borrow' ? parent : child,
      amount,
      expiresAtMs: undefined,
    });
  }
}

/** Drain debt is what use exceeds the limit by: it only shrinks here, as use does. */
function setBalance(view: LedgerView, journal: Journal, next: Balance): void {
  const before = view.balances.get(next.id);
  assert(before !== undefined, 'only locked accounts change');
  if (!journal.balances.has(next.id)) journal.balances.set(next.id, before);
  const excess = next.limit === undefined ? 0n : useOf(next) - next.limit;
  const owed = excess > 0n ? excess : 0n;
  const drainDebt = next.drainDebt < owed ? next.drainDebt : owed;
  view.balances.set(next.id, { ...next, drainDebt });
}
