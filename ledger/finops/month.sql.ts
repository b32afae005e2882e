import type { Tx } from '../../platform/postgres.ts';
import type { BillingMonth } from './focus.ts';

/** What the ledger's money accounts say of a month, by division and currency. Minor units. */
export interface LedgerMonth {
  readonly division: string;
  readonly currency: string;
  /** Taken when attempts were applied, and given back when they ended, both in the month. */
  readonly postedCents: bigint;
  readonly refundedCents: bigint;
  /** Of attempts that ran at its start, and at its end. */
  readonly openBeforeCents: bigint;
  readonly openAfterCents: bigint;
  /** What was settled in it: posted − refunded + open before − open after. */
  readonly settledCents: bigint;
}

/** By the movements of the spend accounts alone: what attempts cost is not asked. */
export async function ledgerMonth(
  tx: Tx,
  tenant: string,
  { startMs, endMs }: BillingMonth,
): Promise<readonly LedgerMonth[]> {
  const rows = await tx.query<Record<'division' | 'currency' | 'posted' | 'refunded' | 'before' | 'after', string>>(
    `with moved as (
       select case t.kind when 'post' then t.credit_account else t.debit_account end as account_id, t.kind, t.amount, 0::numeric as before, 0::numeric as after
       from transfers t where t.tenant = $1 and t.kind in ('post', 'direct') and t.recorded_at >= $2 and t.recorded_at < $3
       union all
       select account_id, 'open', 0, amount, 0 from (${openAt('$2')}) started
       union all
       select account_id, 'open', 0, 0, amount from (${openAt('$3')}) ended
     )
     select s.division, s.unit as currency,
       coalesce(sum(m.amount) filter (where m.kind = 'post'), 0)::text as posted,
       coalesce(sum(m.amount) filter (where m.kind = 'direct'), 0)::text as refunded,
       sum(m.before)::text as before, sum(m.after)::text as after
     from moved m join accounts s on s.account_id = m.account_id and s.kind = 'spend'
     group by s.division, s.unit order by s.division, s.unit`,
    [tenant, new Date(startMs), new Date(endMs)],
  );
  return rows.map(({ division, currency, ...sums }) => {
    const [posted, refunded, before, after] = [sums.posted, sums.refunded, sums.before, sums.after].map(BigInt) as [
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    return {
      division,
      currency,
      postedCents: posted,
      refundedCents: refunded,
      openBeforeCents: before,
      openAfterCents: after,
      settledCents: posted - refunded + before - after,
    };
  });
}

/** What was posted before a time for attempts that were settled at or after it, or run still: nothing of what was settled before is looked at. */
function openAt(time: '$2' | '$3'): string {
  return `
    select p.credit_account as account_id, p.amount
    from (
      select booking_id, attempt from transfers where tenant = $1 and kind = 'direct' and recorded_at >= ${time}
      union
      select booking_id, (data ->> 'attempt')::integer from bookings
      where tenant = $1 and state in ('applied', 'draining', 'releasing')
    ) open
    cross join lateral (
      select credit_account, amount from transfers
      where booking_id = open.booking_id and attempt = open.attempt and kind = 'post' and recorded_at < ${time}
    ) p`;
}
