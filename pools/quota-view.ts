import type { Tx } from '../platform/postgres.ts';
import { divisionNames, storedDocuments } from './document-store.ts';
import type { Document } from './documents.ts';
import { plannerConfig } from './planner-config.ts';
import type { FlavourInput } from './planner-input.ts';
import { flavourId } from './pool-facts.ts';
import type { PoolFile } from './pool-file.ts';
import { type QuotaUse, quotaUse } from './quota-use.ts';
import { milliQuota } from './quota-value.ts';

/** A group's or division's quota of one flavour as it stands. Milli-units. */
export interface QuotaStanding extends QuotaUse {
  readonly pool: string;
  readonly nominalMilli: number;
  /** null: unlimited; of one without a group 0. */
  readonly borrowMilli: number | null;
  readonly lendMilli: number | null;
  readonly drainDebtMilli: number;
}

interface AccountRow {
  readonly kind: 'quota' | 'group';
  readonly account_id: string;
  readonly division: string | null;
  readonly pool: string;
  readonly flavour: string;
  readonly unit: string;
  readonly used: bigint;
  readonly drain_debt: bigint;
}

/** Of every group and division that has, uses or owes any of a flavour, flavours by pool. */
export async function quotaStandings(tx: Tx, tenant: string): Promise<readonly QuotaStanding[]> {
  const documents = (await storedDocuments(tx, tenant)).map((one) => one.document);
  const names = await divisionNames(tx, tenant);
  const accounts = await tx.query<AccountRow>(
    `select kind, account_id, division, pool, flavour, unit, drain_debt,
            (credits_pending + credits_posted - debits_posted + lender_debt)::bigint as used
     from accounts where tenant = $1 and kind in ('quota', 'group')`,
    [tenant],
  );
  const byOwner = new Map(accounts.map((row) => [ownerKey(ownerOf(row), row.pool, row.flavour), row]));
  const pools = documents.filter((one) => one.kind === 'Pool');
  const config = plannerConfig(declaredOf(documents, names), {
    flavours: pools.flatMap(declaredFlavours),
    budgetsOf: () => [],
  });
  const standing = quotaUse(config, (division, flavour) => {
    const [pool = '', name = ''] = flavour.split('/');
    return Number(byOwner.get(ownerKey(`division ${division}`, pool, name))?.used ?? 0n);
  });
  const quotaOf = quotasBy(documents);
  const grouped = new Set(documents.flatMap((one) => (one.kind === 'Division' && one.group != null ? [one.name] : [])));
  return standing.flatMap((use) => {
    const [pool = '', flavour = ''] = use.flavour.split('/');
    const owner = `${use.kind} ${use.name}`;
    const debt = byOwner.get(ownerKey(owner, pool, flavour))?.drain_debt ?? 0n;
    const value = quotaOf.get(ownerKey(owner, pool, flavour));
    if (value === undefined && use.useMilli === 0 && debt === 0n && use.quotaMilli === 0) return [];
    const alone = use.kind === 'division' && !grouped.has(use.name);
    const { nominalMilli, borrowMilli, lendMilli } = milliQuota(value);
    return [
      {
        ...use,
        pool,
        flavour,
        nominalMilli,
        borrowMilli: alone ? 0 : borrowMilli,
        lendMilli: alone ? 0 : lendMilli,
        drainDebtMilli: Number(debt),
      },
    ];
  });
}

function ownerKey(owner: string, pool: string, flavour: string): string {
  return `${owner} ${pool}/${flavour}`;
}

/** A group's name is in its account's id only: `group:<tenant>:<name>:…`. */
function ownerOf({ kind, division, account_id }: AccountRow): string {
  return kind === 'quota' ? `division ${division}` : `group ${account_id.split(':')[2]}`;
}

function quotasBy(documents: readonly Document[]) {
  const pairs = documents.flatMap((document) => {
    if (document.kind === 'Pool')
      return Object.entries(document.quotas).flatMap(([division, own]) =>
        Object.entries(own).map(
          ([flavour, value]) => [ownerKey(`division ${division}`, document.name, flavour), value] as const,
        ),
      );
    if (document.kind !== 'Group') return [];
    return Object.entries(document.quotas ?? {}).flatMap(([pool, own]) =>
      Object.entries(own).map(
        ([flavour, value]) => [ownerKey(`group ${document.name}`, pool, flavour), value] as const,
      ),
    );
  });
  return new Map(pairs);
}

function declaredOf(documents: readonly Document[], divisions: readonly string[]) {
  return {
    pools: documents.filter((one) => one.kind === 'Pool'),
    groups: documents.filter((one) => one.kind === 'Group'),
    divisions: documents.filter((one) => one.kind === 'Division'),
    divisionNames: divisions,
    scheduling: undefined,
  };
}

/** As they are declared: nothing is known of providers. */
function declaredFlavours(pool: PoolFile): readonly FlavourInput[] {
  return pool.flavours.map((flavour) => ({
    id: flavourId(pool.name, flavour.name),
    pool: pool.name,
    provider: pool.provider.kind,
    spot: flavour.spot ?? false,
    price: null,
    capacity: { [flavour.resource]: flavour.capacity * 1000 },
    away: null,
    cordoned: false,
    open: null,
  }));
}
