import { canonicalText, contentHash, type Json } from '../core/canonical.ts';
import { appendAudit } from '../ledger/audit/append.ts';
import {
  budgetAccount,
  capacityAccount,
  ensureAccounts,
  placementAccounts,
  quotaAccount,
  setLimit,
  spendAccount,
} from '../ledger/quota/account.ts';
import type { Tx } from '../platform/postgres.ts';
import { type BudgetFile, cents, type PoolFile } from './pool-file.ts';
import { milliQuota } from './quota-value.ts';

export interface Actor {
  readonly tenant: string;
  readonly actor: string;
  readonly traceId: string;
  readonly nowMs: number;
}

/** A pool as stored: the file it was made of, and its version. */
export interface StoredPool {
  readonly version: bigint;
  readonly file: PoolFile;
}

export type PoolChange =
  | { readonly kind: 'created' | 'replaced' | 'unchanged'; readonly version: bigint }
  /** Somebody changed it since the version given. */
  | { readonly kind: 'stale'; readonly version: bigint };

export async function loadPool(tx: Tx, tenant: string, name: string): Promise<StoredPool | undefined> {
  const rows = await tx.query<{ version: bigint; file: PoolFile }>(
    'select version, file from pools where tenant = $1 and pool = $2',
    [tenant, name],
  );
  return rows[0] === undefined ? undefined : { version: rows[0].version, file: rows[0].file };
}

/**
 * Makes or changes a pool with its divisions and account limits, in the caller's transaction, with its audit event. A limit lowered
 * below what is in use takes the free part now; the rest is drain debt. `ifVersion` undefined: whatever is there is replaced.
 */
export async function applyPool(tx: Tx, by: Actor, file: PoolFile, ifVersion?: bigint): Promise<PoolChange> {
  const { tenant } = by;
  const rows = await tx.query<{ version: bigint; file: PoolFile }>(
    'select version, file from pools where tenant = $1 and pool = $2 for update',
    [tenant, file.name],
  );
  const before = rows[0];
  if (ifVersion !== undefined && ifVersion !== (before?.version ?? 0n))
    return { kind: 'stale', version: before?.version ?? 0n };
  if (before !== undefined && contentHash(before.file) === contentHash(file))
    return { kind: 'unchanged', version: before.version };
  const version = (before?.version ?? 0n) + 1n;
  await tx.execute(
    `insert into pools (tenant, pool, provider, file, version) values ($1, $2, $3, $4, $5)
     on conflict (tenant, pool) do update set provider = excluded.provider, file = excluded.file, version = excluded.version`,
    [tenant, file.name, file.provider.kind, canonicalText(file), version],
  );
  await writeFlavours(tx, tenant, file);
  await writeQuotas(tx, tenant, file);
  await appendAudit(tx, {
    tenant,
    subject: `pool/${file.name}`,
    type: before === undefined ? 'pool.created' : 'pool.changed',
    at: new Date(by.nowMs).toISOString(),
    actor: by.actor,
    trace: by.traceId,
    data: { version: String(version), pool: file as unknown as Json },
  });
  return { kind: before === undefined ? 'created' : 'replaced', version };
}

/** A flavour that is no longer in the file keeps its row and its balances, with no capacity left to give. */
async function writeFlavours(tx: Tx, tenant: string, file: PoolFile): Promise<void> {
  const gone = await tx.query<{ flavour: string; resource: string }>(
    'update flavours set capacity_milli = 0 where tenant = $1 and pool = $2 and not (flavour = any($3)) returning flavour, resource',
    [tenant, file.name, file.flavours.map((flavour) => flavour.name)],
  );
  for (const { flavour, resource } of gone)
    await setLimit(tx, capacityAccount(tenant, file.name, flavour, resource), 0n);
  for (const [position, flavour] of file.flavours.entries()) {
    const capacityMilli = BigInt(flavour.capacity) * 1000n;
    await tx.execute(
      `insert into flavours (tenant, pool, flavour, position, resource, capacity_milli, spot, currency, cents_per_unit_hour)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       on conflict (tenant, pool, flavour) do update set position = excluded.position, resource = excluded.resource,
         capacity_milli = excluded.capacity_milli, spot = excluded.spot, currency = excluded.currency, cents_per_unit_hour = excluded.cents_per_unit_hour`,
      [
        tenant,
        file.name,
        flavour.name,
        position,
        flavour.resource,
        capacityMilli,
        flavour.spot ?? false,
        flavour.price.currency,
        cents(flavour.price.perUnitHour),
      ],
    );
  }
}

async function writeQuotas(tx: Tx, tenant: string, file: PoolFile): Promise<void> {
  const granted = Object.entries(file.quotas);
  for (const [division] of granted) await addDivision(tx, tenant, division);
  for (const flavour of file.flavours) {
    const capacityMilli = BigInt(flavour.capacity) * 1000n;
    const { resource } = flavour;
    for (const [division, quota] of granted) {
      const quotaMilli = BigInt(milliQuota(quota[flavour.name]).nominalMilli);
      const specs = placementAccounts({
        tenant,
        division,
        pool: file.name,
        flavour: flavour.name,
        resource,
        currency: flavour.price.currency,
        capacityMilli,
        quotaMilli,
        budgetCents: 0n,
      });
      await ensureAccounts(tx, specs);
      await setLimit(tx, quotaAccount(tenant, division, file.name, flavour.name, resource), quotaMilli);
    }
    await ensureAccounts(tx, [
      {
        id: capacityAccount(tenant, file.name, flavour.name, resource),
        tenant,
        kind: 'capacity',
        pool: file.name,
        flavour: flavour.name,
        unit: resource,
        limit: capacityMilli,
      },
    ]);
    await setLimit(tx, capacityAccount(tenant, file.name, flavour.name, resource), capacityMilli);
  }
  const without = await tx.query<{ account_id: string }>(
    "select account_id from accounts where tenant = $1 and pool = $2 and kind = 'quota' and not (division = any($3)) order by account_id",
    [tenant, file.name, granted.map(([division]) => division)],
  );
  for (const { account_id } of without) await setLimit(tx, account_id, 0n);
}

async function addDivision(tx: Tx, tenant: string, division: string): Promise<void> {
  await tx.execute('insert into divisions (tenant, division) values ($1, $2) on conflict do nothing', [
    tenant,
    division,
  ]);
}

/** Sets what a division may spend in a currency, with its audit event. */
export async function applyBudget(tx: Tx, by: Actor, file: BudgetFile): Promise<{ readonly drainDebtCents: bigint }> {
  const { tenant } = by;
  await addDivision(tx, tenant, file.division);
  const limit = cents(file.limit);
  const budget = budgetAccount(tenant, file.division, file.currency);
  await ensureAccounts(tx, [
    { id: budget, tenant, kind: 'budget', division: file.division, unit: file.currency, limit },
    {
      id: spendAccount(tenant, file.division, file.currency),
      tenant,
      kind: 'spend',
      division: file.division,
      unit: file.currency,
    },
  ]);
  const change = await setLimit(tx, budget, limit);
  await appendAudit(tx, {
    tenant,
    subject: `budget/${file.division}-${file.currency}`,
    type: 'budget.changed',
    at: new Date(by.nowMs).toISOString(),
    actor: by.actor,
    trace: by.traceId,
    data: { division: file.division, currency: file.currency, limitCents: String(limit) },
  });
  return { drainDebtCents: change.kind === 'set' ? change.drainDebt : 0n };
}
