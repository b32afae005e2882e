import type { Tx } from '../platform/postgres.ts';
import { applyDocuments } from './apply-documents.ts';
import type { Actor } from './document-store.ts';
import type { MachineStates } from './machine-states.ts';
import type { BudgetFile, PoolFile } from './pool-file.ts';

/** A pool as stored: the file it was made of, its version, and whether it takes work. */
export interface StoredPool {
  readonly version: bigint;
  readonly file: PoolFile;
  readonly cordoned: boolean;
  readonly draining: boolean;
  readonly machines: MachineStates;
}

export type PoolChange =
  | { readonly kind: 'created' | 'replaced' | 'unchanged'; readonly version: bigint }
  /** Somebody changed it since the version given. */
  | { readonly kind: 'stale'; readonly version: bigint };

export async function loadPool(tx: Tx, tenant: string, name: string): Promise<StoredPool | undefined> {
  const rows = await tx.query<StoredPool>(
    'select version, file, cordoned, draining, machines from pools where tenant = $1 and pool = $2',
    [tenant, name],
  );
  return rows[0];
}

/** Makes or changes one pool. `ifVersion` undefined: whatever is there is replaced. */
export async function applyPool(tx: Tx, by: Actor, file: PoolFile, ifVersion?: bigint): Promise<PoolChange> {
  const applied = await applyDocuments(tx, by, [{ document: file, ...(ifVersion === undefined ? {} : { ifVersion }) }]);
  if (applied.kind === 'stale') return { kind: 'stale', version: applied.version };
  const [change] = applied.changes;
  if (change === undefined || change.change === 'removed') throw new Error('one document was applied');
  return { kind: change.change, version: change.version };
}

/** Sets what a division may spend in a currency. */
export async function applyBudget(tx: Tx, by: Actor, file: BudgetFile): Promise<{ readonly drainDebtCents: bigint }> {
  const applied = await applyDocuments(tx, by, [{ document: file }]);
  const debts = applied.kind === 'applied' ? applied.drainDebt : [];
  return { drainDebtCents: debts.reduce((sum, debt) => (debt.kind === 'budget' ? sum + debt.amount : sum), 0n) };
}
