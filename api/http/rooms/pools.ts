import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { BALANCE_COLUMNS, balanceOf, freeOf, useOf } from '../../../ledger/quota/account.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { applyBudget, applyPool, loadPool } from '../../../pools/apply-pool.ts';
import { parseBudget, parsePool } from '../../../pools/pool-file.ts';
import type { Caller, PoolsService, PutOutcome, View } from '../services.ts';
import { moneyText, requesterOf, unitsText } from './base.ts';

interface FlavourRow {
  readonly pool: string;
  readonly provider: string;
  readonly version: bigint;
  readonly flavour: string | null;
  readonly resource: string;
  readonly capacity_milli: bigint;
  readonly spot: boolean;
  readonly currency: string;
  readonly cents_per_unit_hour: bigint;
  readonly used: bigint | null;
}

const POOL_QUERY = `
  select p.pool, p.provider, p.version, f.flavour, f.resource, f.capacity_milli, f.spot, f.currency, f.cents_per_unit_hour,
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
  return view === undefined || stored === undefined ? undefined : ({ ...view, file: stored.file } as unknown as View);
}

async function putPool(
  tx: Tx,
  caller: Caller,
  name: string,
  document: unknown,
  ifVersion: string | undefined,
): Promise<PutOutcome> {
  const file = parsePool(document);
  if (file.name !== name)
    throw new RefusedInput([refuse('name', 'name', 'is not the name in the path', 'make them the same')]);
  const change = await applyPool(tx, requesterOf(caller), file, demanded(ifVersion));
  if (change.kind === 'stale') return { kind: 'stale', version: change.version === 0n ? '' : String(change.version) };
  const view = (await poolView(tx, caller.identity.tenant, name)) as View;
  return { kind: change.kind, version: String(change.version), view };
}

/** A version that cannot be one of ours is stale, not a fault: −1 equals none. */
function demanded(ifVersion: string | undefined): bigint | undefined {
  if (ifVersion === undefined) return undefined;
  if (ifVersion === '') return 0n;
  return /^[1-9][0-9]{0,17}$/.test(ifVersion) ? BigInt(ifVersion) : -1n;
}

interface AccountRow {
  readonly division: string | null;
  readonly pool: string | null;
  readonly flavour: string | null;
}

async function balances(
  tx: Tx,
  caller: Caller,
  filter: { readonly division?: string; readonly pool?: string },
): Promise<readonly View[]> {
  const rows = await tx.query<AccountRow>(
    `select ${BALANCE_COLUMNS}, division, pool, flavour from accounts
     where tenant = $1 and kind in ('quota', 'budget') and ($2::text is null or division = $2) and ($3::text is null or pool = $3)
     order by division, kind desc, pool, flavour, unit limit $4`,
    [caller.identity.tenant, filter.division ?? null, filter.pool ?? null, MAX_BALANCES],
  );
  return rows.map((row) => {
    const balance = balanceOf(row);
    const text = balance.kind === 'budget' ? moneyText : unitsText;
    const held = balance.kind === 'budget' ? balance.debitsPending : balance.creditsPending;
    const free = freeOf(balance);
    return {
      account: balance.id,
      kind: balance.kind,
      division: row.division,
      pool: row.pool,
      flavour: row.flavour,
      unit: balance.unit,
      limit: balance.limit === undefined ? null : text(balance.limit),
      held: text(held),
      used: text(useOf(balance) - held),
      free: free === undefined ? null : text(free > 0n ? free : 0n),
      drainDebt: text(balance.drainDebt),
    };
  });
}

/** Divisions × pools × flavours of one tenant. */
const MAX_BALANCES = 10_000;

export function poolsOf(): PoolsService {
  return {
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
    putPool,
    quotas: balances,
    putBudget: async (tx, caller, division, document) => {
      const file = parseBudget(document);
      if (file.division !== division)
        throw new RefusedInput([refuse('name', 'division', 'is not the division in the path', 'make them the same')]);
      const { drainDebtCents } = await applyBudget(tx, requesterOf(caller), file);
      return { division, currency: file.currency, limit: file.limit, drainDebt: moneyText(drainDebtCents) };
    },
  };
}
