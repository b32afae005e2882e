import type { SigningPolicy } from '../core/signing-policy.ts';
import { budgetAccount } from '../ledger/quota/account.ts';
import type { Database, Tx } from '../platform/postgres.ts';
import { type MachineState, type MachineStates, machineId } from './machine-states.ts';
import { offPeakIntervals } from './off-peak.ts';
import { plannerConfig } from './planner-config.ts';
import type { BudgetInput, FlavourInput } from './planner-input.ts';
import { flavourId, type PoolFacts } from './pool-facts.ts';
import type { PoolFile } from './pool-file.ts';
import { type AskHealth, type PoolHealth, plannedMilli } from './pool-health.ts';
import type { SchedulingFile } from './scheduling-file.ts';
import type { DivisionFile, GroupFile } from './tree-files.ts';

interface PoolRow {
  readonly file: PoolFile;
  readonly cordoned: boolean;
  readonly draining: boolean;
  readonly machines: MachineStates;
}

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

interface DocumentRow {
  readonly kind: string;
  readonly file: unknown;
}

interface PoolStanding {
  readonly file: PoolFile;
  readonly cordoned: boolean;
  readonly health: PoolHealth;
}

interface Read {
  readonly pools: readonly PoolRow[];
  readonly flavours: readonly FlavourRow[];
  readonly documents: readonly DocumentRow[];
  readonly divisions: readonly string[];
  readonly money: Money;
}

/** All that the planner is to know of a tenant, as it is committed. `health` is asked once a pool, of all at once, outside of any transaction. */
export async function loadConfig(db: Database, tenant: string, nowMs: number, health: AskHealth): Promise<PoolFacts> {
  const read = await db.asEngine((tx) => readAll(tx, tenant));
  const { pools, documents } = read;
  const standings = new Map<string, PoolStanding>();
  const healths = await Promise.all(pools.map(({ file }) => health(tenant, file.name)));
  pools.forEach(({ file, cordoned }, i) => {
    standings.set(file.name, { file, cordoned, health: healths[i]! });
  });
  const files = pools.map(({ file }) => file);
  const currencies = [...new Set(read.flavours.map((row) => row.currency))];
  const standing = {
    flavours: read.flavours.map((row) => flavourOf(row, standings.get(row.pool))),
    cordonedMachines: machinesIn(pools, ['cordoned', 'draining']),
    budgetsOf: (division: string) => currencies.map((currency) => read.money.budget(division, currency)),
  };
  const declared = {
    pools: files,
    groups: filesOf<GroupFile>(documents, 'Group'),
    divisions: filesOf<DivisionFile>(documents, 'Division'),
    divisionNames: read.divisions,
    scheduling: filesOf<SchedulingFile>(documents, 'Scheduling')[0],
  };
  const [signing] = filesOf<SigningPolicy>(documents, 'SigningPolicy');
  return {
    ...(signing === undefined ? {} : { signing }),
    config: plannerConfig(declared, standing),
    gpuTypes: new Map(files.flatMap(gpuTypesOf)),
    offPeak: new Map(
      files.flatMap(({ name, offPeak }) => (offPeak === undefined ? [] : [[name, offPeakIntervals(offPeak, nowMs)]])),
    ),
    draining: new Set(pools.filter((pool) => pool.draining).map(({ file }) => file.name)),
    drainingMachines: machinesIn(pools, ['draining']),
  };
}

function machinesIn(pools: readonly PoolRow[], states: readonly MachineState[]): ReadonlySet<string> {
  return new Set(
    pools.flatMap(({ file, machines }) =>
      Object.entries(machines).flatMap(([name, state]) => (states.includes(state) ? [machineId(file.name, name)] : [])),
    ),
  );
}

/** As of one moment: of a budget whose period begins between two statements, the last one's spending would count against the next. */
async function readAll(tx: Tx, tenant: string): Promise<Read> {
  await tx.query('set transaction isolation level repeatable read, read only');
  return {
    pools: await tx.query<PoolRow>(
      'select file, cordoned, draining, machines from pools where tenant = $1 order by pool collate "C"',
      [tenant],
    ),
    flavours: await tx.query<FlavourRow>(
      `select f.pool, f.flavour, p.provider, f.resource, f.capacity_milli, f.spot, f.currency, f.cents_per_unit_hour
       from flavours f join pools p using (tenant, pool) where f.tenant = $1 order by f.pool collate "C", f.position, f.flavour collate "C"`,
      [tenant],
    ),
    documents: await tx.query<DocumentRow>(
      "select kind, file from quota_documents where tenant = $1 and kind in ('Group', 'Division', 'Scheduling', 'SigningPolicy')",
      [tenant],
    ),
    divisions: (
      await tx.query<{ division: string }>('select division from divisions where tenant = $1 and not removed', [tenant])
    ).map(({ division }) => division),
    money: await Money.read(tx, tenant),
  };
}

function filesOf<T>(documents: readonly DocumentRow[], kind: string): readonly T[] {
  return documents.filter((document) => document.kind === kind).map(({ file }) => file as T);
}

function flavourOf(row: FlavourRow, standing: PoolStanding | undefined): FlavourInput {
  const declared = standing?.file.flavours.find(({ name }) => name === row.flavour);
  const capacityMilli =
    standing === undefined || declared === undefined
      ? row.capacity_milli
      : plannedMilli(row.capacity_milli, declared, standing.health);
  return {
    id: flavourId(row.pool, row.flavour),
    pool: row.pool,
    provider: row.provider,
    spot: row.spot,
    price: { currency: row.currency, minorPerUnitHour: { [row.resource]: row.cents_per_unit_hour } },
    capacity: { [row.resource]: Number(capacityMilli) },
    ...(capacityMilli === row.capacity_milli ? {} : { whole: { [row.resource]: Number(row.capacity_milli) } }),
    away: standing?.health.away ?? null,
    cordoned: standing?.cordoned ?? false,
    open: null,
  };
}

function gpuTypesOf(pool: PoolFile): readonly (readonly [string, string])[] {
  return pool.flavours.flatMap(({ name, gpuType }) =>
    gpuType === undefined ? [] : [[flavourId(pool.name, name), gpuType] as const],
  );
}

interface BudgetRow {
  readonly account_id: string;
  readonly net_limit: bigint | null;
  readonly posted: bigint;
}

/** What each division may spend and has spent, by currency. */
class Money {
  readonly #tenant: string;
  readonly #accounts: ReadonlyMap<string, BudgetRow>;
  /** `division currency` → cents: posted for what still runs, and spent before this period. */
  readonly #held: ReadonlyMap<string, bigint>;
  readonly #before: ReadonlyMap<string, bigint>;

  private constructor(
    tenant: string,
    accounts: readonly BudgetRow[],
    held: readonly { readonly division: string; readonly currency: string; readonly cents: bigint }[],
    before: readonly { readonly division: string; readonly currency: string; readonly cents: bigint }[],
  ) {
    this.#tenant = tenant;
    this.#accounts = new Map(accounts.map((account) => [account.account_id, account]));
    this.#held = new Map(held.map((row) => [`${row.division} ${row.currency}`, row.cents]));
    this.#before = new Map(before.map((row) => [`${row.division} ${row.currency}`, row.cents]));
  }

  static async read(tx: Tx, tenant: string): Promise<Money> {
    const accounts = await tx.query<BudgetRow>(
      `select account_id, net_limit, (debits_posted - credits_posted)::bigint as posted
       from accounts where tenant = $1 and kind = 'budget'`,
      [tenant],
    );
    const held = await tx.query<{ division: string; currency: string; cents: bigint }>(
      `select division, data->'placement'->>'currency' as currency, sum((data->'placement'->>'holdCents')::bigint)::bigint as cents
       from bookings where tenant = $1 and state in ('applied', 'draining', 'releasing') and (data->>'appliedAtMs') is not null
         and not (spec ? 'money')
       group by division, currency`,
      [tenant],
    );
    const before = await tx.query<{ division: string; currency: string; cents: bigint }>(
      'select division, currency, spent_before_cents as cents from budget_periods where tenant = $1',
      [tenant],
    );
    return new Money(tenant, accounts, held, before);
  }

  /** What running work holds is posted, and no spending yet: the planner counts it beside this. */
  budget(division: string, currency: string): BudgetInput {
    const account = this.#accounts.get(budgetAccount(this.#tenant, division, currency));
    const of = `${division} ${currency}`;
    const before = this.#before.get(of) ?? 0n;
    return {
      currency,
      limitMinor: (account?.net_limit ?? 0n) - before,
      spentMinor: (account?.posted ?? 0n) - (this.#held.get(of) ?? 0n) - before,
    };
  }
}
