import { budgetAccount, capacityAccount, quotaAccount } from '../ledger/quota/account.ts';
import type { Database } from '../platform/postgres.ts';
import type { Balance, FlavourSnapshot, Snapshot } from './snapshot.ts';

interface FlavourRow {
  readonly tenant: string;
  readonly pool: string;
  readonly flavour: string;
  readonly provider: string;
  readonly resource: 'gpu' | 'cpu';
  readonly position: number;
  readonly capacity_milli: bigint;
  readonly currency: string;
  readonly cents_per_unit_hour: bigint;
}

interface AccountRow {
  readonly account_id: string;
  readonly net_limit: bigint | null;
  readonly used: bigint;
}

/** An account without a limit of its own: more than any ask, and still an int8. */
export const UNLIMITED = 2n ** 62n;

/** The snapshot for the tenants that have something waiting. `away` is asked once a pool, outside of any transaction. */
export async function loadSnapshot(
  db: Database,
  waiting: readonly { readonly tenant: string }[],
  away: (tenant: string, pool: string) => Promise<string | undefined>,
): Promise<Snapshot> {
  const tenants = [...new Set(waiting.map((booking) => booking.tenant))];
  const { flavours, accounts } = await db.asEngine(async (tx) => ({
    flavours: await tx.query<FlavourRow>(
      `select f.tenant, f.pool, f.flavour, p.provider, f.resource, f.position, f.capacity_milli, f.currency, f.cents_per_unit_hour
       from flavours f join pools p using (tenant, pool) where f.tenant = any($1) order by f.tenant, f.pool, f.position`,
      [tenants],
    ),
    accounts: await tx.query<AccountRow>(
      `select account_id, net_limit,
              (case when kind in ('capacity', 'budget') then debits_pending + debits_posted - credits_posted
                    else credits_pending + credits_posted - debits_posted + lender_debt end)::bigint as used
       from accounts where tenant = any($1)`,
      [tenants],
    ),
  }));
  const balances = new Map<string, Balance>();
  for (const { account_id, net_limit, used } of accounts) {
    const limit = net_limit ?? UNLIMITED;
    balances.set(account_id, { limit, free: limit - used });
  }
  const byPool = new Map<string, FlavourSnapshot[]>();
  const awayByPool = new Map<string, string | undefined>();
  for (const row of flavours) {
    const key = `${row.tenant}/${row.pool}`;
    if (!awayByPool.has(key)) awayByPool.set(key, await away(row.tenant, row.pool));
    const capacity = balances.get(capacityAccount(row.tenant, row.pool, row.flavour, row.resource));
    const snapshot: FlavourSnapshot = {
      pool: row.pool,
      flavour: row.flavour,
      provider: row.provider,
      resource: row.resource,
      position: row.position,
      capacityMilli: row.capacity_milli,
      freeMilli: capacity?.free ?? 0n,
      currency: row.currency,
      centsPerUnitHour: row.cents_per_unit_hour,
      away: awayByPool.get(key),
    };
    const list = byPool.get(key);
    if (list === undefined) byPool.set(key, [snapshot]);
    else list.push(snapshot);
  }
  return {
    flavoursOf: (tenant, pool) => byPool.get(`${tenant}/${pool}`),
    quota: (tenant, division, pool, flavour) =>
      balances.get(
        quotaAccount(
          tenant,
          division,
          pool,
          flavour,
          byPool.get(`${tenant}/${pool}`)?.find((f) => f.flavour === flavour)?.resource ?? 'gpu',
        ),
      ),
    budget: (tenant, division, currency) => balances.get(budgetAccount(tenant, division, currency)),
  };
}
