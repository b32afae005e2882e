import { assert } from '../../core/assert.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { int8Array, textArray } from '../../platform/pg-arrays.ts';
import type { Tx } from '../../platform/postgres.ts';
import { appendAudits } from '../audit/append.ts';
import { BALANCE_COLUMNS, type Balance, balanceOf } from './account.ts';
import { type LedgerView, type Plan, planBatches, planExpiry } from './plan.ts';
import { insertTransfers, readTransfers, TRANSFER_COLUMNS, transferOf } from './stored-transfers.sql.ts';
import {
  type Batch,
  type BatchResult,
  expiryId,
  MAX_TRANSFERS_PER_CALL,
  recordOf,
  type StoredTransfer,
  type TransferContext,
  type TransferRecord,
  type TransferRequest,
} from './transfer.ts';

/** A transaction that inserted one of our ids first commits while we wait; the next look then finds it. */
const MAX_ID_RACES = 4;
const UNIQUE_VIOLATION = '23505';
/** Of a statement in a transaction that another one has failed already. */
const FAILED_BEFORE = '25P02';
/** An id of ours has appeared. */
const LOOK_AGAIN = Symbol('look again');

/** Beside it in the lock's key: any constant. */
const ID_LOCKS = 0x1d5;
/** However many ids a call names, it takes no more locks. */
const MAX_ID_LOCKS = 128;

/**
 * One linked batch in the caller's transaction: all of it or nothing, and the outcome says why. Locks its ids, then its accounts in id
 * order, until the transaction ends. A caller that also changes a booking locks the booking's row first.
 */
export async function executeLinked(
  tx: Tx,
  context: TransferContext,
  transfers: readonly TransferRequest[],
): Promise<BatchResult> {
  const [result] = await executeMany(tx, [{ context, transfers }]);
  assert(result !== undefined, 'one batch has one result');
  return result;
}

/** What is written beside the transfers, by what became of each batch. */
export type Follow = (results: readonly BatchResult[]) => Promise<unknown>;

const NOTHING_MORE: Follow = async () => {};

/**
 * Many linked batches in the caller's transaction, taken in order: each sees what those before it did, and one that fails
 * touches nothing. Seven statements however many there are: a hot account takes 500 bookings a commit, not one.
 *
 * `follow` begins while the transfers are being written, so that what it writes is made ready meanwhile. Where another took an id first, it is undone
 * with them and begins anew.
 */
export async function executeMany(
  tx: Tx,
  batches: readonly Batch[],
  follow: Follow = NOTHING_MORE,
): Promise<readonly BatchResult[]> {
  const transfers = batches.flatMap((batch) => batch.transfers);
  assert(transfers.length <= MAX_TRANSFERS_PER_CALL, `at most ${MAX_TRANSFERS_PER_CALL} transfers a call`);
  if (transfers.length === 0) {
    const results = batches.map((): BatchResult => ({ ok: true, outcomes: [], records: [] }));
    await follow(results);
    return results;
  }
  for (let race = 0; race < MAX_ID_RACES; race++) {
    await tx.execute('savepoint ledger_batch');
    try {
      const results = await tryOnce(tx, transfers, batches, follow);
      await tx.execute('release savepoint ledger_batch');
      return results;
    } catch (error) {
      await tx.execute('rollback to savepoint ledger_batch');
      if (error !== LOOK_AGAIN) throw error;
    }
  }
  throw new OperatingError('conflict', 'never', 'writing transfers: an id is taken by another tenant', {
    mend: 'transfer ids begin with the booking they belong to',
  });
}

/** Throws LOOK_AGAIN where somebody was there first. */
async function tryOnce(
  tx: Tx,
  transfers: readonly TransferRequest[],
  batches: readonly Batch[],
  follow: Follow,
): Promise<readonly BatchResult[]> {
  const view = await lockAndLoad(tx, transfers);
  const plan = planBatches(view, batches);
  const ended = await Promise.allSettled([write(tx, view, plan), follow(plan.results)]);
  const [written] = ended;
  if (written.status === 'rejected' && codeOf(written.reason) === UNIQUE_VIOLATION) throw LOOK_AGAIN;
  const faults = ended.flatMap((end): readonly unknown[] => (end.status === 'rejected' ? [end.reason] : []));
  if (faults.length > 0) throw faults.find((fault) => codeOf(fault) !== FAILED_BEFORE) ?? faults[0];
  return plan.results;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | undefined)?.code;
}

/** Most pending transfers given back by one sweep. */
export const MAX_EXPIRE_LIMIT = 1_000;

export interface Expired {
  readonly bookingId: string | undefined;
  readonly transfer: TransferRecord;
}

/**
 * Gives back pending transfers whose time-out has passed, oldest first. What belongs to a booking is told by an event
 * `ledger.expired` of the booking; bookings that are being changed right now are left for the next sweep. An engine's
 * transaction.
 */
export async function expire(tx: Tx, nowMs: number, limit: number): Promise<readonly Expired[]> {
  assert(limit > 0 && limit <= MAX_EXPIRE_LIMIT, `expire takes 1 to ${MAX_EXPIRE_LIMIT}`);
  const due = await tx.query<{ transfer_id: string; booking_id: string | null }>(
    `select transfer_id, booking_id from pending_transfers where expires_at <= $1 order by expires_at, transfer_id limit $2`,
    [new Date(nowMs), limit],
  );
  if (due.length === 0) return [];
  const bookings = await lockBookings(tx, [...new Set(due.flatMap((row) => row.booking_id ?? []))]);
  const ids = due
    .filter((row) => row.booking_id === null || bookings.get(row.booking_id) !== 'busy')
    .map((row) => row.transfer_id);
  if (ids.length === 0) return [];
  const pendings = new Map((await readTransfers(tx, ids)).map((transfer) => [transfer.id, transfer]));
  const balances = await lockAccounts(
    tx,
    [...pendings.values()].flatMap(({ debit, credit }) => [debit, credit]),
  );
  // Looked at again under the lock: another resolution may have come first.
  const open = await tx.query<{ transfer_id: string }>(
    'select transfer_id from pending_transfers where transfer_id = any($1::text[])',
    [ids],
  );
  const stillOpen = new Set(open.map((row) => row.transfer_id));
  const view: LedgerView = { balances, transfers: pendings, resolutions: new Map() };
  const taken = ids.filter((id) => stillOpen.has(id)).flatMap((id) => pendings.get(id) ?? []);
  const plan = planExpiry(view, taken, expiryId);
  await write(tx, view, plan);
  const expiries = plan.inserts.filter(({ kind }) => kind === 'expire');
  await tellExpiries(tx, nowMs, bookings, expiries);
  return expiries.map((transfer) => ({ bookingId: transfer.bookingId, transfer: recordOf(transfer) }));
}

interface BookingTrace {
  readonly tenant: string;
  readonly trace: string;
}

/** Locks the bookings that nobody else holds; `busy` marks those somebody does. An id without a booking is in neither. */
async function lockBookings(
  tx: Tx,
  bookingIds: readonly string[],
): Promise<ReadonlyMap<string, BookingTrace | 'busy'>> {
  const found = new Map<string, BookingTrace | 'busy'>();
  if (bookingIds.length === 0) return found;
  const known = await tx.query<{ booking_id: string }>(
    'select booking_id from bookings where booking_id = any($1::text[])',
    [bookingIds],
  );
  for (const row of known) found.set(row.booking_id, 'busy');
  const locked = await tx.query<{ booking_id: string; tenant: string; trace_id: string }>(
    `select booking_id, tenant, trace_id from bookings where booking_id = any($1::text[])
     order by booking_id for update skip locked`,
    [bookingIds],
  );
  for (const row of locked) found.set(row.booking_id, { tenant: row.tenant, trace: row.trace_id });
  return found;
}

async function tellExpiries(
  tx: Tx,
  nowMs: number,
  bookings: ReadonlyMap<string, BookingTrace | 'busy'>,
  expired: readonly StoredTransfer[],
): Promise<void> {
  const byBooking = Map.groupBy(expired, (transfer) => transfer.bookingId);
  const events = [...byBooking].flatMap(([bookingId, transfers]) => {
    const booking = bookingId === undefined ? undefined : bookings.get(bookingId);
    if (booking === undefined || booking === 'busy') return [];
    return [
      {
        tenant: booking.tenant,
        subject: `booking/${bookingId}`,
        type: 'ledger.expired',
        at: new Date(nowMs).toISOString(),
        actor: 'merit/ledger',
        trace: booking.trace,
        data: { transfers: transfers.map((transfer) => ({ ...recordOf(transfer) })) },
      },
    ];
  });
  await appendAudits(tx, events);
}

async function lockAndLoad(tx: Tx, transfers: readonly TransferRequest[]): Promise<LedgerView> {
  const pendingIds = transfers.flatMap((t) => (t.kind === 'post' || t.kind === 'void' ? [t.pendingId] : []));
  const ids = transfers.map((t) => t.id);
  await lockIds(tx, [...ids, ...pendingIds]);
  const pendings = pendingIds.length === 0 ? [] : await readTransfers(tx, pendingIds);
  const accounts = new Set<string>();
  for (const t of transfers) {
    if (t.kind === 'pending' || t.kind === 'direct') accounts.add(t.debit).add(t.credit);
  }
  for (const pending of pendings) accounts.add(pending.debit).add(pending.credit);
  const balances = await lockAccounts(tx, [...accounts]);
  // Under the locks, so that nobody can resolve or repeat one of these any more.
  const rows = await tx.query(
    `select ${TRANSFER_COLUMNS} from transfers where transfer_id = any($1::text[])
     union all
     select ${TRANSFER_COLUMNS} from transfers where pending_id = any($2::text[]) and transfer_id <> all($1::text[])`,
    [textArray(ids), textArray(pendingIds)],
  );
  const view: LedgerView = { balances, transfers: new Map(), resolutions: new Map() };
  for (const stored of [...pendings, ...rows.map(transferOf)]) {
    view.transfers.set(stored.id, stored);
    if (stored.pendingId !== undefined) view.resolutions.set(stored.pendingId, stored);
  }
  return view;
}

/**
 * Whoever names one of these ids waits until this transaction ends, also where no transfer has it yet and whatever its accounts: two that each
 * look for what the other is about to write would else both find nothing, which no order of the two explains.
 */
async function lockIds(tx: Tx, ids: readonly string[]): Promise<void> {
  await tx.query(
    `select pg_advisory_xact_lock($2, lock) from (
       select distinct hashtext(id) & $3 as lock from unnest($1::text[]) as id order by lock) as ordered`,
    [textArray(ids), ID_LOCKS, MAX_ID_LOCKS - 1],
  );
}

/** A tree that was changed while we waited may have other accounts above ours: so often they are looked for again. */
const MAX_PATH_RACES = 8;

/** Locks accounts with those above them in the quota tree, in id order. */
async function lockAccounts(tx: Tx, accountIds: readonly string[]): Promise<Map<string, Balance>> {
  const balances = new Map<string, Balance>();
  let missing = accountIds;
  for (let race = 0; missing.length > 0; race++) {
    assert(race < MAX_PATH_RACES, 'the quota tree comes to rest');
    for (const balance of await lockPaths(tx, missing)) balances.set(balance.id, balance);
    missing = [...balances.values()].flatMap(({ parent }) =>
      parent === undefined || balances.has(parent) ? [] : [parent],
    );
  }
  return balances;
}

async function lockPaths(tx: Tx, accountIds: readonly string[]): Promise<readonly Balance[]> {
  // `no key update`: the foreign keys of transfers may still look at the row.
  const rows = await tx.query(
    `select ${BALANCE_COLUMNS} from accounts where account_id = any(array(
       with recursive path (id) as (
         select unnest($1::text[]) union select a.parent_account from accounts a join path on a.account_id = path.id)
       select id from path where id is not null))
     order by account_id for no key update`,
    [textArray(accountIds)],
  );
  return rows.map(balanceOf);
}

async function write(tx: Tx, view: LedgerView, plan: Plan): Promise<void> {
  if (plan.inserts.length === 0) return;
  const balances = [...plan.touched].map((id) => view.balances.get(id)!);
  await tx.execute(
    `update accounts a set drain_debt = n.debt, lender_debt = n.owed, debits_pending = n.dp, debits_posted = n.d, credits_pending = n.cp,
       credits_posted = n.c
     from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
       as n (id, debt, owed, dp, d, cp, c)
     where a.account_id = n.id`,
    [
      textArray(balances.map((b) => b.id)),
      int8Array(balances.map((b) => b.drainDebt)),
      int8Array(balances.map((b) => b.lenderDebt)),
      int8Array(balances.map((b) => b.debitsPending)),
      int8Array(balances.map((b) => b.debitsPosted)),
      int8Array(balances.map((b) => b.creditsPending)),
      int8Array(balances.map((b) => b.creditsPosted)),
    ],
  );
  await insertTransfers(tx, plan.inserts);
}
