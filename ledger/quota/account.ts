import type { Tx } from '../../platform/postgres.ts';

/**
 * Accounts of the ledger. Capacity and budgets give: what is taken from them is a debit, and their limit counts debits.
 * Quotas, groups and spends take: what they hold is a credit, and their limit counts credits. Amounts are integers: milli-units of
 * a resource, or minor units of a currency.
 *
 * In a quota tree what a quota or group uses past its local part is owed to its parent, a group, and is the parent's use. A group has no
 * other use.
 */
export type AccountKind = 'capacity' | 'quota' | 'group' | 'budget' | 'spend';

/** A pool's capacity of one flavour and resource. */
export function capacityAccount(tenant: string, pool: string, flavour: string, resource: string): string {
  return `capacity:${tenant}:${pool}:${flavour}:${resource}`;
}

/** What a division holds of a pool's flavour and resource. */
export function quotaAccount(
  tenant: string,
  division: string,
  pool: string,
  flavour: string,
  resource: string,
): string {
  return `quota:${tenant}:${division}:${pool}:${flavour}:${resource}`;
}

/** What the children of a group use of its pool's flavour and resource past their local parts. */
export function groupAccount(tenant: string, group: string, pool: string, flavour: string, resource: string): string {
  return `group:${tenant}:${group}:${pool}:${flavour}:${resource}`;
}

/** Money a division may spend. */
export function budgetAccount(tenant: string, division: string, currency: string): string {
  return `budget:${tenant}:${division}:${currency}`;
}

/** Money a division holds or has spent. */
export function spendAccount(tenant: string, division: string, currency: string): string {
  return `spend:${tenant}:${division}:${currency}`;
}

export interface AccountSpec {
  readonly id: string;
  readonly tenant: string;
  readonly kind: AccountKind;
  readonly division?: string;
  readonly pool?: string;
  readonly flavour?: string;
  /** The resource (`gpu`, `cpu`) or the currency: a transfer joins two accounts of one unit. */
  readonly unit: string;
  /** undefined: unlimited. */
  readonly limit?: bigint;
}

/** The four accounts by which a division takes a flavour's resource, each with its limit. */
export function placementAccounts(of: {
  readonly tenant: string;
  readonly division: string;
  readonly pool: string;
  readonly flavour: string;
  readonly resource: string;
  readonly currency: string;
  readonly capacityMilli?: bigint;
  readonly quotaMilli?: bigint;
  readonly budgetCents?: bigint;
}): readonly AccountSpec[] {
  const { tenant, division, pool, flavour, resource, currency } = of;
  return [
    {
      id: capacityAccount(tenant, pool, flavour, resource),
      tenant,
      kind: 'capacity',
      pool,
      flavour,
      unit: resource,
      ...limitOf(of.capacityMilli),
    },
    {
      id: quotaAccount(tenant, division, pool, flavour, resource),
      tenant,
      kind: 'quota',
      division,
      pool,
      flavour,
      unit: resource,
      ...limitOf(of.quotaMilli),
    },
    {
      id: budgetAccount(tenant, division, currency),
      tenant,
      kind: 'budget',
      division,
      unit: currency,
      ...limitOf(of.budgetCents),
    },
    { id: spendAccount(tenant, division, currency), tenant, kind: 'spend', division, unit: currency },
  ];
}

function limitOf(limit: bigint | undefined): { readonly limit?: bigint } {
  return limit === undefined ? {} : { limit };
}

/** Makes the accounts that do not exist yet; those that do keep their limit (`setLimit` changes it). */
export async function ensureAccounts(tx: Tx, accounts: readonly AccountSpec[]): Promise<void> {
  if (accounts.length === 0) return;
  // In id order, so that two callers never wait for each other.
  const sorted = [...accounts].sort((a, b) => (a.id < b.id ? -1 : 1));
  await tx.execute(
    `insert into accounts (account_id, tenant, kind, division, pool, flavour, unit, net_limit)
     select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
     on conflict (account_id) do nothing`,
    [
      sorted.map((a) => a.id),
      sorted.map((a) => a.tenant),
      sorted.map((a) => a.kind),
      sorted.map((a) => a.division ?? null),
      sorted.map((a) => a.pool ?? null),
      sorted.map((a) => a.flavour ?? null),
      sorted.map((a) => a.unit),
      sorted.map((a) => a.limit?.toString() ?? null),
    ],
  );
}

export interface Balance {
  readonly id: string;
  readonly tenant: string;
  readonly kind: AccountKind;
  readonly unit: string;
  readonly limit: bigint | undefined;
  /** The account of the group above it; undefined: a root, or in no tree. */
  readonly parent: string | undefined;
  /** What of its quota it keeps for itself. */
  readonly local: bigint | undefined;
  /** Use above a lowered limit; each release pays it first. */
  readonly drainDebt: bigint;
  /** What it owes its parent: its use past its local part. Entries prove it (`borrow` less `repay`). */
  readonly lenderDebt: bigint;
  readonly debitsPending: bigint;
  readonly debitsPosted: bigint;
  readonly creditsPending: bigint;
  readonly creditsPosted: bigint;
}

type Counted = Pick<
  Balance,
  'kind' | 'debitsPending' | 'debitsPosted' | 'creditsPending' | 'creditsPosted' | 'lenderDebt'
>;

/** What counts against the limit: pending and posted, less what came back. A debit to the parent is no return. */
export function useOf(balance: Counted): bigint {
  return gives(balance.kind)
    ? balance.debitsPending + balance.debitsPosted - balance.creditsPosted
    : balance.creditsPending + balance.creditsPosted - balance.debitsPosted + balance.lenderDebt;
}

/** What could still be given back: posted, less what came back or is promised back. Never negative. */
export function returnableOf(balance: Counted): bigint {
  return gives(balance.kind)
    ? balance.debitsPosted - balance.creditsPosted - balance.creditsPending
    : balance.creditsPosted - balance.debitsPosted - balance.debitsPending + balance.lenderDebt;
}

/** What it has to owe its parent: it grows and shrinks with use past the local part. */
export function owedOf(balance: Counted & Pick<Balance, 'local'>): bigint {
  if (balance.local === undefined) return 0n;
  const past = useOf(balance) - balance.local;
  return past > 0n ? past : 0n;
}

export function gives(kind: AccountKind): boolean {
  return kind === 'capacity' || kind === 'budget';
}

/** What the account's own limit still lets it take; undefined: it has none. What its group has left may be less. */
export function freeOf(balance: Balance): bigint | undefined {
  return balance.limit === undefined ? undefined : balance.limit + balance.drainDebt - useOf(balance);
}

interface BalanceRow {
  readonly account_id: string;
  readonly tenant: string;
  readonly kind: AccountKind;
  readonly unit: string;
  readonly net_limit: bigint | null;
  readonly parent_account: string | null;
  readonly local_limit: bigint | null;
  readonly drain_debt: bigint;
  readonly lender_debt: bigint;
  readonly debits_pending: bigint;
  readonly debits_posted: bigint;
  readonly credits_pending: bigint;
  readonly credits_posted: bigint;
}

export const BALANCE_COLUMNS =
  'account_id, tenant, kind, unit, net_limit, parent_account, local_limit, drain_debt, lender_debt, debits_pending, debits_posted, credits_pending, credits_posted';

export function balanceOf(row: object): Balance {
  const r = row as BalanceRow;
  return {
    id: r.account_id,
    tenant: r.tenant,
    kind: r.kind,
    unit: r.unit,
    limit: r.net_limit ?? undefined,
    parent: r.parent_account ?? undefined,
    local: r.local_limit ?? undefined,
    drainDebt: r.drain_debt,
    lenderDebt: r.lender_debt,
    debitsPending: r.debits_pending,
    debitsPosted: r.debits_posted,
    creditsPending: r.credits_pending,
    creditsPosted: r.credits_posted,
  };
}

export async function readBalances(tx: Tx, accountIds: readonly string[]): Promise<readonly Balance[]> {
  const rows = await tx.query(
    `select ${BALANCE_COLUMNS} from accounts where account_id = any($1::text[]) order by account_id`,
    [accountIds],
  );
  return rows.map(balanceOf);
}

export type LimitChange =
  | { readonly kind: 'set'; readonly use: bigint; readonly drainDebt: bigint }
  | { readonly kind: 'account_not_found' };

/**
 * Sets an account's limit (undefined: unlimited). A limit below use takes the free part away now; the rest is drain debt,
 * reported here and paid first by each release, so that nothing is ever reclaimed twice. Of a node of a quota tree `setQuotaTree` sets it.
 */
export async function setLimit(tx: Tx, accountId: string, limit: bigint | undefined): Promise<LimitChange> {
  const rows = await tx.query<BalanceRow>(
    `update accounts set net_limit = $2::bigint,
       drain_debt = case when $2::bigint is null then 0 else greatest(0,
         case when kind in ('capacity', 'budget') then debits_pending + debits_posted - credits_posted
              else credits_pending + credits_posted - debits_posted + lender_debt end - $2::bigint) end
     where account_id = $1 returning ${BALANCE_COLUMNS}`,
    [accountId, limit?.toString() ?? null],
  );
  const row = rows[0];
  if (row === undefined) return { kind: 'account_not_found' };
  const balance = balanceOf(row);
  return { kind: 'set', use: useOf(balance), drainDebt: balance.drainDebt };
}
