import { budgetAccount, ensureAccounts, setLimit, spendAccount } from '../ledger/quota/account.ts';
import type { Tx } from '../platform/postgres.ts';
import { type DrainDebt, drainDebts } from './account-limits.ts';
import { lockDocuments, tellDocument } from './document-store.ts';
import { budgetName } from './documents.ts';
import { periodStartMs } from './period-start.ts';
import { type BudgetFile, cents } from './pool-file.ts';

/**
 * A budget's account counts all that was ever spent; a budget with a period leaves room for what was spent before the period began. So
 * a new period is one change of a limit, and the ledger itself knows nothing of time.
 */

interface PeriodRow {
  readonly started_at: Date;
  readonly spent_before_cents: bigint;
}

/**
 * Brings a budget's account to its file. What was spent before it had a period, or had another one, is not counted in the one that
 * begins now. Returns the debt that came of it.
 */
export async function settleBudget(
  tx: Tx,
  tenant: string,
  file: BudgetFile,
  before: BudgetFile | undefined,
  nowMs: number,
): Promise<readonly DrainDebt[]> {
  const { division, currency, period } = file;
  const account = budgetAccount(tenant, division, currency);
  await ensureAccounts(tx, [
    { id: account, tenant, kind: 'budget', division, unit: currency, limit: 0n },
    { id: spendAccount(tenant, division, currency), tenant, kind: 'spend', division, unit: currency },
  ]);
  let spentBefore = 0n;
  if (period === undefined) await forgetPeriod(tx, tenant, division, currency);
  else {
    const isSame = before?.period === period && before.timeZone === file.timeZone;
    const known = isSame ? await periodRow(tx, tenant, division, currency) : undefined;
    spentBefore =
      known?.spent_before_cents ??
      (await beginPeriod(tx, tenant, division, currency, periodStartMs(period, nowMs, file.timeZone)));
  }
  await setLimit(tx, account, cents(file.limit) + spentBefore);
  return drainDebts(tx, tenant, [account]);
}

/** A budget that is no more leaves nothing to spend; the debt is what runs on. */
export async function closeBudget(
  tx: Tx,
  tenant: string,
  division: string,
  currency: string,
): Promise<readonly DrainDebt[]> {
  await forgetPeriod(tx, tenant, division, currency);
  const account = budgetAccount(tenant, division, currency);
  await setLimit(tx, account, 0n);
  return drainDebts(tx, tenant, [account]);
}

/** Who began the periods of a tenant's budgets, in the audit trail. */
export const ACTOR = 'engine';

/** Begins the periods that are due, of all tenants; how many. In the leader's transaction: two would begin one twice. */
export async function beginPeriods(tx: Tx, nowMs: number, traceId: string): Promise<number> {
  const tenants = new Set((await dueBudgets(tx, nowMs)).map((due) => due.tenant));
  let begun = 0;
  for (const tenant of [...tenants].sort()) {
    await lockDocuments(tx, tenant);
    // Read again under the lock: it may have been changed, removed or begun meanwhile.
    for (const { file } of await dueBudgets(tx, nowMs, tenant))
      begun += await beginAnew(tx, tenant, file, nowMs, traceId);
  }
  return begun;
}

async function dueBudgets(
  tx: Tx,
  nowMs: number,
  tenant?: string,
): Promise<readonly { readonly tenant: string; readonly file: BudgetFile }[]> {
  const rows = await tx.query<{ tenant: string; file: BudgetFile; started_at: Date | null }>(
    `select d.tenant, d.file, p.started_at from quota_documents d
     left join budget_periods p on p.tenant = d.tenant and p.division = d.file->>'division' and p.currency = d.file->>'currency'
     where d.kind = 'Budget' and d.file ? 'period' and ($1::text is null or d.tenant = $1) order by d.tenant, d.name`,
    [tenant ?? null],
  );
  return rows.filter(
    ({ file, started_at }) =>
      file.period !== undefined &&
      (started_at === null || started_at.getTime() < periodStartMs(file.period, nowMs, file.timeZone)),
  );
}

async function beginAnew(tx: Tx, tenant: string, file: BudgetFile, nowMs: number, traceId: string): Promise<number> {
  const { division, currency, period, limit, timeZone } = file;
  if (period === undefined) return 0;
  const startMs = periodStartMs(period, nowMs, timeZone);
  const spentBefore = await beginPeriod(tx, tenant, division, currency, startMs);
  await setLimit(tx, budgetAccount(tenant, division, currency), cents(limit) + spentBefore);
  const by = { tenant, actor: ACTOR, traceId, nowMs };
  const began = new Date(startMs).toISOString();
  await tellDocument(tx, by, { kind: 'Budget', name: budgetName(division, currency) }, 'period_began', {
    period,
    ...(timeZone === undefined ? {} : { timeZone }),
    began,
    limit,
    spentBeforeCents: String(spentBefore),
  });
  return 1;
}

async function periodRow(tx: Tx, tenant: string, division: string, currency: string): Promise<PeriodRow | undefined> {
  const rows = await tx.query<PeriodRow>(
    'select started_at, spent_before_cents from budget_periods where tenant = $1 and division = $2 and currency = $3',
    [tenant, division, currency],
  );
  return rows[0];
}

/** Cents spent before it. What runs on is paid for in the period in which it ends. */
async function beginPeriod(
  tx: Tx,
  tenant: string,
  division: string,
  currency: string,
  startMs: number,
): Promise<bigint> {
  const rows = await tx.query<PeriodRow>(
    `insert into budget_periods (tenant, division, currency, started_at, spent_before_cents)
     select $1, $2, $3, $4, coalesce((select debits_posted - credits_posted from accounts where account_id = $5), 0)
       - coalesce((select sum((data->'placement'->>'holdCents')::bigint) from bookings
                   where tenant = $1 and division = $2 and data->'placement'->>'currency' = $3
                     and state in ('applied', 'draining', 'releasing') and (data->>'appliedAtMs') is not null), 0)
     on conflict (tenant, division, currency) do update
       set started_at = excluded.started_at, spent_before_cents = excluded.spent_before_cents
     returning started_at, spent_before_cents`,
    [tenant, division, currency, new Date(startMs), budgetAccount(tenant, division, currency)],
  );
  return rows[0]?.spent_before_cents ?? 0n;
}

async function forgetPeriod(tx: Tx, tenant: string, division: string, currency: string): Promise<void> {
  await tx.execute('delete from budget_periods where tenant = $1 and division = $2 and currency = $3', [
    tenant,
    division,
    currency,
  ]);
}
