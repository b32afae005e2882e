import { describe, expect, test } from 'vitest';
import {
  type Balance,
  capacityAccount,
  groupAccount,
  owedOf,
  quotaAccount,
  useOf,
} from '../../../../ledger/quota/account.ts';
import { type NodeLimits, nodeLimits } from '../../../../ledger/quota/node-limits.ts';
import { type LedgerView, planBatches, planExpiry } from '../../../../ledger/quota/plan.ts';
import type { QuotaNode } from '../../../../ledger/quota/quota-nodes.ts';
import { expiryId, type StoredTransfer, type TransferRequest } from '../../../../ledger/quota/transfer.ts';
import type { PlannerConfig, QuotaInput } from '../../../../pools/planner-input.ts';
import { QuotaTree } from '../../../../pools/quota-tree.ts';
import { TreeUsage } from '../../../../pools/tree-usage.ts';
import { modelNodes, seededRandom, someTree } from '../../../support/ledger-cases.ts';

/** The planner's tree and the ledger's are two programs: what one plans the other has to take. */

const DIVISIONS = ['d1', 'd2', 'd3'] as const;
const CAPACITY = capacityAccount('acme', 'p', 'a', 'gpu');
const context = { tenant: 'acme', nowMs: 0 };
const divisionAccount = (name: string) => quotaAccount('acme', name, 'p', 'a', 'gpu');

function viewOf(limits: readonly NodeLimits[]): LedgerView {
  const zero = { debitsPending: 0n, debitsPosted: 0n, creditsPending: 0n, creditsPosted: 0n, drainDebt: 0n };
  const of = { ...zero, tenant: 'acme', unit: 'gpu', lenderDebt: 0n };
  const balances = limits.map(
    ({ account, parent, limit, local }): Balance => ({
      ...of,
      id: account,
      kind: account.startsWith('group:') ? 'group' : 'quota',
      parent,
      limit,
      local,
    }),
  );
  const capacity: Balance = {
    ...of,
    id: CAPACITY,
    kind: 'capacity',
    parent: undefined,
    limit: undefined,
    local: undefined,
  };
  return {
    balances: new Map([capacity, ...balances].map((balance) => [balance.id, balance])),
    transfers: new Map(),
    resolutions: new Map(),
  };
}

function plannerTree(nodes: readonly QuotaNode[]): QuotaTree {
  const quota = ({ quotas }: QuotaNode): readonly QuotaInput[] =>
    quotas.map(({ nominal, borrow, lend }) => ({
      flavour: 'a',
      resource: 'gpu',
      nominalMilli: Number(nominal),
      borrowMilli: borrow === null ? null : Number(borrow),
      lendMilli: lend === null ? null : Number(lend),
    }));
  const of = (kind: QuotaNode['kind']) => nodes.filter((node) => node.kind === kind);
  const config = {
    flavours: [{ id: 'a', capacity: {} }],
    groups: of('group').map((node) => ({ name: node.name, parent: node.parent, weightMilli: 1, quota: quota(node) })),
    divisions: of('division').map((node) => ({
      name: node.name,
      group: node.parent,
      weightMilli: 1,
      quota: quota(node),
    })),
  };
  return new QuotaTree(config as unknown as PlannerConfig);
}

interface Held {
  readonly id: string;
  readonly division: (typeof DIVISIONS)[number];
  readonly amount: number;
}

describe('the ledger’s tree and the planner’s', () => {
  test.each(Array.from({ length: 150 }, (_, i) => i + 1))(
    'seed %i: what fits, and what each node uses, is the same',
    (seed) => {
      const random = seededRandom(seed);
      const below = (n: number) => Math.floor(random() * n);
      const nodes = someTree(below);
      const tree = plannerTree(nodes);
      const usage = new TreeUsage(tree);
      const view = viewOf(nodeLimits(modelNodes(nodes)));
      const held: Held[] = [];
      const take = (...transfers: readonly TransferRequest[]) =>
        planBatches(view, [{ context, transfers }]).results[0]!;
      for (let step = 0; step < 60; step++) {
        const division = DIVISIONS[below(3)]!;
        const amount = 1 + below(9);
        if (held.length === 0 || random() < 0.6) {
          const fits = amount <= usage.available(tree.division(division)!, 0);
          const id = `t${step}`;
          const credit = divisionAccount(division);
          const result = take({ kind: 'pending', id, debit: CAPACITY, credit, amount: BigInt(amount) });
          expect(result.ok, `step ${step}: ${amount} for ${division}`).toBe(fits);
          if (fits) {
            usage.charge(tree.division(division)!, { cells: [0], amounts: [amount] });
            held.push({ id, division, amount });
          }
        } else {
          const [gone] = held.splice(below(held.length), 1);
          const kept = below(3) === 0 ? below(gone!.amount) : 0;
          end(view, gone!, kept, below(2) === 0);
          usage.release(tree.division(gone!.division)!, { cells: [0], amounts: [gone!.amount - kept] });
          if (kept > 0) held.push({ id: `${gone!.id}+`, division: gone!.division, amount: kept });
        }
        for (const { kind, name } of nodes) {
          const id = kind === 'group' ? groupAccount('acme', name, 'p', 'a', 'gpu') : divisionAccount(name);
          const balance = view.balances.get(id)!;
          const node = tree.nodes.find((one) => one.name === name)!.index;
          expect(Number(useOf(balance)), `step ${step}: ${name}`).toBe(usage.usage(node, 0));
          expect(balance.lenderDebt).toBe(owedOf(balance));
        }
      }
    },
  );
});

/** Ends what an id holds: by void, expiry, partial post or return, so that `kept` of it goes on under the id with a +. */
function end(view: LedgerView, { id, division, amount }: Held, kept: number, expires: boolean): void {
  const pending = view.transfers.get(id)!;
  const batch = (...transfers: readonly TransferRequest[]) => {
    const [result] = planBatches(view, [{ context, transfers }]).results;
    expect(result).toMatchObject({ ok: true });
  };
  if (pending.kind === 'pending' && kept > 0) {
    batch({ kind: 'post', id: `${id}+`, pendingId: id, amount: BigInt(kept) });
  } else if (pending.kind === 'pending' && expires) {
    planExpiry(view, [pending as StoredTransfer], expiryId);
  } else if (pending.kind === 'pending') {
    batch({ kind: 'void', id: `${id}/void`, pendingId: id });
  } else {
    // What was posted comes back but for what is kept, which gets a name of its own.
    const account = divisionAccount(division);
    batch({ kind: 'direct', id: `${id}/back`, debit: account, credit: CAPACITY, amount: BigInt(amount - kept) });
    if (kept > 0) batch({ kind: 'direct', id: `${id}+`, debit: CAPACITY, credit: account, amount: 0n });
  }
}
