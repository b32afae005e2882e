import { randomUUID } from 'node:crypto';
import { assert } from '../../core/assert.ts';
import type { Tx } from '../../platform/postgres.ts';
import {
  type AccountSpec,
  BALANCE_COLUMNS,
  type Balance,
  balanceOf,
  ensureAccounts,
  groupAccount,
  owedOf,
  quotaAccount,
  useOf,
} from './account.ts';
import { debtId } from './lender-debt.ts';
import { type AccountNode, type NodeQuota, nodeLimits } from './node-limits.ts';
import { insertTransfers } from './stored-transfers.sql.ts';
import type { StoredTransfer } from './transfer.ts';

/** A group or a division of the quota tree. */
export interface QuotaNode {
  readonly kind: 'group' | 'division';
  readonly name: string;
  /** The group above it; null: a root of its own. A division without a group neither borrows nor lends. */
  readonly parent: string | null;
  /** Flavours and resources that are not here: nothing of its own, and in a group no limit on borrowing and lending. */
  readonly quotas: readonly NodeQuota[];
}

/** A node that uses more than its limit now allows; each release pays it down. */
export interface DrainDebt {
  readonly account: string;
  readonly use: bigint;
  readonly limit: bigint;
  readonly drainDebt: bigint;
}

/** Nodes × (flavour, resource) of a tenant. */
export const MAX_TREE_ACCOUNTS = 100_000;

/**
 * Makes the tenant's quota tree what is given, whatever is in use meanwhile: limits, local parts and parents of all quota and group accounts, with
 * what each node owes its parent by then as entries, in the caller's transaction. Accounts that no node names keep their place with nothing of
 * their own. The nodes were checked: names are unique by kind, parents are groups that are given. What of a pool's capacity nobody has as nominal,
 * the caller adds to its root. Waits for what moves on these accounts, and those who come after it find the new tree.
 */
export async function setQuotaTree(tx: Tx, tenant: string, nodes: readonly QuotaNode[]): Promise<readonly DrainDebt[]> {
  const wanted = accountNodes(tenant, nodes);
  assert(wanted.size <= MAX_TREE_ACCOUNTS, `a quota tree has at most ${MAX_TREE_ACCOUNTS} accounts`);
  await ensureAccounts(
    tx,
    [...wanted.values()].map(({ spec }) => spec),
  );
  const rows = await tx.query(
    `select ${BALANCE_COLUMNS} from accounts where tenant = $1 and kind in ('quota', 'group') order by account_id for no key update`,
    [tenant],
  );
  const balances = new Map(rows.map(balanceOf).map((balance) => [balance.id, balance]));
  const kept = [...balances.values()].map((balance): AccountNode => {
    const node = wanted.get(balance.id)?.node;
    return node ?? { account: balance.id, parent: balance.parent, nominal: 0n, borrow: 0n, lend: null };
  });
  const { next, entries } = regrown(balances, kept, tenant);
  await writeNodes(
    tx,
    [...next.values()].filter((balance) => isChanged(at(balances, balance.id), balance)),
  );
  await insertTransfers(tx, entries);
  return [...next.values()].flatMap((balance) =>
    balance.drainDebt === 0n || balance.limit === undefined
      ? []
      : [{ account: balance.id, use: useOf(balance), limit: balance.limit, drainDebt: balance.drainDebt }],
  );
}

interface Wanted {
  readonly node: AccountNode;
  readonly spec: AccountSpec;
}

/** Whoever is in a tree can borrow whatever its tenant has quotas of, so that it has an account of each. */
function accountNodes(tenant: string, nodes: readonly QuotaNode[]): ReadonlyMap<string, Wanted> {
  const cells = new Map(nodes.flatMap(({ quotas }) => quotas).map((quota) => [cellOf(quota), quota]));
  const wanted = new Map<string, Wanted>();
  for (const { kind, name, parent, quotas } of nodes) {
    const own = new Map(quotas.map((quota) => [cellOf(quota), quota]));
    const isAlone = kind === 'division' && parent === null;
    for (const [cell, { pool, flavour, resource }] of isAlone ? own : cells) {
      const idOf = kind === 'group' ? groupAccount : quotaAccount;
      const account = idOf(tenant, name, pool, flavour, resource);
      const { nominal, borrow, lend } = own.get(cell) ?? { nominal: 0n, borrow: null, lend: null };
      wanted.set(account, {
        node: {
          account,
          parent: parent === null ? undefined : groupAccount(tenant, parent, pool, flavour, resource),
          nominal,
          borrow,
          lend,
        },
        spec: {
          id: account,
          tenant,
          kind: kind === 'group' ? 'group' : 'quota',
          ...(kind === 'division' ? { division: name } : {}),
          pool,
          flavour,
          unit: resource,
          limit: 0n,
        },
      });
    }
  }
  return wanted;
}

function cellOf({ pool, flavour, resource }: NodeQuota): string {
  return `${pool}/${flavour}/${resource}`;
}

interface Regrown {
  readonly next: ReadonlyMap<string, Balance>;
  readonly entries: readonly StoredTransfer[];
}

/** The accounts in their new places. What a division uses stays; what a group uses is what its children owe it then. */
function regrown(balances: ReadonlyMap<string, Balance>, nodes: readonly AccountNode[], tenant: string): Regrown {
  const next = new Map(balances);
  const entries: StoredTransfer[] = [];
  const cause = `quota-tree:${randomUUID()}`;
  const move = (kind: 'borrow' | 'repay', debit: string, credit: string, amount: bigint) => {
    if (amount === 0n) return;
    const from = at(next, debit);
    next.set(debit, { ...from, debitsPosted: from.debitsPosted + amount });
    const to = at(next, credit);
    next.set(credit, { ...to, creditsPosted: to.creditsPosted + amount });
    const id = debtId(cause, entries.length + 1);
    entries.push({ ...NOBODY, id, tenant, kind, debit, credit, amount });
  };
  // Who leaves a group owes it nothing any more, before it is seen what the group itself owes.
  for (const { account, parent } of nodes) {
    const before = at(next, account);
    if (before.parent === undefined || before.parent === parent) continue;
    move('repay', before.parent, account, before.lenderDebt);
    next.set(account, { ...at(next, account), parent: undefined, local: undefined, lenderDebt: 0n });
  }
  for (const { account, parent, limit, local } of nodeLimits(nodes)) {
    const before = at(next, account);
    const lenderDebt = owedOf({ ...before, local });
    if (parent !== undefined) {
      move('borrow', account, parent, max(0n, lenderDebt - before.lenderDebt));
      move('repay', parent, account, max(0n, before.lenderDebt - lenderDebt));
    }
    const after: Balance = { ...at(next, account), parent, limit, local, lenderDebt };
    next.set(account, { ...after, drainDebt: limit === undefined ? 0n : max(0n, useOf(after) - limit) });
  }
  return { next, entries };
}

const NOBODY = { bookingId: undefined, attempt: undefined, pendingId: undefined, expiresAtMs: undefined } as const;

function at(balances: ReadonlyMap<string, Balance>, account: string): Balance {
  const balance = balances.get(account);
  assert(balance !== undefined, `the account ${account} is there`);
  return balance;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function isChanged(before: Balance, after: Balance): boolean {
  const fields = ['parent', 'limit', 'local', 'drainDebt', 'lenderDebt', 'debitsPosted', 'creditsPosted'] as const;
  return fields.some((field) => before[field] !== after[field]);
}

/** In one statement: in between no row would hold its own constraints. */
async function writeNodes(tx: Tx, rows: readonly Balance[]): Promise<void> {
  if (rows.length === 0) return;
  await tx.execute(
    `update accounts a set parent_account = n.parent, local_limit = n.local, net_limit = n.net, drain_debt = n.debt, lender_debt = n.owed,
       debits_posted = n.d, credits_posted = n.c
     from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
       as n (id, parent, local, net, debt, owed, d, c)
     where a.account_id = n.id`,
    [
      rows.map((b) => b.id),
      rows.map((b) => b.parent ?? null),
      rows.map((b) => b.local?.toString() ?? null),
      rows.map((b) => b.limit?.toString() ?? null),
      rows.map((b) => b.drainDebt.toString()),
      rows.map((b) => b.lenderDebt.toString()),
      rows.map((b) => b.debitsPosted.toString()),
      rows.map((b) => b.creditsPosted.toString()),
    ],
  );
}
