import { ownOf } from '../core/own.ts';
import {
  type AccountSpec,
  budgetAccount,
  capacityAccount,
  ensureAccounts,
  setLimit,
  spendAccount,
} from '../ledger/quota/account.ts';
import type { NodeQuota } from '../ledger/quota/node-limits.ts';
import { type QuotaNode, setQuotaTree } from '../ledger/quota/quota-nodes.ts';
import type { Tx } from '../platform/postgres.ts';
import type { Document } from './documents.ts';
import type { PoolFile } from './pool-file.ts';
import { milliQuota, type QuotaValue } from './quota-value.ts';

/** Use above a limit that was lowered: each release pays it first, and nothing new is taken before. */
export interface DrainDebt {
  readonly account: string;
  readonly kind: 'capacity' | 'quota' | 'group' | 'budget';
  readonly division: string | null;
  readonly pool: string | null;
  readonly flavour: string | null;
  readonly unit: string;
  /** Milli-units, or minor units of money. */
  readonly amount: bigint;
}

/** Makes the accounts of pools, groups and divisions, and brings every limit of them to what the documents say; the debts that came of it. */
export async function settleLimits(
  tx: Tx,
  tenant: string,
  documents: readonly Document[],
  divisions: readonly string[],
): Promise<readonly DrainDebt[]> {
  const pools = documents.filter((one) => one.kind === 'Pool');
  const before = new Map((await drainDebts(tx, tenant)).map((debt) => [debt.account, debt.amount]));
  await settleCapacity(tx, tenant, pools);
  await ensureAccounts(tx, moneyAccounts(tenant, pools, divisions));
  await setQuotaTree(tx, tenant, quotaNodes(documents, divisions));
  return (await drainDebts(tx, tenant)).filter((debt) => debt.amount !== before.get(debt.account));
}

/** All of a tenant, or of some accounts. */
export async function drainDebts(
  tx: Tx,
  tenant: string,
  accountIds: readonly string[] | null = null,
): Promise<readonly DrainDebt[]> {
  return tx.query<DrainDebt>(
    `select account_id as account, kind, division, pool, flavour, unit, drain_debt as amount
     from accounts where tenant = $1 and drain_debt > 0 and ($2::text[] is null or account_id = any($2)) order by account_id`,
    [tenant, accountIds],
  );
}

/** A flavour that left its pool has nothing to give any more. */
async function settleCapacity(tx: Tx, tenant: string, pools: readonly PoolFile[]): Promise<void> {
  const wanted = new Map<string, AccountSpec>();
  for (const pool of pools) {
    for (const { name: flavour, resource, capacity } of pool.flavours) {
      const id = capacityAccount(tenant, pool.name, flavour, resource);
      const limit = BigInt(capacity) * 1000n;
      wanted.set(id, { id, tenant, kind: 'capacity', pool: pool.name, flavour, unit: resource, limit });
    }
  }
  await ensureAccounts(tx, [...wanted.values()]);
  const stands = await tx.query<{ account_id: string; net_limit: bigint | null }>(
    "select account_id, net_limit from accounts where tenant = $1 and kind = 'capacity' order by account_id",
    [tenant],
  );
  for (const { account_id, net_limit } of stands) {
    const limit = wanted.get(account_id)?.limit ?? 0n;
    if (limit !== net_limit) await setLimit(tx, account_id, limit);
  }
}

/** Of every division and currency that a pool is priced in; nothing may be spent until there is a budget. */
function moneyAccounts(
  tenant: string,
  pools: readonly PoolFile[],
  divisions: readonly string[],
): readonly AccountSpec[] {
  const currencies = new Set(pools.flatMap(({ flavours }) => flavours.map(({ price }) => price.currency)));
  return [...currencies].flatMap((unit) =>
    divisions.flatMap((division): AccountSpec[] => [
      { id: budgetAccount(tenant, division, unit), tenant, kind: 'budget', division, unit, limit: 0n },
      { id: spendAccount(tenant, division, unit), tenant, kind: 'spend', division, unit },
    ]),
  );
}

/** The quota tree as the ledger takes it. */
export function quotaNodes(documents: readonly Document[], divisions: readonly string[]): readonly QuotaNode[] {
  const pools = documents.filter((one) => one.kind === 'Pool');
  const groups = documents.filter((one) => one.kind === 'Group');
  const files = new Map(documents.flatMap((one) => (one.kind === 'Division' ? [[one.name, one] as const] : [])));
  const root = soleRoot(documents);
  const rest = root === undefined ? new Map<string, bigint>() : ungranted(pools, groups);
  return [
    ...groups.map(({ name, parent = null, quotas = {} }): QuotaNode => {
      const own = pools.flatMap((pool) => nodeQuotas(pool, ownOf(quotas, pool.name) ?? {}));
      return { kind: 'group', name, parent, quotas: name === root ? withRest(pools, own, rest) : own };
    }),
    ...divisions.map((name): QuotaNode => {
      const quotas = pools.flatMap((pool) => {
        const own = ownOf(pool.quotas, name);
        // Of a pool that grants it anything it has an account of each flavour, so that `quotas ls` shows what it lacks.
        return own === undefined
          ? []
          : nodeQuotas(
              pool,
              own,
              pool.flavours.map((flavour) => flavour.name),
            );
      });
      return { kind: 'division', name, parent: files.get(name)?.group ?? null, quotas };
    }),
  ];
}

function nodeQuotas(
  pool: PoolFile,
  own: Readonly<Record<string, QuotaValue>>,
  flavours: readonly string[] = Object.keys(own),
): readonly NodeQuota[] {
  return pool.flavours
    .filter(({ name }) => flavours.includes(name))
    .map(({ name, resource }) => {
      const { nominalMilli, borrowMilli, lendMilli } = milliQuota(ownOf(own, name));
      return {
        pool: pool.name,
        flavour: name,
        resource,
        nominal: BigInt(nominalMilli),
        borrow: borrowMilli === null ? null : BigInt(borrowMilli),
        lend: lendMilli === null ? null : BigInt(lendMilli),
      };
    });
}

/** What nobody has as nominal belongs to the root, where there is one. */
export function soleRoot(documents: readonly Document[]): string | undefined {
  const roots = documents.filter((one) => one.kind === 'Group' && one.parent == null);
  return roots.length === 1 && roots[0]?.kind === 'Group' ? roots[0].name : undefined;
}

/** `pool/flavour` → milli-units of its capacity that no group and no division has as nominal. */
function ungranted(
  pools: readonly PoolFile[],
  groups: readonly Extract<Document, { kind: 'Group' }>[],
): ReadonlyMap<string, bigint> {
  const rest = new Map<string, bigint>();
  for (const pool of pools) {
    for (const { name, capacity } of pool.flavours) {
      let left = capacity * 1000;
      for (const quota of Object.values(pool.quotas)) left -= milliQuota(ownOf(quota, name)).nominalMilli;
      for (const { quotas } of groups) left -= milliQuota(quotas?.[pool.name]?.[name]).nominalMilli;
      if (left > 0) rest.set(`${pool.name}/${name}`, BigInt(left));
    }
  }
  return rest;
}

function withRest(
  pools: readonly PoolFile[],
  own: readonly NodeQuota[],
  rest: ReadonlyMap<string, bigint>,
): readonly NodeQuota[] {
  const given = new Map(own.map((quota) => [`${quota.pool}/${quota.flavour}`, quota]));
  return pools
    .flatMap((pool) =>
      nodeQuotas(
        pool,
        {},
        pool.flavours.map((flavour) => flavour.name),
      ),
    )
    .flatMap((nothing) => {
      const key = `${nothing.pool}/${nothing.flavour}`;
      const quota = given.get(key);
      const more = rest.get(key) ?? 0n;
      if (quota === undefined && more === 0n) return [];
      const base = quota ?? nothing;
      return [{ ...base, nominal: base.nominal + more }];
    });
}
