import { expect, test } from 'vitest';
import { modelExecute, newModel } from '../../../../ledger/quota/model.ts';
import { caseAccounts } from '../../../support/ledger-cases.ts';
import { hasOrder, type Seen } from '../../../support/ledger-orders.ts';
import { modelBalances } from '../../../support/ledger-step.ts';

const [capacity, quota] = caseAccounts().map((account) => account.id) as [string, string];

function taking(id: string, amount: bigint): Seen['step'] {
  const context = { tenant: 'acme', nowMs: 0 };
  return {
    kind: 'execute',
    batches: [{ context, transfers: [{ kind: 'direct', id, debit: capacity, credit: quota, amount }] }],
  };
}

const died = Array.from({ length: 7 }, (_, i): Seen => {
  return { step: taking(`t${i}`, BigInt(i + 1)), from: i, until: Number.POSITIVE_INFINITY, got: undefined };
});

test('of callers who all died while they committed, any may have had their way: the right ones are found, whoever they are', () => {
  for (const done of [[], [0], [1, 3], [0, 1, 2, 3], [4]]) {
    const model = newModel(caseAccounts());
    for (const i of done) modelExecute(model, (died[i]!.step as Extract<Seen['step'], { kind: 'execute' }>).batches);
    expect(hasOrder(newModel(caseAccounts()), died, modelBalances(model)), `${done}`).toBe(true);
  }
});

test('balances that no order explains are seen', () => {
  const model = newModel(caseAccounts());
  modelExecute(model, [
    {
      context: { tenant: 'acme', nowMs: 0 },
      transfers: [{ kind: 'direct', id: 'x', debit: capacity, credit: quota, amount: 20n }],
    },
  ]);
  expect(hasOrder(newModel(caseAccounts()), died.slice(0, 3), modelBalances(model))).toBe(false);
});
