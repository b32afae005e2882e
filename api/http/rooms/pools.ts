import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { BALANCE_COLUMNS, balanceOf, freeOf, useOf } from '../../../ledger/quota/account.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { setPoolState } from '../../../pools/apply-documents.ts';
import { loadPool } from '../../../pools/apply-pool.ts';
import { machineNames, setMachineState } from '../../../pools/machine-states.ts';
import { plannedMilli, thereOf } from '../../../pools/pool-health.ts';
import { type QuotaStanding, quotaStandings } from '../../../pools/quota-view.ts';
import { etaRecords } from '../../../scheduler/apply/eta-record.sql.ts';
import type { Caller, PoolsService, View } from '../services.ts';
import { moneyText, type RoomPorts, requesterOf, unitsText } from './base.ts';
import { demanded, versionText } from './documents.ts';
import { etaView } from './eta-view.ts';

interface FlavourRow {
  readonly pool: string;
  readonly provider: string;
  readonly version: bigint;
  readonly cordoned: boolean;
  readonly draining: boolean;
  readonly flavour: string | null;
  readonly resource: string;
  readonly capacity_milli: bigint;
  readonly spot: boolean;
  readonly currency: string;
  readonly cents_per_unit_hour: bigint;
  readonly used: bigint | null;
}

const POOL_QUERY = `
  select p.pool, p.provider, p.version, p.cordoned, p.draining, f.flavour, f.resource, f.capacity_milli, f.spot, f.currency, f.cents_per_unit_hour,
         (a.debits_pending + a.debits_posted - a.credits_posted)::bigint as used
  from pools p left join flavours f using (tenant, pool)
  left join accounts a on a.tenant = p.tenant and a.pool = p.pool and a.flavour = f.flavour and a.kind = 'capacity'`;

function poolViews(rows: readonly FlavourRow[]): readonly View[] {
  const pools = new Map<string, { readonly head: FlavourRow; readonly flavours: View[] }>();
  for (const row of rows) {
    const pool = pools.get(row.pool) ?? { head: row, flavours: [] };
    pools.set(row.pool, pool);
    if (row.flavour !== null) pool.flavours.push(flavourView(row));
  }
  return [...pools.values()].map(({ head, flavours }) => ({
    name: head.pool,
    provider: head.provider,
    state: head.draining ? 'draining' : head.cordoned ? 'cordoned' : 'open',
    version: String(head.version),
    flavours,
  }));
}

function flavourView(row: FlavourRow): View {
  const used = row.used ?? 0n;
  return {
    name: row.flavour,
    resource: row.resource,
    capacity: unitsText(row.capacity_milli),
    used: unitsText(used),
    free: unitsText(row.capacity_milli > used ? row.capacity_milli - used : 0n),
    spot: row.spot,
    price: moneyText(row.cents_per_unit_hour),
    currency: row.currency,
  };
}

async function poolView(tx: Tx, tenant: string, name: string): Promise<View | undefined> {
  const rows = await tx.query<FlavourRow>(`${POOL_QUERY} where p.tenant = $1 and p.pool = $2 order by f.position`, [
    tenant,
    name,
  ]);
  const [view] = poolViews(rows);
  const stored = view === undefined ? undefined : await loadPool(tx, tenant, name);
  if (view === undefined || stored === undefined) return undefined;
  const { file, machines } = stored;
  const known = machineNames(file);
  const shut = Object.entries(machines).filter(([machine]) => known.has(machine));
  const eta = etaView(name, (await etaRecords(tx, tenant, name))[0]);
  return { ...view, nodes: shut.map(([node, state]) => ({ name: node, state })), eta, file } as unknown as View;
}

async function capacityView(ports: RoomPorts, tenant: string, name: string): Promise<View | undefined> {
  const [rows, stored] = await ports.db.asTenant(tenant, async (tx) => [
    await tx.query<FlavourRow>(`${POOL_QUERY} where p.tenant = $1 and p.pool = $2 order by f.position`, [tenant, name]),
    await loadPool(tx, tenant, name),
  ]);
  if (stored === undefined) return undefined;
  const health = await ports.providers.health(tenant, name);
  const flavours = stored.file.flavours.flatMap((flavour) => {
    const row = rows.find((one) => one.flavour === flavour.name);
    if (row === undefined) return [];
    const there = thereOf(health, flavour.name, flavour.resource);
    return [
      {
        name: flavour.name,
        resource: flavour.resource,
        declared: unitsText(row.capacity_milli),
        booked: unitsText(row.used ?? 0n),
        there: there === undefined ? null : unitsText(there.totalMilli),
        free: there === undefined ? null : unitsText(there.freeMilli),
        planned: unitsText(plannedMilli(row.capacity_milli, flavour, health)),
      },
    ];
  });
  return { pool: name, away: health.away ?? null, flavours };
}

interface AccountRow {
  readonly division: string | null;
  readonly pool: string | null;
  readonly flavour: string | null;
}

interface QuotaFilter {
  readonly division?: string;
  readonly group?: string;
  readonly pool?: string;
}

/** Quotas by owner, pool and flavour, then budgets. */
async function balances(tx: Tx, caller: Caller, filter: QuotaFilter): Promise<readonly View[]> {
  const { tenant } = caller.identity;
  const rows = await tx.query<AccountRow>(
    `select ${BALANCE_COLUMNS}, division, pool, flavour from accounts
     where tenant = $1 and kind in ('quota', 'group', 'budget') and ($2::text is null or pool = $2)
     order by division nulls first, kind desc, pool, flavour, unit limit $3`,
    [tenant, filter.pool ?? null, MAX_BALANCES],
  );
  const standings = new Map((await quotaStandings(tx, tenant)).map((one) => [standingKey(one), one]));
  return rows
    .map((row) => balanceView(row, standings))
    .filter(
      (view) =>
        (filter.division === undefined || view.division === filter.division) &&
        (filter.group === undefined || view.group === filter.group),
    );
}

function standingKey({ kind, name, pool, flavour }: Pick<QuotaStanding, 'kind' | 'name' | 'pool' | 'flavour'>): string {
  return `${kind} ${name} ${pool}/${flavour}`;
}

function balanceView(row: AccountRow, standings: ReadonlyMap<string, QuotaStanding>): View {
  const { division, pool, flavour } = row;
  const balance = balanceOf(row);
  const isMoney = balance.kind === 'budget';
  const text = isMoney ? moneyText : unitsText;
  const held = isMoney ? balance.debitsPending : balance.creditsPending;
  const free = freeOf(balance);
  // A group's name is in its account's id only.
  const group = balance.kind === 'group' ? (balance.id.split(':')[2] ?? null) : null;
  const head = { account: balance.id, kind: balance.kind, division, group, pool, flavour, unit: balance.unit };
  const money = {
    limit: balance.limit === undefined ? null : text(balance.limit),
    held: text(held),
    used: text(useOf(balance) - held),
    free: free === undefined ? null : text(free > 0n ? free : 0n),
    drainDebt: text(balance.drainDebt),
  };
  if (isMoney) return { ...head, ...money };
  const owner =
    group === null ? ({ kind: 'division', name: division ?? '' } as const) : ({ kind: 'group', name: group } as const);
  const standing = standings.get(standingKey({ ...owner, pool: pool ?? '', flavour: flavour ?? '' }));
  return { ...head, ...money, ...(standing === undefined ? NOTHING : standingView(standing)) };
}

/** Of an account whose flavour or owner is declared no more. */
const NOTHING = { nominal: '0', quota: '0', borrowed: '0', lent: '0', borrowLimit: '0', lendLimit: '0' };

function standingView(standing: QuotaStanding): View {
  const milli = (amount: number) => unitsText(BigInt(amount));
  const limit = (amount: number | null) => (amount === null ? null : milli(amount));
  return {
    nominal: milli(standing.nominalMilli),
    quota: milli(standing.quotaMilli),
    borrowed: milli(standing.borrowedMilli),
    lent: milli(standing.lentMilli),
    borrowLimit: limit(standing.borrowMilli),
    lendLimit: limit(standing.lendMilli),
  };
}

/** Groups and divisions × pools × flavours of one tenant. */
const MAX_BALANCES = 10_000;

export function poolsOf(ports: RoomPorts): PoolsService {
  return {
    capacity: (caller, name) => capacityView(ports, caller.identity.tenant, name),
    pools: async (tx, caller, page) => {
      const rows = await tx.query<FlavourRow>(
        `${POOL_QUERY} where p.tenant = $1 and p.pool in (
           select pool from pools where tenant = $1 and pool > $2 order by pool collate "C" limit $3) order by p.pool collate "C", f.position`,
        [caller.identity.tenant, page.after ?? '', page.limit],
      );
      const views = poolViews(rows);
      return { items: views, last: views.length === page.limit ? String(views.at(-1)?.name) : undefined };
    },
    pool: async (tx, caller, name) => {
      const view = await poolView(tx, caller.identity.tenant, name);
      return view === undefined ? undefined : { version: String(view.version), view };
    },
    etaRecord: async (tx, caller, name) => {
      const { tenant } = caller.identity;
      if ((await loadPool(tx, tenant, name)) === undefined) return undefined;
      return etaView(name, (await etaRecords(tx, tenant, name))[0]);
    },
    setPoolState: async (tx, caller, name, wanted, { node, ifVersion }) => {
      const by = requesterOf(caller);
      const version = demanded(ifVersion);
      const changed =
        node === undefined
          ? await setPoolState(tx, by, name, wanted, version)
          : await setMachineState(tx, by, name, node, wanted, version);
      if (changed === undefined) return undefined;
      if (changed.kind === 'unknown_machine')
        throw new RefusedInput([
          refuse('unknown_node', 'node', `pool ${name} has no ${node}`, 'name one of its file: `merit pools get`'),
        ]);
      if (changed.kind === 'stale') return { kind: 'stale', version: versionText(changed.version) };
      const view = (await poolView(tx, caller.identity.tenant, name)) as View;
      return { kind: 'done', version: String(changed.version), view };
    },
    quotas: balances,
  };
}
