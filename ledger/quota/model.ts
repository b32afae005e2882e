import type { AccountSpec } from './account.ts';
import {
  ancestorsIn,
  debtsBetween,
  type ModelDebt,
  type ModelNode,
  type ModelTree,
  treeLimit,
  treeOwed,
  treeUse,
} from './model-tree.ts';
import type {
  Batch,
  BatchResult,
  Failure,
  StoredTransfer,
  Success,
  TransferContext,
  TransferOutcome,
  TransferRequest,
} from './transfer.ts';

/**
 * The ledger's meaning, written a second time and in another way: it keeps no balance, only the list of what happened, and
 * adds it up whenever it is asked. Slow and plain; property tests let it judge the SQL.
 */
export interface LedgerModel {
  readonly accounts: Map<string, AccountSpec>;
  readonly limits: Map<string, bigint | undefined>;
  /** What was asked for. */
  log: readonly StoredTransfer[];
  tree: ModelTree;
  /** What followed of it in the tree. */
  debts: readonly ModelDebt[];
}

export interface ModelBalance {
  readonly debitsPending: bigint;
  readonly debitsPosted: bigint;
  readonly creditsPending: bigint;
  readonly creditsPosted: bigint;
  readonly drainDebt: bigint;
  readonly lenderDebt: bigint;
}

export function newModel(accounts: readonly AccountSpec[]): LedgerModel {
  return {
    accounts: new Map(accounts.map((account) => [account.id, account])),
    limits: new Map(accounts.map((account) => [account.id, account.limit])),
    log: [],
    tree: new Map(),
    debts: [],
  };
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n);
}

function resolutionIn(log: readonly StoredTransfer[], pendingId: string): StoredTransfer | undefined {
  return log.find((entry) => entry.pendingId === pendingId);
}

function counters(log: readonly StoredTransfer[], account: string) {
  const resolved = new Set(log.map((entry) => entry.pendingId));
  const open = log.filter((entry) => entry.kind === 'pending' && !resolved.has(entry.id));
  const moved = log.filter((entry) => entry.kind === 'direct' || entry.kind === 'post');
  const debited = (entries: readonly StoredTransfer[]) =>
    sum(entries.filter((entry) => entry.debit === account).map((entry) => entry.amount));
  const credited = (entries: readonly StoredTransfer[]) =>
    sum(entries.filter((entry) => entry.credit === account).map((entry) => entry.amount));
  return {
    debitsPending: debited(open),
    debitsPosted: debited(moved),
    creditsPending: credited(open),
    creditsPosted: credited(moved),
  };
}

/** What an account has out on its own side, and what of it could still come back. */
function standing(model: LedgerModel, log: readonly StoredTransfer[], account: string) {
  const c = counters(log, account);
  const kind = model.accounts.get(account)!.kind;
  const out =
    kind === 'capacity' || kind === 'budget'
      ? { held: c.debitsPending, posted: c.debitsPosted, back: c.creditsPosted, promised: c.creditsPending }
      : { held: c.creditsPending, posted: c.creditsPosted, back: c.debitsPosted, promised: c.debitsPending };
  return { use: out.held + out.posted - out.back, returnable: out.posted - out.back - out.promised };
}

/** What counts against the account's limit: its own, and what its children owe it. */
function useIn(model: LedgerModel, log: readonly StoredTransfer[], account: string): bigint {
  return treeUse(model.tree, account, leafUseIn(model, log));
}

function leafUseIn(model: LedgerModel, log: readonly StoredTransfer[]): (account: string) => bigint {
  const known = new Map<string, bigint>();
  return (account) => {
    const use = known.get(account) ?? standing(model, log, account).use;
    known.set(account, use);
    return use;
  };
}

export function modelBalance(model: LedgerModel, account: string): ModelBalance {
  const limit = model.limits.get(account);
  const over = limit === undefined ? 0n : useIn(model, model.log, account) - limit;
  const own = counters(model.log, account);
  const passed = (side: 'child' | 'parent', sign: bigint) =>
    sum(
      model.debts
        .filter((debt) => debt[side] === account && debt.amount * sign > 0n)
        .map(({ amount }) => amount * sign),
    );
  return {
    ...own,
    debitsPosted: own.debitsPosted + passed('child', 1n) + passed('parent', -1n),
    creditsPosted: own.creditsPosted + passed('parent', 1n) + passed('child', -1n),
    drainDebt: over > 0n ? over : 0n,
    lenderDebt: treeOwed(model.tree, account, leafUseIn(model, model.log)),
  };
}

export function modelSetLimit(model: LedgerModel, account: string, limit: bigint | undefined): void {
  model.limits.set(account, limit);
}

/** The whole tree anew; `setQuotaTree` of accounts that are all given. */
export function modelSetTree(model: LedgerModel, nodes: readonly ModelNode[]): void {
  const next: ModelTree = new Map(nodes.map((node) => [node.account, node]));
  const leafUse = leafUseIn(model, model.log);
  model.debts = [...model.debts, ...debtsBetween([model.tree, leafUse], [next, leafUse])];
  model.tree = next;
  for (const { account } of nodes) model.limits.set(account, treeLimit(next, account));
}

/** Takes over what happened since, with the debts that follow of it. */
function proceed(model: LedgerModel, log: readonly StoredTransfer[]): void {
  const { tree } = model;
  const debts = debtsBetween([tree, leafUseIn(model, model.log)], [tree, leafUseIn(model, log)]);
  model.debts = [...model.debts, ...debts.filter(({ amount }) => amount !== 0n)];
  model.log = log;
}

export function modelExecute(model: LedgerModel, batches: readonly Batch[]): readonly BatchResult[] {
  return batches.map((batch) => {
    const { log, debts } = model;
    const outcomes: Success[] = [];
    for (const [index, transfer] of batch.transfers.entries()) {
      const outcome = modelTransfer(model, batch.context, transfer);
      if (outcome.kind !== 'ok' && outcome.kind !== 'exists') {
        model.log = log;
        model.debts = debts;
        return { ok: false, index, outcome: outcome as Failure };
      }
      outcomes.push({ kind: outcome.kind });
    }
    const records = batch.transfers.map(({ id }) => {
      const entry = model.log.find((other) => other.id === id)!;
      return {
        id,
        kind: entry.kind,
        debit: entry.debit,
        credit: entry.credit,
        amount: String(entry.amount),
        ...(entry.pendingId === undefined ? {} : { pendingId: entry.pendingId }),
      };
    });
    return { ok: true, outcomes, records };
  });
}

function modelTransfer(model: LedgerModel, context: TransferContext, asked: TransferRequest): TransferOutcome {
  const before = model.log.find((entry) => entry.id === asked.id);
  if (before !== undefined) return { kind: modelRepeat(model, before, asked, context) } as TransferOutcome;
  return asked.kind === 'pending' || asked.kind === 'direct'
    ? modelOpen(model, context, asked)
    : modelResolve(model, context, asked);
}

function modelRepeat(
  model: LedgerModel,
  before: StoredTransfer,
  asked: TransferRequest,
  context: TransferContext,
): TransferOutcome['kind'] {
  const wanted = asEntry(model, asked, context, before);
  const fields = [
    ['tenant', 'tenant'],
    ['kind', 'kind'],
    ['pendingId', 'pending_id'],
    ['debit', 'debit'],
    ['credit', 'credit'],
    ['amount', 'amount'],
    ['expiresAtMs', 'expiry'],
    ['bookingId', 'booking'],
    ['attempt', 'attempt'],
  ] as const;
  const differing = fields.find(([field]) => before[field] !== wanted[field]);
  return differing === undefined ? 'exists' : `exists_with_different_${differing[1]}`;
}

/** The row that `asked` would become; a resolution takes its accounts and default amount from its pending transfer. */
function asEntry(
  model: LedgerModel,
  asked: TransferRequest,
  context: TransferContext,
  before?: StoredTransfer,
): StoredTransfer {
  const who = { id: asked.id, tenant: context.tenant, bookingId: context.bookingId, attempt: context.attempt };
  if (asked.kind === 'pending' || asked.kind === 'direct') {
    const expiresAtMs = asked.kind === 'pending' ? asked.expiresAtMs : undefined;
    const { kind, debit, credit, amount } = asked;
    return { ...who, kind, pendingId: undefined, debit, credit, amount, expiresAtMs };
  }
  const pending = model.log.find((entry) => entry.id === asked.pendingId) ?? before;
  const given = asked.kind === 'post' ? asked.amount : undefined;
  return {
    ...who,
    kind: asked.kind,
    pendingId: asked.pendingId,
    debit: pending?.debit ?? '',
    credit: pending?.credit ?? '',
    amount: given ?? pending?.amount ?? 0n,
    expiresAtMs: undefined,
  };
}

function modelOpen(
  model: LedgerModel,
  context: TransferContext,
  asked: Extract<TransferRequest, { readonly kind: 'pending' | 'direct' }>,
): TransferOutcome {
  if (asked.debit === asked.credit) return { kind: 'same_account' };
  const sides = [asked.debit, asked.credit];
  for (const id of sides) {
    if (model.accounts.get(id)?.tenant !== context.tenant) return { kind: 'account_not_found', account: id };
  }
  for (const id of sides) {
    if (model.accounts.get(id)!.kind === 'group') return { kind: 'account_of_a_group', account: id };
  }
  if (model.accounts.get(asked.debit)!.unit !== model.accounts.get(asked.credit)!.unit) {
    return { kind: 'different_units' };
  }
  const after = [...model.log, asEntry(model, asked, context)];
  for (const id of [...sides, ...ancestorsIn(model.tree, asked.credit), ...ancestorsIn(model.tree, asked.debit)]) {
    const limit = model.limits.get(id);
    if (limit === undefined) continue;
    const was = useIn(model, model.log, id);
    const will = useIn(model, after, id);
    if (will > limit && will > was) {
      return { kind: 'exceeds_limit', account: id, shortfall: was > limit ? will - was : will - limit };
    }
  }
  for (const id of sides) {
    const { returnable } = standing(model, after, id);
    if (returnable < 0n) return { kind: 'exceeds_posted', account: id, shortfall: -returnable };
  }
  proceed(model, after);
  return { kind: 'ok' };
}

function modelResolve(
  model: LedgerModel,
  context: TransferContext,
  asked: Extract<TransferRequest, { readonly kind: 'post' | 'void' }>,
): TransferOutcome {
  const pending = model.log.find((entry) => entry.id === asked.pendingId && entry.kind === 'pending');
  if (pending?.tenant !== context.tenant || pending.bookingId !== context.bookingId) {
    return { kind: 'pending_not_found' };
  }
  const resolved = resolutionIn(model.log, pending.id)?.kind;
  if (resolved === 'post') return { kind: 'already_posted' };
  if (resolved === 'void') return { kind: 'already_voided' };
  if (resolved === 'expire') return { kind: 'expired' };
  const late = pending.expiresAtMs !== undefined && context.nowMs >= pending.expiresAtMs;
  if (asked.kind === 'post' && late) return { kind: 'expired' };
  const entry = asEntry(model, asked, context);
  if (entry.amount > pending.amount) return { kind: 'exceeds_pending', pending: pending.amount };
  proceed(model, [...model.log, entry]);
  return { kind: 'ok' };
}

/** Ids of the pending transfers given back. */
export function modelExpire(model: LedgerModel, nowMs: number, limit: number): readonly string[] {
  const due = modelDue(model, nowMs).slice(0, limit);
  modelExpireOf(model, due);
  return due;
}

/** Ids of the pending transfers whose time-out has passed, in the order in which they are given back. */
export function modelDue(model: LedgerModel, nowMs: number): readonly string[] {
  return model.log
    .filter((entry) => entry.kind === 'pending' && resolutionIn(model.log, entry.id) === undefined)
    .filter((entry) => entry.expiresAtMs !== undefined && entry.expiresAtMs <= nowMs)
    .sort((a, b) => a.expiresAtMs! - b.expiresAtMs! || (a.id < b.id ? -1 : 1))
    .map(({ id }) => id);
}

export function modelExpireOf(model: LedgerModel, ids: readonly string[]): void {
  for (const pendingId of ids) {
    const pending = model.log.find(({ id }) => id === pendingId)!;
    const id = `${pendingId}:expire`;
    proceed(model, [...model.log, { ...pending, id, kind: 'expire', pendingId, expiresAtMs: undefined }]);
  }
}
