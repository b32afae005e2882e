import type { AccountSpec } from '../../ledger/quota/account.ts';
import {
  budgetAccount,
  capacityAccount,
  groupAccount,
  quotaAccount,
  spendAccount,
} from '../../ledger/quota/account.ts';
import type { ModelNode } from '../../ledger/quota/model-tree.ts';
import type { QuotaNode } from '../../ledger/quota/quota-nodes.ts';
import type { Batch, TransferRequest } from '../../ledger/quota/transfer.ts';

/** Seeded ledger operations over few accounts and few ids, so that limits, repeats and double resolutions happen often. */
export type LedgerCase =
  | { readonly kind: 'execute'; readonly batches: readonly Batch[] }
  | { readonly kind: 'set_limit'; readonly account: string; readonly limit: bigint | undefined }
  | { readonly kind: 'set_tree'; readonly nodes: readonly QuotaNode[] }
  | { readonly kind: 'expire'; readonly nowMs: number; readonly limit: number };

export const CASE_START_MS = Date.UTC(2026, 10, 23, 10);
const TENANTS = ['acme', 'globex'] as const;

/** Small and fast; the same numbers on every machine. Source: Marsaglia, Xorshift RNGs (2003), 32 bits. */
export function seededRandom(seed: number): () => number {
  let x = (seed * 2654435761) >>> 0 || 1;
  return () => {
    x ^= x << 13;
    x >>>= 0;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    return x / 2 ** 32;
  };
}

export function caseAccounts(): readonly AccountSpec[] {
  return TENANTS.flatMap((tenant): AccountSpec[] => [
    {
      id: capacityAccount(tenant, 'p', 'a', 'gpu'),
      tenant,
      kind: 'capacity',
      pool: 'p',
      flavour: 'a',
      unit: 'gpu',
      limit: 30n,
    },
    {
      id: quotaAccount(tenant, 'd1', 'p', 'a', 'gpu'),
      tenant,
      kind: 'quota',
      division: 'd1',
      pool: 'p',
      flavour: 'a',
      unit: 'gpu',
      limit: 20n,
    },
    {
      id: quotaAccount(tenant, 'd2', 'p', 'a', 'gpu'),
      tenant,
      kind: 'quota',
      division: 'd2',
      pool: 'p',
      flavour: 'a',
      unit: 'gpu',
    },
    { id: budgetAccount(tenant, 'd1', 'USD'), tenant, kind: 'budget', division: 'd1', unit: 'USD', limit: 100n },
    { id: spendAccount(tenant, 'd1', 'USD'), tenant, kind: 'spend', division: 'd1', unit: 'USD' },
  ]);
}

const GROUPS = ['g0', 'g1', 'g2'] as const;
const DIVISIONS = ['d1', 'd2', 'd3'] as const;
const CELL = { pool: 'p', flavour: 'a', resource: 'gpu' } as const;

/** The same, with what a tree of the first tenant's groups and divisions adds. */
export function treeCaseAccounts(): readonly AccountSpec[] {
  const tenant = TENANTS[0];
  const of = { tenant, pool: 'p', flavour: 'a', unit: 'gpu', limit: 0n };
  return [
    ...caseAccounts(),
    { ...of, id: quotaAccount(tenant, 'd3', 'p', 'a', 'gpu'), kind: 'quota', division: 'd3' },
    ...GROUPS.map((group): AccountSpec => ({ ...of, id: groupAccount(tenant, group, 'p', 'a', 'gpu'), kind: 'group' })),
  ];
}

/** Any tree of three groups and three divisions, several roots included. */
export function someTree(below: (n: number) => number): readonly QuotaNode[] {
  const limit = (most: number) => (below(3) === 0 ? null : BigInt(below(most)));
  const node = (kind: QuotaNode['kind'], name: string, parents: readonly (string | null)[]): QuotaNode => ({
    kind,
    name,
    parent: parents[below(parents.length)]!,
    quotas: [{ ...CELL, nominal: BigInt(below(10)), borrow: limit(9), lend: limit(7) }],
  });
  return [
    ...GROUPS.map((group, at) => node('group', group, at === 0 ? [null] : [null, ...GROUPS.slice(0, at)])),
    ...DIVISIONS.map((division) => node('division', division, [null, ...GROUPS, 'g2'])),
  ];
}

/** The tree as the model takes it. */
export function modelNodes(nodes: readonly QuotaNode[]): readonly ModelNode[] {
  const group = (name: string) => groupAccount(TENANTS[0], name, 'p', 'a', 'gpu');
  return nodes.map(({ kind, name, parent, quotas }) => ({
    account: kind === 'group' ? group(name) : quotaAccount(TENANTS[0], name, 'p', 'a', 'gpu'),
    parent: parent === null ? undefined : group(parent),
    nominal: quotas[0]!.nominal,
    borrow: quotas[0]!.borrow,
    lend: quotas[0]!.lend,
  }));
}

/** `tree`: with accounts of groups, and with steps that change the tree while much of it is in use. */
export function ledgerCases(seed: number, count: number, { tree = false } = {}): readonly LedgerCase[] {
  const random = seededRandom(seed);
  const below = (n: number) => Math.floor(random() * n);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)]!;
  const accounts = tree ? treeCaseAccounts() : caseAccounts();
  const takers = (own: readonly string[]) => (tree && own[0]!.includes(':acme:') ? own.slice(5, 6) : []);
  let nowMs = CASE_START_MS;
  // Ids come from a window that moves, so that repeats meet new, pending and resolved transfers alike.
  let opened = 0;
  const recent = () => `t${Math.max(0, opened - below(12))}`;

  const transfer = (tenant: string): TransferRequest => {
    const own = accounts.filter((account) => account.tenant === tenant).map((account) => account.id);
    const from = random() < 0.97 ? own : accounts.map((account) => account.id);
    const roll = random();
    if (roll < 0.6) {
      const id = random() < 0.85 ? `t${++opened}` : recent();
      const money = random() < 0.35;
      let [debit, credit] = money ? [own[3]!, own[4]!] : [own[0]!, pick([own[1]!, own[2]!, ...takers(own)])];
      if (random() < 0.25) [debit, credit] = [credit, debit];
      if (random() < 0.06) [debit, credit] = [pick(from), pick([...from, 'quota:nobody'])];
      const amount = BigInt(below(money ? 30 : 9));
      if (random() < 0.3) return { kind: 'direct', id, debit, credit, amount };
      const expires = random() < 0.5 ? { expiresAtMs: nowMs + below(20_000) } : {};
      return { kind: 'pending', id, debit, credit, amount, ...expires };
    }
    const pendingId = recent();
    const id = random() < 0.8 ? `${pendingId}/${pick(['post', 'void', 'again'])}` : recent();
    if (roll < 0.85) {
      const amount = random() < 0.5 ? {} : { amount: BigInt(below(10)) };
      return { kind: 'post', id, pendingId, ...amount };
    }
    return { kind: 'void', id, pendingId };
  };

  const past: Batch[] = [];
  const batch = (): Batch => {
    const last = past.at(-1 - below(10));
    if (last !== undefined && random() < 0.3) {
      return random() < 0.4 ? { ...last, context: { ...last.context, nowMs } } : changed(last);
    }
    const made = newBatch();
    past.push(made);
    return made;
  };
  /** A past batch's first transfer again, with one thing about it changed. */
  const changed = (last: Batch): Batch => {
    const context = { ...last.context, nowMs };
    const first = last.transfers[0]!;
    const roll = below(6);
    if (roll === 0) return { context: { ...context, attempt: 3 }, transfers: [first] };
    if (roll === 1) return { context: { ...context, bookingId: 'b2' }, transfers: [first] };
    if (first.kind === 'post' || first.kind === 'void') {
      const other = roll < 4 ? { ...first, pendingId: recent() } : { ...first, id: `${first.id}+` };
      return { context, transfers: [other] };
    }
    if (roll === 2) return { context, transfers: [{ ...first, amount: first.amount + 1n }] };
    if (first.kind === 'direct' || roll === 3)
      return { context, transfers: [{ ...first, debit: first.credit, credit: first.debit }] };
    return { context, transfers: [{ ...first, expiresAtMs: nowMs + 1 + below(5_000) }] };
  };
  const newBatch = (): Batch => {
    const tenant = random() < 0.8 ? TENANTS[0] : TENANTS[1];
    const context = {
      tenant,
      nowMs,
      ...(random() < 0.9 ? { bookingId: random() < 0.8 ? 'b0' : 'b1', attempt: random() < 0.9 ? 1 : 2 } : {}),
    };
    return { context, transfers: Array.from({ length: 1 + below(4) }, () => transfer(tenant)) };
  };

  return Array.from({ length: count }, (): LedgerCase => {
    nowMs += below(3_000);
    if (tree && random() < 0.06) return { kind: 'set_tree', nodes: someTree(below) };
    const roll = random();
    if (roll < 0.84) return { kind: 'execute', batches: Array.from({ length: 1 + below(4) }, batch) };
    if (roll < 0.94) {
      const limit = random() < 0.2 ? undefined : BigInt(below(40));
      return { kind: 'set_limit', account: pick(accounts).id, limit };
    }
    return { kind: 'expire', nowMs, limit: 1 + below(5) };
  });
}
