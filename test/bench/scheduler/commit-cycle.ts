import { assert } from '../../../core/assert.ts';
import {
  type AccountSpec,
  capacityAccount,
  ensureAccounts,
  quotaAccount,
  readBalances,
} from '../../../ledger/quota/account.ts';
import { executeMany } from '../../../ledger/quota/execute.sql.ts';
import type { Batch } from '../../../ledger/quota/transfer.ts';
import { type BenchDatabase, TENANT } from '../database.ts';
import type { Quota } from './bounds.ts';
import { KUEUE_FLAVOUR, KUEUE_RESOURCE } from './kueue-generators.ts';
import type { Work } from './work.ts';

/** A work's run number `attempt`, from 1. */
export interface Attempt {
  readonly work: Work;
  readonly attempt: number;
}

export interface Released extends Attempt {
  /** It waits again. */
  readonly evicted: boolean;
}

/** What became true since the last commit, in the order in which it has to be taken. */
export interface CycleChanges {
  readonly released: readonly Released[];
  readonly booked: readonly Attempt[];
}

/** Makes a cycle's decisions durable, all in one fenced transaction: the seam at which another way to commit takes its place. */
export type CommitCycle = (changes: CycleChanges, nowMs: number) => Promise<void>;

/**
 * The ledger alone. What is in: for each booking a pending transfer from its cohort's capacity to its queue's quota, both limits held by the
 * database, and its void when the work ends or is evicted; all of a cycle in one transaction that reads the leader's epoch FOR SHARE, with
 * `synchronous_commit` as `merit start` sets it. What is not: the booking's row and its transitions, money, audit events, attempts,
 * the peers, the provider.
 */
export function ledgerCommit({ db, epoch }: BenchDatabase): CommitCycle {
  return async ({ released, booked }, nowMs) => {
    const batches: Batch[] = [];
    for (const one of released) batches.push(batchOf(one, nowMs, 'void'));
    for (const one of booked) batches.push(batchOf(one, nowMs, 'pending'));
    const results = await db.asLeader(epoch, (tx) => executeMany(tx, batches));
    for (const [at, result] of results.entries())
      assert(result.ok, `the ledger takes ${batches[at]!.transfers[0]!.id}`);
  };
}

function batchOf({ work, attempt }: Attempt, nowMs: number, kind: 'pending' | 'void'): Batch {
  const id = `${work.id}-${attempt}`;
  const context = { tenant: TENANT, bookingId: work.id, attempt, nowMs };
  if (kind === 'void') return { context, transfers: [{ kind, id: `${id}-void`, pendingId: id }] };
  const { capacity, quota } = accountsOf(work);
  return { context, transfers: [{ kind, id, debit: capacity, credit: quota, amount: BigInt(work.askMilli) }] };
}

function accountsOf({ root, queue }: { readonly root: string; readonly queue: string }) {
  return {
    capacity: capacityAccount(TENANT, root, KUEUE_FLAVOUR, KUEUE_RESOURCE),
    quota: quotaAccount(TENANT, queue, root, KUEUE_FLAVOUR, KUEUE_RESOURCE),
  };
}

/** A capacity account a cohort, limited to the sum of its nominal quotas; a quota account a queue, to nominal and its borrowing limit. */
export async function openAccounts({ db, epoch }: BenchDatabase, quotas: readonly Quota[]): Promise<void> {
  const specs = new Map<string, AccountSpec>();
  const common = { tenant: TENANT, flavour: KUEUE_FLAVOUR, unit: KUEUE_RESOURCE };
  for (const { queue, root, nominalMilli, borrowMilli } of quotas) {
    const { capacity, quota } = accountsOf({ root, queue });
    const before = specs.get(capacity)?.limit ?? 0n;
    specs.set(capacity, {
      ...common,
      id: capacity,
      kind: 'capacity',
      pool: root,
      limit: before + BigInt(nominalMilli),
    });
    const limit = BigInt(nominalMilli + borrowMilli);
    specs.set(quota, { ...common, id: quota, kind: 'quota', division: queue, pool: root, limit });
  }
  await db.asLeader(epoch, (tx) => ensureAccounts(tx, [...specs.values()]));
}

/** After all work: every account is back at nothing, and there are as many transfers as there have to be. */
export async function checkLedger({ db }: BenchDatabase, quotas: readonly Quota[], transfers: number): Promise<void> {
  await db.asEngine(async (tx) => {
    const ids = quotas.flatMap((quota) => Object.values(accountsOf(quota)));
    for (const balance of await readBalances(tx, [...new Set(ids)]))
      assert(balance.debitsPending === 0n && balance.creditsPending === 0n, `${balance.id} holds nothing any more`);
    const rows = await tx.query<{ count: bigint }>('select count(*) as count from transfers');
    assert(rows[0]!.count === BigInt(transfers), `there are ${rows[0]!.count} transfers, not ${transfers}`);
  });
}
