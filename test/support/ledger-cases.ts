import type { AccountSpec } from '../../ledger/quota/account.ts';
import { budgetAccount, capacityAccount, quotaAccount, spendAccount } from '../../ledger/quota/account.ts';
import type { Batch, TransferRequest } from '../../ledger/quota/transfer.ts';

/** Seeded ledger operations over few accounts and few ids, so that limits, repeats and double resolutions happen often. */
export type LedgerCase =
  | { readonly kind: 'execute'; readonly batches: readonly Batch[] }
  | { readonly kind: 'set_limit'; readonly account: string; readonly limit: bigint | undefined }
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
    { id: quotaAccount(tenant, 'd1', 'p', 'a', 'gpu'), tenant, kind: 'quota', division: 'd1', unit: 'gpu', limit: 20n },
    { id: quotaAccount(tenant, 'd2', 'p', 'a', 'gpu'), tenant, kind: 'quota', division: 'd2', unit: 'gpu' },
    { id: budgetAccount(tenant, 'd1', 'USD'), tenant, kind: 'budget', division: 'd1', unit: 'USD', limit: 100n },
    { id: spendAccount(tenant, 'd1', 'USD'), tenant, kind: 'spend', division: 'd1', unit: 'USD' },
  ]);
}

export function ledgerCases(seed: number, count: number): readonly LedgerCase[] {
  const random = seededRandom(seed);
  const below = (n: number) => Math.floor(random() * n);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)]!;
  const accounts = caseAccounts();
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
      let [debit, credit] = money ? [own[3]!, own[4]!] : [own[0]!, pick([own[1]!, own[2]!])];
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
    const roll = random();
    if (roll < 0.84) return { kind: 'execute', batches: Array.from({ length: 1 + below(4) }, batch) };
    if (roll < 0.94) {
      const limit = random() < 0.2 ? undefined : BigInt(below(40));
      return { kind: 'set_limit', account: pick(accounts).id, limit };
    }
    return { kind: 'expire', nowMs, limit: 1 + below(5) };
  });
}
