import { budgetAccount } from '../ledger/quota/account.ts';
import type { Tx } from '../platform/postgres.ts';
import { tellDocument } from './document-store.ts';
import { budgetName } from './documents.ts';
import { type BudgetFile, cents } from './pool-file.ts';

/** In per cent of the limit, where a budget names none. At 100 nothing more is booked on it: that is the ledger's own limit. */
const ALERT_AT: readonly number[] = [80, 100];

/** How much of a budget is used, held money with it, as of its period. */
export interface BudgetUse {
  readonly tenant: string;
  readonly file: BudgetFile;
  readonly usedCents: bigint;
  readonly limitCents: bigint;
  /** null: the budget has no periods. */
  readonly periodStartedAt: Date | null;
  /** The steps that were told of in this period, at this limit. */
  readonly told: readonly number[];
}

export async function budgetUses(tx: Tx, most: number): Promise<readonly BudgetUse[]> {
  const rows = await tx.query<{
    tenant: string;
    file: BudgetFile;
    started_at: Date | null;
    before: bigint;
    used: bigint;
    told: readonly number[];
  }>(
    `select d.tenant, d.file, p.started_at, coalesce(p.spent_before_cents, 0) as before,
       a.debits_pending + a.debits_posted - a.credits_posted as used,
       array(select t.percent from budget_alerts t where t.account_id = a.account_id
             and t.period_started_at = coalesce(p.started_at, 'epoch') and t.limit_cents = (d.file->>'limit')::numeric * 100) as told
     from quota_documents d
     join accounts a on a.tenant = d.tenant and a.kind = 'budget' and a.division = d.file->>'division' and a.unit = d.file->>'currency'
     left join budget_periods p on p.tenant = d.tenant and p.division = d.file->>'division' and p.currency = d.file->>'currency'
     where d.kind = 'Budget' order by d.tenant, d.name limit $1`,
    [most],
  );
  return rows.map(({ tenant, file, started_at, before, used, told }) => ({
    tenant,
    file,
    usedCents: used - before,
    limitCents: cents(file.limit),
    periodStartedAt: started_at,
    told,
  }));
}

/** Per cent that are used up, of those at which it is to be told, and was not yet. */
function reached({ file, usedCents, limitCents, told }: BudgetUse): readonly number[] {
  if (limitCents === 0n) return [];
  return (file.alertAt ?? ALERT_AT).filter(
    (percent) => usedCents * 100n >= BigInt(percent) * limitCents && !told.includes(percent),
  );
}

/**
 * Tells by an audit event what budgets have reached: each step once in a period, and once more after the limit was changed, however often
 * use goes back and forth. In the leader's transaction. Returns the steps that were told.
 */
export async function raiseAlerts(
  tx: Tx,
  uses: readonly BudgetUse[],
  by: { readonly actor: string; readonly traceId: string; readonly nowMs: number },
): Promise<readonly number[]> {
  const told: number[] = [];
  for (const use of uses) {
    const { tenant, file, usedCents, limitCents, periodStartedAt } = use;
    const percents = reached(use);
    if (percents.length === 0) continue;
    const account = budgetAccount(tenant, file.division, file.currency);
    const since = [account, periodStartedAt ?? new Date(0), limitCents] as const;
    const fresh = await tx.query<{ percent: number }>(
      `insert into budget_alerts (account_id, tenant, period_started_at, limit_cents, percent)
       select $1, $4, $2, $3, * from unnest($5::integer[]) on conflict do nothing returning percent`,
      [...since, tenant, percents],
    );
    if (fresh.length === 0) continue;
    await tx.execute(
      'delete from budget_alerts where account_id = $1 and (period_started_at <> $2 or limit_cents <> $3)',
      since,
    );
    for (const { percent } of [...fresh].sort((a, b) => a.percent - b.percent)) {
      const name = budgetName(file.division, file.currency);
      await tellDocument(tx, { tenant, ...by }, { kind: 'Budget', name }, 'alert', {
        percent,
        limit: file.limit,
        usedCents: String(usedCents),
        currency: file.currency,
        ...(periodStartedAt === null ? {} : { periodBegan: periodStartedAt.toISOString() }),
      });
      told.push(percent);
    }
  }
  return told;
}
