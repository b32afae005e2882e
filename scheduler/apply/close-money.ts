import { assert } from '../../core/assert.ts';
import { minorUnits } from '../../core/currency.ts';
import type { MoneySpec } from '../../core/money-request.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { budgetAccount, spendAccount } from '../../ledger/quota/account.ts';
import { moneyOf } from '../../peers/money.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Booking, loadBooking } from './booking-store.ts';
import { createBooking, type NewBooking } from './create-booking.ts';
import { moneyCost } from './money-alone.ts';
import { commitMoves } from './moves.ts';
import { notifyBooking } from './wake.ts';

/** Books money alone, in the caller's transaction. Throws RefusedInput where its division is not there, or has no budget in the currency. */
export async function bookMoney(tx: Tx, input: NewBooking & { readonly spec: MoneySpec }): Promise<void> {
  const { tenant, division, spec } = input;
  const { currency } = spec.money;
  await createBooking(tx, input);
  const ids = [budgetAccount(tenant, division, currency), spendAccount(tenant, division, currency)];
  const known = await tx.query('select 1 from accounts where account_id = any($1::text[])', [ids]);
  if (known.length < ids.length)
    throw new RefusedInput([
      refuse(
        'no_budget',
        'currency',
        `division ${division} has no budget in ${currency}`,
        'have one declared: kind Budget',
      ),
    ]);
}

export type Closed =
  | { readonly kind: 'closed' | 'already'; readonly booking: Booking }
  | { readonly kind: 'refused'; readonly code: 'not_money' | 'not_applied' | 'spent_otherwise'; readonly text: string };

/**
 * Says what was spent of money alone, which ends it: that much is settled, the rest goes back to the budget. It is taken until the grace after its end is
 * over. The same said again changes nothing, whenever it is.
 * undefined: this tenant has no such allocation. Throws RefusedInput where the amount is not one, or more than was held.
 */
export async function closeMoney(
  tx: Tx,
  bookingId: string,
  spent: string,
  by: { readonly actor: string; readonly nowMs: number },
): Promise<Closed | undefined> {
  const booking = await loadBooking(tx, bookingId, 'lock');
  if (booking === undefined) return undefined;
  const { state, spec } = booking;
  const { actor, nowMs } = by;
  if (spec.money === undefined)
    return refused('not_money', 'it is a job’s allocation: what it costs is reckoned, not told; merit cancel ends it');
  const cents = minorUnits('spent', spent, spec.money.currency);
  if (typeof cents !== 'bigint') throw new RefusedInput([cents]);
  if (cents > BigInt(spec.money.cents))
    throw new RefusedInput([
      refuse('range', 'spent', 'is more than was allocated', 'ask for another allocation of the rest'),
    ]);
  if (state.state !== 'applied' && state.state !== 'draining') {
    const settled = await settledCents(tx, booking);
    if (settled === undefined)
      return refused(
        'not_applied',
        `it is ${state.state}: only money that somebody has is spent; say it once it is applied, or cancel it`,
      );
    if (settled === cents) return { kind: 'already', booking };
    const { amount } = moneyOf(settled, spec.money.currency);
    return refused(
      'spent_otherwise',
      `it is ${state.state}, with ${amount} ${spec.money.currency} settled as spent, which stays; what else was spent needs another allocation`,
    );
  }
  const event = {
    type: 'release',
    outcome: state.state === 'draining' ? state.outcome : 'released',
    reason: {
      code: 'closed',
      text: `${actor} says that ${spent} ${spec.money.currency} were spent`,
      mend: 'nothing to do',
    },
    atMs: nowMs,
    spentCents: String(cents),
  } as const;
  const [result] = await commitMoves(tx, [{ booking, event, actor, nowMs, data: { spentCents: String(cents) } }]);
  assert(result?.kind === 'moved', 'a locked booking takes a legal event');
  await notifyBooking(tx, bookingId);
  return { kind: 'closed', booking: result.booking };
}

/** What is settled of an allocation that ends or has ended; undefined: nobody ever had it. */
async function settledCents(tx: Tx, { bookingId, state }: Booking): Promise<bigint | undefined> {
  if (state.state === 'releasing') return state.appliedAtMs === null ? undefined : moneyCost(state).cents;
  const [row] = await tx.query<{ net: string | null }>(
    `select sum(case t.kind when 'post' then t.amount else -t.amount end)::text as net
     from transfers t where t.booking_id = $1 and t.kind in ('post', 'direct')`,
    [bookingId],
  );
  return row?.net == null ? undefined : BigInt(row.net);
}

function refused(code: Extract<Closed, { kind: 'refused' }>['code'], text: string): Closed {
  return { kind: 'refused', code, text };
}
