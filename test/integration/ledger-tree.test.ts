import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type Balance,
  capacityAccount,
  ensureAccounts,
  groupAccount,
  quotaAccount,
  readBalances,
  useOf,
} from '../../ledger/quota/account.ts';
import { executeLinked, expire } from '../../ledger/quota/execute.sql.ts';
import { type QuotaNode, setQuotaTree } from '../../ledger/quota/quota-nodes.ts';
import type { BatchResult, TransferRequest } from '../../ledger/quota/transfer.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { CASE_START_MS as T0 } from '../support/ledger-cases.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';

const TENANT = 'acme';
const CELL = { pool: 'gpus', flavour: 'a100', resource: 'gpu' } as const;
const CAPACITY = capacityAccount(TENANT, 'gpus', 'a100', 'gpu');
const quota = (division: string) => quotaAccount(TENANT, division, 'gpus', 'a100', 'gpu');
const group = (name: string) => groupAccount(TENANT, name, 'gpus', 'a100', 'gpu');

interface Has {
  readonly nominal: bigint;
  readonly borrow?: bigint;
  readonly lend?: bigint;
}
const node = (kind: QuotaNode['kind'], name: string, parent: string | null, has: Has): QuotaNode => ({
  kind,
  name,
  parent,
  quotas: [{ ...CELL, nominal: has.nominal, borrow: has.borrow ?? null, lend: has.lend ?? null }],
});
/** org 4 + (eng 0 + (vision 6, of which it lends 4; speech 5)); alone 3 in no group. */
const TREE = [
  node('group', 'org', null, { nominal: 4n }),
  node('group', 'eng', 'org', { nominal: 0n, borrow: 3n }),
  node('division', 'vision', 'eng', { nominal: 6n, lend: 4n }),
  node('division', 'speech', 'eng', { nominal: 5n, borrow: 6n }),
  node('division', 'alone', null, { nominal: 3n }),
];

describe('the quota tree in the ledger', () => {
  let own: TestDatabase;
  let next = 0;
  const open: TestDatabase[] = [];
  afterAll(() => Promise.all(open.map((database) => database.close())));
  beforeEach(async () => {
    await Promise.all(open.splice(0).map((database) => database.close()));
    own = await testDatabase();
    open.push(own);
    await own.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme')");
      await ensureAccounts(tx, [
        { id: CAPACITY, tenant: TENANT, kind: 'capacity', pool: 'gpus', flavour: 'a100', unit: 'gpu', limit: 100n },
      ]);
      expect(await setQuotaTree(tx, TENANT, TREE)).toEqual([]);
    });
  });

  const move = (...transfers: readonly TransferRequest[]) =>
    own.db.asTenant(TENANT, (tx) => executeLinked(tx, { tenant: TENANT, bookingId: 'b', nowMs: T0 }, transfers));
  const hold = (division: string, amount: bigint, more: { readonly id?: string; readonly expiresAtMs?: number } = {}) =>
    move({ kind: 'pending', id: `t${next++}`, debit: CAPACITY, credit: quota(division), amount, ...more });
  const refusal = (account: string, shortfall: bigint): BatchResult => ({
    ok: false,
    index: 0,
    outcome: { kind: 'exceeds_limit', account, shortfall },
  });
  const balance = async (id: string): Promise<Balance> => (await own.db.asEngine((tx) => readBalances(tx, [id])))[0]!;
  const uses = async () => {
    const ids = [quota('vision'), quota('speech'), group('eng'), group('org')];
    const found = await own.db.asEngine((tx) => readBalances(tx, ids));
    const of = (id: string) => Number(useOf(found.find((one) => one.id === id)!));
    return { vision: of(ids[0]!), speech: of(ids[1]!), eng: of(ids[2]!), org: of(ids[3]!) };
  };
  const debts = async () =>
    (
      await own.db.asEngine((tx) =>
        tx.query<{ kind: string; debit_account: string; credit_account: string; amount: bigint }>(
          "select kind, debit_account, credit_account, amount from transfers where kind in ('borrow', 'repay') order by recorded_at, transfer_id",
        ),
      )
    ).map(
      (row) => `${row.kind} ${row.amount} ${row.debit_account.split(':')[2]} → ${row.credit_account.split(':')[2]}`,
    );
  const sound = async () => expect(await ledgerLeaks(own.db)).toEqual([]);

  test('use goes up only past the local part, with an entry a level, and comes down the same way', async () => {
    expect(await hold('vision', 2n, { id: 'a' })).toMatchObject({ ok: true });
    expect(await uses()).toEqual({ vision: 2, speech: 0, eng: 0, org: 0 });
    expect(await hold('vision', 3n, { id: 'b' })).toMatchObject({ ok: true });
    expect(await uses()).toEqual({ vision: 5, speech: 0, eng: 3, org: 3 });
    await move({ kind: 'void', id: 'a-void', pendingId: 'a' });
    expect(await uses()).toEqual({ vision: 3, speech: 0, eng: 1, org: 1 });
    expect(await debts()).toEqual([
      'borrow 3 vision → eng',
      'borrow 3 eng → org',
      'repay 2 eng → vision',
      'repay 2 org → eng',
    ]);
    await sound();
  });

  test('what a division keeps nobody else can have; what stands in the way is named: its own limit or that of a group', async () => {
    // speech 5 + 6 borrowed: its own limit.
    expect(await hold('speech', 12n)).toEqual(refusal(quota('speech'), 1n));
    expect(await hold('speech', 11n, { id: 's' })).toMatchObject({ ok: true });
    // eng has 9 that its children lend, and may borrow 3; vision’s own 2 are not in it.
    expect(await hold('vision', 4n)).toEqual(refusal(group('eng'), 1n));
    expect(await hold('vision', 3n)).toMatchObject({ ok: true });
    expect(await uses()).toEqual({ vision: 3, speech: 11, eng: 12, org: 12 });
    await sound();
  });

  test('a part that is posted, a time-out and a refund give back on every level', async () => {
    await hold('speech', 8n, { id: 's', expiresAtMs: T0 + 1_000 });
    await hold('vision', 4n, { id: 'v', expiresAtMs: T0 + 1_000 });
    expect(await uses()).toEqual({ vision: 4, speech: 8, eng: 10, org: 10 });
    await move({ kind: 'post', id: 's-post', pendingId: 's', amount: 3n });
    expect(await uses()).toEqual({ vision: 4, speech: 3, eng: 5, org: 5 });
    const expired = await own.db.asEngine((tx) => expire(tx, T0 + 1_000, 10));
    expect(expired.map(({ transfer }) => transfer.id)).toEqual(['v:expire']);
    expect(await uses()).toEqual({ vision: 0, speech: 3, eng: 3, org: 3 });
    await move({ kind: 'direct', id: 's-back', debit: quota('speech'), credit: CAPACITY, amount: 3n });
    expect(await uses()).toEqual({ vision: 0, speech: 0, eng: 0, org: 0 });
    expect(await balance(group('org'))).toMatchObject({ creditsPosted: 10n, debitsPosted: 10n });
    await sound();
  });

  test('a retry that exists borrows nothing again', async () => {
    const transfer = { kind: 'pending', id: 'same', debit: CAPACITY, credit: quota('speech'), amount: 4n } as const;
    await move(transfer);
    expect(await move(transfer)).toMatchObject({ ok: true, outcomes: [{ kind: 'exists' }] });
    expect(await uses()).toMatchObject({ speech: 4, org: 4 });
    expect(await debts()).toHaveLength(2);
  });

  test('a tree made smaller while it is in use leaves drain debts, which releases pay before anything new is taken', async () => {
    await hold('speech', 9n, { id: 's' });
    const smaller = TREE.map((one) =>
      one.name === 'org'
        ? node('group', 'org', null, { nominal: 0n })
        : one.name === 'vision'
          ? node('division', 'vision', 'eng', { nominal: 1n })
          : one,
    );
    const reported = await own.db.asTenant(TENANT, (tx) => setQuotaTree(tx, TENANT, smaller));
    // org has the 6 that are lent to it; eng may have 3 more, and has.
    expect(reported).toEqual([{ account: group('org'), use: 9n, limit: 6n, drainDebt: 3n }]);
    expect(await hold('vision', 1n)).toEqual(refusal(group('eng'), 1n));
    await move({ kind: 'post', id: 's-post', pendingId: 's', amount: 7n });
    expect(await balance(group('org'))).toMatchObject({ drainDebt: 1n });
    expect(await hold('vision', 1n)).toEqual(refusal(group('org'), 1n));
    await move({ kind: 'direct', id: 's-back', debit: quota('speech'), credit: CAPACITY, amount: 2n });
    expect(await balance(group('org'))).toMatchObject({ drainDebt: 0n });
    expect(await hold('vision', 1n)).toMatchObject({ ok: true });
    await sound();
  });

  test('what runs moves with its division to another group, and stays where it was when nobody names the division any more', async () => {
    await hold('vision', 5n, { id: 'v' });
    await hold('speech', 2n, { id: 's' });
    const moved = [
      ...TREE.filter(({ name }) => name !== 'vision' && name !== 'speech'),
      node('group', 'lab', 'org', { nominal: 0n }),
      node('division', 'vision', 'lab', { nominal: 6n, lend: 2n }),
    ];
    const reported = await own.db.asTenant(TENANT, (tx) => setQuotaTree(tx, TENANT, moved));
    expect(await uses()).toEqual({ vision: 5, speech: 2, eng: 2, org: 3 });
    expect(await balance(group('lab'))).toMatchObject({ lenderDebt: 1n });
    // speech has nothing any more, and eng may still borrow 3.
    expect(reported).toEqual([{ account: quota('speech'), use: 2n, limit: 0n, drainDebt: 2n }]);
    await move({ kind: 'void', id: 's-void', pendingId: 's' });
    expect(await own.db.asTenant(TENANT, (tx) => setQuotaTree(tx, TENANT, moved))).toEqual([]);
    await sound();
  });

  test('a division without a group keeps its limit and has nothing to do with the tree', async () => {
    expect(await hold('alone', 4n)).toEqual(refusal(quota('alone'), 1n));
    expect(await hold('alone', 3n)).toMatchObject({ ok: true });
    expect(await balance(quota('alone'))).toMatchObject({ parent: undefined, local: undefined, lenderDebt: 0n });
    expect(await debts()).toEqual([]);
  });

  test('many bookings at once never take more than their group has, also while the tree changes', async () => {
    const divisions = ['vision', 'speech'] as const;
    const larger = TREE.map((one) => (one.name === 'org' ? node('group', 'org', null, { nominal: 6n }) : one));
    await Promise.all([
      ...Array.from({ length: 24 }, (_, i) => hold(divisions[i % 2]!, 1n)),
      own.db.asTenant(TENANT, (tx) => setQuotaTree(tx, TENANT, larger)),
    ]);
    // eng has 9 and borrows 3; vision has 2 more of its own.
    const used = await uses();
    expect(used.eng).toBe(12);
    expect(used.vision + used.speech).toBe(14);
    await sound();
  });

  test('the database itself refuses use past the local part that is not owed, a group above its limit, and a parent that is none', async () => {
    await hold('speech', 4n);
    const break_ = (sql: string) => own.db.asEngine((tx) => tx.execute(sql));
    await expect(
      break_(`update accounts set credits_pending = credits_pending + 1 where account_id = '${quota('speech')}'`),
    ).rejects.toMatchObject({ constraint: 'owes_what_is_past_local' });
    await expect(
      break_(`update accounts set credits_posted = credits_posted + 9, lender_debt = lender_debt + 9, debits_posted = debits_posted + 9
              where account_id = '${group('eng')}'`),
    ).rejects.toMatchObject({ constraint: 'within_limit' });
    await expect(
      break_(`update accounts set parent_account = account_id where account_id = '${group('org')}'`),
    ).rejects.toMatchObject({ constraint: 'tree_of_quota' });
    const asked = await move({ kind: 'direct', id: 'x', debit: CAPACITY, credit: group('org'), amount: 1n });
    expect(asked).toMatchObject({ ok: false, outcome: { kind: 'account_of_a_group', account: group('org') } });
  });
});
