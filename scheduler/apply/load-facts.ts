import { budgetAccount, quotaAccount } from '../../ledger/quota/account.ts';
import type { Database } from '../../platform/postgres.ts';
import type { BudgetInput, DivisionInput, FlavourInput, QuotaInput } from '../../pools/planner-input.ts';
import type { PoolFacts } from './asks.ts';

interface FlavourRow {
  readonly pool: string;
  readonly flavour: string;
  readonly provider: string;
  readonly resource: 'gpu' | 'cpu';
  readonly capacity_milli: bigint;
  readonly spot: boolean;
  readonly currency: string;
  readonly cents_per_unit_hour: bigint;
}

interface AccountRow {
  readonly account_id: string;
  readonly kind: string;
  readonly division: string | null;
  readonly unit: string;
  readonly net_limit: bigint | null;
  readonly posted: bigint;
}

export async function loadFacts(
  db: Database,
  tenant: string,
  away: (tenant: string, pool: string) => Promise<string | undefined>,
): Promise<PoolFacts> {
  const { rows, accounts, divisions, held } = await db.asEngine(async (tx) => ({
    rows: await tx.query<FlavourRow>(
      `select f.pool, f.flavour, p.provider, f.resource, f.capacity_milli, f.spot, f.currency, f.cents_per_unit_hour
       from flavours f join pools p using (tenant, pool) where f.tenant = $1 order by f.pool, f.position`,
      [tenant],
    ),
    accounts: await tx.query<AccountRow>(
      `select account_id, kind, division, unit, net_limit, (debits_posted - credits_posted)::bigint as posted
       from accounts where tenant = $1 and kind in ('quota', 'budget')`,
      [tenant],
    ),
    divisions: await tx.query<{ division: string }>(
      'select division from divisions where tenant = $1 order by division',
      [tenant],
    ),
    held: await tx.query<{ division: string; currency: string; cents: bigint }>(
      `select division, data->'placement'->>'currency' as currency, sum((data->'placement'->>'holdCents')::bigint)::bigint as cents
       from bookings where tenant = $1 and state in ('applied', 'draining', 'releasing') and (data->>'appliedAtMs') is not null
       group by division, currency`,
      [tenant],
    ),
  }));
  const aways = new Map<string, string | undefined>();
  for (const { pool } of rows) if (!aways.has(pool)) aways.set(pool, await away(tenant, pool));
  const byId = new Map(accounts.map((account) => [account.account_id, account]));
  const flavours: FlavourInput[] = rows.map((row) => ({
    id: `${row.pool}/${row.flavour}`,
    pool: row.pool,
    provider: row.provider,
    spot: row.spot,
    price: { currency: row.currency, minorPerUnitHour: { [row.resource]: row.cents_per_unit_hour } },
    capacity: { [row.resource]: Number(row.capacity_milli) },
    away: aways.get(row.pool) ?? null,
    cordoned: false,
    open: null,
  }));
  const holds = new Map(held.map((row) => [`${row.division} ${row.currency}`, row.cents]));
  const currencies = [...new Set(rows.map((row) => row.currency))];
  return {
    config: {
      fairSharing: { enabled: false, strategies: ['final', 'initial'] },
      flavours,
      nodes: [],
      groups: [],
      divisions: divisions.map(({ division }): DivisionInput => {
        const quota: QuotaInput[] = rows.map((row) => ({
          flavour: `${row.pool}/${row.flavour}`,
          resource: row.resource,
          nominalMilli: Number(
            byId.get(quotaAccount(tenant, division, row.pool, row.flavour, row.resource))?.net_limit ?? 0n,
          ),
          borrowMilli: 0,
          lendMilli: 0,
        }));
        const budgets: BudgetInput[] = currencies.map((currency) => {
          const account = byId.get(budgetAccount(tenant, division, currency));
          return {
            currency,
            limitMinor: account?.net_limit ?? 0n,
            spentMinor: (account?.posted ?? 0n) - (holds.get(`${division} ${currency}`) ?? 0n),
          };
        });
        return {
          name: division,
          group: null,
          weightMilli: 1000,
          quota,
          flavours: flavours.map((flavour) => flavour.id),
          preemption: { own: 'never', reclaim: 'never', borrow: null },
          fallback: { whenFull: 'next', prefer: 'borrow' },
          queueing: 'best-effort',
          userLimits: [],
          budgets,
        };
      }),
      guards: [],
      reservations: [],
    },
    gpuTypes: new Map(),
    offPeak: new Map(),
  };
}
