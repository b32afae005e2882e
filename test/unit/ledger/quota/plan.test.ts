import { describe, expect, test } from 'vitest';
import { type Balance, capacityAccount, quotaAccount, useOf } from '../../../../ledger/quota/account.ts';
import {
  type LedgerModel,
  modelBalance,
  modelExecute,
  modelSetTree,
  newModel,
} from '../../../../ledger/quota/model.ts';
import { type NodeLimits, nodeLimits } from '../../../../ledger/quota/node-limits.ts';
import { type LedgerView, planBatches } from '../../../../ledger/quota/plan.ts';
import type { QuotaNode } from '../../../../ledger/quota/quota-nodes.ts';
import type { Batch, TransferRequest } from '../../../../ledger/quota/transfer.ts';
import {
  CASE_START_MS,
  caseAccounts,
  ledgerCases,
  modelNodes,
  seededRandom,
  someTree,
  treeCaseAccounts,
} from '../../../support/ledger-cases.ts';

function emptyView(accounts = caseAccounts(), tree: readonly NodeLimits[] = []): LedgerView {
  const nodes = new Map(tree.map((node) => [node.account, node]));
  const balances = accounts.map(
    ({ id, tenant, kind, unit, limit }): Balance => ({
      id,
      tenant,
      kind,
      unit,
      limit: nodes.has(id) ? nodes.get(id)!.limit : limit,
      parent: nodes.get(id)?.parent,
      local: nodes.get(id)?.local,
      drainDebt: 0n,
      lenderDebt: 0n,
      debitsPending: 0n,
      debitsPosted: 0n,
      creditsPending: 0n,
      creditsPosted: 0n,
    }),
  );
  return {
    balances: new Map(balances.map((balance) => [balance.id, balance])),
    transfers: new Map(),
    resolutions: new Map(),
  };
}

const [capacity, quota] = caseAccounts().map((account) => account.id) as [string, string];
const context = { tenant: 'acme', bookingId: 'b', attempt: 1, nowMs: CASE_START_MS };
const batch = (...transfers: readonly TransferRequest[]): Batch => ({ context, transfers });
const pending = (id: string, amount: bigint): TransferRequest => ({
  kind: 'pending',
  id,
  debit: capacity,
  credit: quota,
  amount,
});

/** Whoever of the two is first to do otherwise. */
function compare(view: LedgerView, model: LedgerModel, seed: number, tree: boolean): void {
  for (const step of ledgerCases(seed, 60, { tree })) {
    if (step.kind !== 'execute') continue;
    expect(planBatches(view, step.batches).results).toEqual(modelExecute(model, step.batches));
    for (const [id, balance] of view.balances) {
      const { drainDebt, lenderDebt, debitsPending, debitsPosted, creditsPending, creditsPosted } = balance;
      expect({ drainDebt, lenderDebt, debitsPending, debitsPosted, creditsPending, creditsPosted }).toEqual(
        modelBalance(model, id),
      );
    }
  }
}

describe('planning batches', () => {
  test.each(Array.from({ length: 40 }, (_, i) => 100 + i))(
    'seed %i: the plan is what the model says, and a failed batch leaves no trace',
    (seed) => {
      const [view, model] = [emptyView(), newModel(caseAccounts())];
      compare(view, model, seed, false);
      expect(view.transfers.size).toBe(model.log.length);
    },
  );

  test.each(Array.from({ length: 40 }, (_, i) => 200 + i))(
    'seed %i: and so it is in a quota tree, where transfers between divisions change what two groups use',
    (seed) => {
      const random = seededRandom(seed);
      const nodes = modelNodes(someTree((n) => Math.floor(random() * n)));
      const model = newModel(treeCaseAccounts());
      modelSetTree(model, nodes);
      compare(emptyView(treeCaseAccounts(), nodeLimits(nodes)), model, seed, true);
    },
  );

  test('a batch that fails does not touch what follows', () => {
    const view = emptyView();
    const { results, inserts } = planBatches(view, [
      batch(pending('a', 15n)),
      batch(pending('b', 4n), pending('c', 2n)),
      batch(pending('d', 5n)),
    ]);
    expect(results.map((result) => result.ok)).toEqual([true, false, true]);
    expect(results[1]).toEqual({
      ok: false,
      index: 1,
      outcome: { kind: 'exceeds_limit', account: quota, shortfall: 1n },
    });
    expect(inserts.map((transfer) => transfer.id)).toEqual(['a', 'd']);
    expect(useOf(view.balances.get(quota)!)).toBe(20n);
  });

  test('a transfer may be posted in the batch that opens it, and a failed opening is not found by the next', () => {
    const post: TransferRequest = { kind: 'post', id: 'p', pendingId: 'a', amount: 3n };
    const { results } = planBatches(emptyView(), [
      batch(pending('a', 21n)),
      batch(post),
      batch(pending('a', 5n), post),
    ]);
    expect(results.map((result) => (result.ok ? 'ok' : result.outcome.kind))).toEqual([
      'exceeds_limit',
      'pending_not_found',
      'ok',
    ]);
  });

  describe('of two pools', () => {
    const [first] = caseAccounts();
    const other = capacityAccount('acme', 'other', 'a', 'gpu');
    const accounts = [...caseAccounts(), { ...first!, id: other, pool: 'other' }];
    const direct = (id: string, debit: string, credit: string): TransferRequest => ({
      ...{ kind: 'direct', id, debit, credit },
      amount: 5n,
    });
    const outcomes = (...transfers: readonly TransferRequest[]) => {
      const batches = transfers.map((transfer) => batch(transfer));
      const { results } = planBatches(emptyView(accounts), batches);
      expect(results).toEqual(modelExecute(newModel(accounts), batches));
      return results.map((result) => (result.ok ? 'ok' : result.outcome));
    };

    test('none gets back what another one gave', () => {
      expect(outcomes(direct('a', capacity, quota), direct('b', quota, other))).toEqual([
        'ok',
        { kind: 'exceeds_posted', account: other, shortfall: 5n },
      ]);
    });

    test('none gets back what is promised back to it already', () => {
      const promised: TransferRequest = { kind: 'pending', id: 'c', debit: quota, credit: capacity, amount: 5n };
      expect(
        outcomes(
          direct('a', capacity, quota),
          direct('b', other, quota),
          promised,
          direct('d', quota, capacity),
          direct('e', quota, other),
        ),
      ).toEqual(['ok', 'ok', 'ok', { kind: 'exceeds_posted', account: capacity, shortfall: 5n }, 'ok']);
    });
  });

  test.each([
    ['down', 'd1', 'd2'],
    ['up', 'd2', 'd1'],
  ])('what moves %s between divisions of one path changes what each node owes once', (_way, from, to) => {
    const node = (kind: QuotaNode['kind'], name: string, parent: string | null): QuotaNode => ({
      ...{ kind, name, parent },
      quotas: [
        {
          ...{ pool: 'p', flavour: 'a', resource: 'gpu', nominal: 2n, borrow: null },
          lend: kind === 'group' ? null : 1n,
        },
      ],
    });
    const nodes = modelNodes([
      node('group', 'g0', null),
      node('group', 'g1', 'g0'),
      node('group', 'g2', 'g1'),
      node('division', 'd1', 'g1'),
      node('division', 'd2', 'g2'),
      node('division', 'd3', null),
    ]);
    const model = newModel(treeCaseAccounts());
    modelSetTree(model, nodes);
    const view = emptyView(treeCaseAccounts(), nodeLimits(nodes));
    const [one, two] = [from, to].map((name) => quotaAccount('acme', name, 'p', 'a', 'gpu')) as [string, string];
    for (const [id, debit, credit, amount] of [
      ['taken', capacity, one, 5n],
      ['moved', one, two, 4n],
    ] as const) {
      const batches = [batch({ kind: 'direct', id, debit, credit, amount })];
      expect(planBatches(view, batches).results).toEqual(modelExecute(model, batches));
      for (const account of [one, two, ...nodes.map((each) => each.account)])
        expect(view.balances.get(account)).toMatchObject(modelBalance(model, account));
    }
    expect(useOf(view.balances.get(two)!)).toBe(4n);
  });

  test('a negative amount is a programmer’s mistake, not an outcome', () => {
    expect(() => planBatches(emptyView(), [batch(pending('a', -1n))])).toThrow(/amount/);
    expect(() => planBatches(emptyView(), [batch(pending('', 1n))])).toThrow(/id/);
  });
});
