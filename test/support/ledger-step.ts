import { type AccountSpec, readBalances, setLimit } from '../../ledger/quota/account.ts';
import { executeMany, expire } from '../../ledger/quota/execute.sql.ts';
import {
  type LedgerModel,
  type ModelBalance,
  modelBalance,
  modelExecute,
  modelExpire,
  modelSetLimit,
  modelSetTree,
} from '../../ledger/quota/model.ts';
import { setQuotaTree } from '../../ledger/quota/quota-nodes.ts';
import type { BatchResult, TransferOutcome } from '../../ledger/quota/transfer.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { type LedgerCase, modelNodes } from './ledger-cases.ts';

/** What the ledger answered to a step, and what the model says that it has to. */
export interface Taken {
  readonly got: unknown;
  readonly expected: unknown;
  readonly outcomes: readonly TransferOutcome['kind'][];
}

export async function takeStep(db: Pick<Database, 'asEngine'>, model: LedgerModel, step: LedgerCase): Promise<Taken> {
  const got = await db.asEngine((tx) => applyStep(tx, step));
  return { got, expected: expectStep(model, step), outcomes: step.kind === 'execute' ? outcomesOf(got) : [] };
}

/** In one transaction. */
export async function applyStep(tx: Tx, step: LedgerCase): Promise<readonly unknown[]> {
  switch (step.kind) {
    case 'execute':
      return executeMany(tx, step.batches);
    case 'expire':
      return (await expire(tx, step.nowMs, step.limit)).map(({ transfer }) => transfer.pendingId);
    case 'set_limit':
      await setLimit(tx, step.account, step.limit);
      return [];
    case 'set_tree':
      return (await setQuotaTree(tx, 'acme', step.nodes)).map(({ account, drainDebt }) => ({ account, drainDebt }));
  }
}

export function expectStep(model: LedgerModel, step: LedgerCase): readonly unknown[] {
  switch (step.kind) {
    case 'execute':
      return modelExecute(model, step.batches);
    case 'expire':
      return modelExpire(model, step.nowMs, step.limit);
    case 'set_limit':
      modelSetLimit(model, step.account, step.limit);
      return [];
    case 'set_tree':
      modelSetTree(model, modelNodes(step.nodes));
      return [...model.tree.keys()]
        .sort()
        .map((account) => ({ account, drainDebt: modelBalance(model, account).drainDebt }))
        .filter(({ drainDebt }) => drainDebt > 0n);
  }
}

export function outcomesOf(results: readonly unknown[]): readonly TransferOutcome['kind'][] {
  return (results as readonly BatchResult[]).flatMap((result) =>
    result.ok ? result.outcomes.map(({ kind }) => kind) : [result.outcome.kind],
  );
}

/** Account → balance, as Postgres has it. */
export async function balancesOf(
  tx: Tx,
  accounts: readonly Pick<AccountSpec, 'id'>[],
): Promise<ReadonlyMap<string, ModelBalance>> {
  const balances = await readBalances(
    tx,
    accounts.map(({ id }) => id),
  );
  return new Map(
    balances.map(({ id, drainDebt, lenderDebt, debitsPending, debitsPosted, creditsPending, creditsPosted }) => [
      id,
      { debitsPending, debitsPosted, creditsPending, creditsPosted, drainDebt, lenderDebt },
    ]),
  );
}

export function modelBalances(model: LedgerModel): ReadonlyMap<string, ModelBalance> {
  return new Map([...model.accounts.keys()].map((id) => [id, modelBalance(model, id)]));
}
