import { type Balance, placementAccounts, useOf } from '../../ledger/quota/account.ts';
import { planBatches, planExpiry } from '../../ledger/quota/plan.ts';
import { type Batch, type BatchResult, expiryId, type StoredTransfer } from '../../ledger/quota/transfer.ts';

/** The ledger in maps. What a call does is worked out by the real planBatches; Postgres is left out, and its constraints with it. */
export class MemoryLedger {
  readonly balances = new Map<string, Balance>();
  readonly transfers = new Map<string, StoredTransfer>();
  readonly resolutions = new Map<string, StoredTransfer>();
  /** What was inserted, in order; nothing is ever taken out. */
  readonly log: StoredTransfer[] = [];

  open(of: Parameters<typeof placementAccounts>[0]): void {
    for (const { id, tenant, kind, unit, limit } of placementAccounts(of)) {
      if (this.balances.has(id)) continue;
      const counters = { debitsPending: 0n, debitsPosted: 0n, creditsPending: 0n, creditsPosted: 0n };
      const tree = { parent: undefined, local: undefined, lenderDebt: 0n };
      const balance = { id, tenant, kind, unit, limit, drainDebt: 0n, ...tree, ...counters };
      this.balances.set(id, balance);
    }
  }

  setLimit(id: string, limit: bigint | undefined): void {
    const balance = this.balances.get(id)!;
    const over = limit === undefined ? 0n : useOf(balance) - limit;
    this.balances.set(id, { ...balance, limit, drainDebt: over > 0n ? over : 0n });
  }

  execute(batches: readonly Batch[]): readonly BatchResult[] {
    const plan = planBatches(this, batches);
    this.log.push(...plan.inserts);
    return plan.results;
  }

  /** Oldest first, as the sweep takes them. */
  expire(nowMs: number, limit: number): readonly StoredTransfer[] {
    const due = [...this.transfers.values()]
      .filter((one) => one.kind === 'pending' && !this.resolutions.has(one.id))
      .filter((one) => one.expiresAtMs !== undefined && one.expiresAtMs <= nowMs)
      .sort((a, b) => a.expiresAtMs! - b.expiresAtMs! || (a.id < b.id ? -1 : 1))
      .slice(0, limit);
    const { inserts } = planExpiry(this, due, expiryId);
    this.log.push(...inserts);
    return inserts;
  }
}
