import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureAccounts, freeOf, placementAccounts, readBalances, setLimit } from '../../ledger/quota/account.ts';
import { executeLinked, executeMany, expire } from '../../ledger/quota/execute.sql.ts';
import { newModel } from '../../ledger/quota/model.ts';
import type { TransferOutcome, TransferRequest } from '../../ledger/quota/transfer.ts';
import { systemClock } from '../../platform/clock.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { CASE_START_MS, caseAccounts, ledgerCases, treeCaseAccounts } from '../support/ledger-cases.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { balancesOf, modelBalances, takeStep } from '../support/ledger-step.ts';

const SEEDS = [1, 2, 3, 4, 5, 6];
const CASES_PER_SEED = 300;
const TREE_SEEDS = [1, 2, 3, 4];
const CASES_PER_TREE_SEED = 150;
/** Every outcome there is. */
const OUTCOMES: readonly TransferOutcome['kind'][] = [
  'account_not_found',
  'account_of_a_group',
  'already_posted',
  'already_voided',
  'different_units',
  'exceeds_limit',
  'exceeds_pending',
  'exceeds_posted',
  'exists',
  'exists_with_different_amount',
  'exists_with_different_attempt',
  'exists_with_different_booking',
  'exists_with_different_credit',
  'exists_with_different_debit',
  'exists_with_different_expiry',
  'exists_with_different_kind',
  'exists_with_different_pending_id',
  'exists_with_different_tenant',
  'expired',
  'ok',
  'pending_not_found',
  'same_account',
];
const T0 = CASE_START_MS;

describe('the SQL ledger against the model', () => {
  const seen = new Set<string>();
  const runs = [
    ...SEEDS.map((seed) => ({ seed, cases: CASES_PER_SEED, tree: false })),
    ...TREE_SEEDS.map((seed) => ({ seed, cases: CASES_PER_TREE_SEED, tree: true })),
  ];

  test.each(runs)('seed $seed, quota tree: $tree: every outcome, balance and debt is the same', async (run) => {
    const own = await testDatabase();
    const accounts = run.tree ? treeCaseAccounts() : caseAccounts();
    try {
      await own.db.asEngine((tx) =>
        tx.execute("insert into tenants (tenant) values ('acme'), ('globex')").then(() => ensureAccounts(tx, accounts)),
      );
      const model = newModel(accounts);
      for (const [at, step] of ledgerCases(run.seed, run.cases, { tree: run.tree }).entries()) {
        const where = `seed ${run.seed}, step ${at}`;
        const done = await takeStep(own.db, model, step);
        expect(done.got, where).toEqual(done.expected);
        for (const kind of done.outcomes) seen.add(kind);
        expect(await own.db.asEngine((tx) => balancesOf(tx, accounts)), where).toEqual(modelBalances(model));
      }
      expect(await ledgerLeaks(own.db)).toEqual([]);
    } finally {
      await own.close();
    }
  });

  test('the seeds between them met every outcome', () => {
    expect([...seen].sort()).toEqual(OUTCOMES);
  });
});

describe('the ledger on Postgres', () => {
  let own: TestDatabase;
  const accounts = placementAccounts({
    tenant: 'acme',
    division: 'vision',
    pool: 'gpus',
    flavour: 'a100',
    resource: 'gpu',
    currency: 'USD',
    capacityMilli: 8_000n,
    quotaMilli: 4_000n,
    budgetCents: 10_000n,
  });
  const [capacity, quota, budget, spend] = accounts.map((account) => account.id) as [string, string, string, string];
  const context = (bookingId: string, nowMs = T0) => ({ tenant: 'acme', bookingId, attempt: 1, nowMs });
  const reserve = (id: string, gpuMilli: bigint, cents = 0n, expiresAtMs?: number): TransferRequest[] => {
    const expiry = expiresAtMs === undefined ? {} : { expiresAtMs };
    return [
      { kind: 'pending', id: `${id}-quota`, debit: capacity, credit: quota, amount: gpuMilli, ...expiry },
      { kind: 'pending', id: `${id}-money`, debit: budget, credit: spend, amount: cents, ...expiry },
    ];
  };
  const balance = async (id: string) => (await own.db.asEngine((tx) => readBalances(tx, [id])))[0]!;

  beforeAll(async () => {
    own = await testDatabase();
    await own.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme'), ('globex')");
      await ensureAccounts(tx, accounts);
    });
  });
  afterAll(() => own.close());

  test('a linked batch that fails leaves the caller’s transaction usable and nothing behind', async () => {
    await own.db.asTenant('acme', async (tx) => {
      const result = await executeLinked(tx, context('x1'), reserve('x1', 1_000n, 10_001n));
      expect(result).toEqual({
        ok: false,
        index: 1,
        outcome: { kind: 'exceeds_limit', account: budget, shortfall: 1n },
      });
      const [row] = await tx.query<{ n: bigint }>('select count(*) as n from transfers');
      expect(row?.n).toBe(0n);
    });
  });

  test('a limit lowered below use frees what is free now and takes the rest from each release', async () => {
    const db = own.db;
    await db.asEngine((tx) => executeLinked(tx, context('d1'), reserve('d1', 1_000n)));
    await db.asEngine((tx) => executeLinked(tx, context('d2'), reserve('d2', 2_000n)));
    expect(freeOf(await balance(quota))).toBe(1_000n);
    expect(await db.asEngine((tx) => setLimit(tx, quota, 1_500n))).toEqual({
      kind: 'set',
      use: 3_000n,
      drainDebt: 1_500n,
    });
    expect(freeOf(await balance(quota))).toBe(0n);
    await db.asEngine((tx) => executeLinked(tx, context('d1'), [{ kind: 'void', id: 'd1-v', pendingId: 'd1-quota' }]));
    expect(await balance(quota)).toMatchObject({ drainDebt: 500n });
    expect(freeOf(await balance(quota))).toBe(0n);
    await db.asEngine((tx) =>
      executeLinked(tx, context('d2'), [{ kind: 'post', id: 'd2-p', pendingId: 'd2-quota', amount: 400n }]),
    );
    expect(await balance(quota)).toMatchObject({ drainDebt: 0n });
    expect(freeOf(await balance(quota))).toBe(1_100n);
    await db.asEngine((tx) => setLimit(tx, quota, 4_000n));
    await db.asEngine((tx) =>
      executeLinked(tx, context('d2'), [{ kind: 'direct', id: 'd2-r', debit: quota, credit: capacity, amount: 400n }]),
    );
    expect(freeOf(await balance(quota))).toBe(4_000n);
  });

  test('many bookings at once never take more than the limit, whoever comes first', async () => {
    const results = await Promise.all(
      Array.from({ length: 24 }, (_, i) =>
        own.db.asTenant('acme', (tx) => executeLinked(tx, context(`c${i}`), reserve(`c${i}`, 500n))),
      ),
    );
    expect(results.filter((result) => result.ok)).toHaveLength(8);
    for (const result of results) if (!result.ok) expect(result.outcome.kind).toBe('exceeds_limit');
    expect(freeOf(await balance(quota))).toBe(0n);
    expect(await ledgerLeaks(own.db)).toEqual([]);
  });

  test('the same batch sent ten times at once is written once', async () => {
    await own.db.asEngine((tx) => setLimit(tx, quota, undefined));
    const results = await Promise.all(
      Array.from({ length: 10 }, () =>
        own.db.asTenant('acme', (tx) => executeLinked(tx, context('r'), reserve('r', 10n, 10n))),
      ),
    );
    const kinds = results.map((result) =>
      result.ok ? result.outcomes.map((o) => o.kind).join() : result.outcome.kind,
    );
    expect(kinds.filter((kind) => kind === 'ok,ok')).toHaveLength(1);
    expect(kinds.filter((kind) => kind === 'exists,exists')).toHaveLength(9);
  });

  test('of two at once that each post what the other is about to write, one comes first and the other finds it', async () => {
    const both = Promise.withResolvers<void>();
    let looked = 0;
    const follow = () => {
      looked += 1;
      if (looked === 2) both.resolve();
      // Whoever is first goes on alone, since the other is kept from looking.
      return Promise.race([both.promise, systemClock.sleep(300)]);
    };
    const [quotaFirst, moneyFirst] = ['both-quota', 'both-money'] as const;
    const run = (debit: string, credit: string, id: string, pendingId: string) =>
      own.db.asEngine((tx) => {
        const batches = [
          { context: context('both'), transfers: [{ kind: 'pending', id, debit, credit, amount: 1n }] },
          { context: context('both'), transfers: [{ kind: 'post', id: `${id}-post`, pendingId }] },
        ] as const;
        return executeMany(tx, batches, follow);
      });
    const results = await Promise.all([
      run(capacity, quota, quotaFirst, moneyFirst),
      run(budget, spend, moneyFirst, quotaFirst),
    ]);
    for (const [written] of results) expect(written).toMatchObject({ ok: true });
    const posts = results.map(([, posted]) => (posted!.ok ? 'ok' : posted!.outcome.kind));
    expect(posts.toSorted()).toEqual(['ok', 'pending_not_found']);
  });

  test('a pending transfer is posted or voided once, however many try', async () => {
    await own.db.asEngine((tx) => executeLinked(tx, context('o'), reserve('o', 10n, 10n)));
    const results = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        own.db.asTenant('acme', (tx) =>
          executeLinked(tx, context('o'), [
            { kind: i % 2 === 0 ? 'post' : 'void', id: `o-${i}`, pendingId: 'o-quota' },
          ]),
        ),
      ),
    );
    expect(results.filter((result) => result.ok)).toHaveLength(1);
    for (const result of results) if (!result.ok) expect(result.outcome.kind).toMatch(/^already_(posted|voided)$/);
  });

  test('another tenant sees neither accounts nor pending transfers', async () => {
    await own.db.asEngine((tx) => executeLinked(tx, context('z'), reserve('z', 10n)));
    await own.db.asTenant('globex', async (tx) => {
      const globex = { tenant: 'globex', nowMs: T0 };
      const taken = await executeLinked(tx, globex, [
        { kind: 'pending', id: 'g1', debit: capacity, credit: quota, amount: 1n },
      ]);
      expect(taken).toMatchObject({ ok: false, outcome: { kind: 'account_not_found' } });
      const voided = await executeLinked(tx, globex, [{ kind: 'void', id: 'g2', pendingId: 'z-quota' }]);
      expect(voided).toMatchObject({ ok: false, outcome: { kind: 'pending_not_found' } });
    });
  });

  test('an id another tenant holds is a conflict told as such, and the transaction goes on', async () => {
    const mine = placementAccounts({
      tenant: 'globex',
      division: 'v',
      pool: 'p',
      flavour: 'f',
      resource: 'gpu',
      currency: 'USD',
    });
    await own.db.asTenant('globex', async (tx) => {
      await ensureAccounts(tx, mine);
      const steal = executeLinked(tx, { tenant: 'globex', nowMs: T0 }, [
        { kind: 'pending', id: 'z-quota', debit: mine[0]!.id, credit: mine[1]!.id, amount: 1n },
      ]);
      await expect(steal).rejects.toMatchObject({ code: 'conflict' });
      expect(await tx.query('select 1 as one')).toHaveLength(1);
    });
  });

  test('the sweep returns what timed out, tells the booking’s trail, and leaves what is being changed', async () => {
    const bookingId = '01k0000000000000000000000b';
    await own.db.asEngine(async (tx) => {
      await tx.execute("insert into divisions (tenant, division) values ('acme', 'vision')");
      await tx.execute(
        `insert into bookings (booking_id, tenant, division, job_name, requester, trace_id, spec, spec_hash, state, data, version, created_at, updated_at)
         values ($1, 'acme', 'vision', 'j', 'r', '0', '{}', '', 'waiting', '{}', 1, now(), now())`,
        [bookingId],
      );
      await executeLinked(tx, context(bookingId), reserve('e', 10n, 10n, T0 + 1_000));
    });
    const late = await own.db.asEngine((tx) =>
      executeLinked(tx, context(bookingId, T0 + 1_000), [{ kind: 'post', id: 'e-post', pendingId: 'e-quota' }]),
    );
    expect(late).toMatchObject({ ok: false, outcome: { kind: 'expired' } });
    await own.db.asEngine(async (tx) => {
      await tx.query('select 1 from bookings where booking_id = $1 for update', [bookingId]);
      expect(await own.db.asEngine((other) => expire(other, T0 + 1_000, 10))).toEqual([]);
    });
    const before = await own.db.asEngine((tx) => expire(tx, T0 + 999, 10));
    expect(before).toEqual([]);
    const expired = await own.db.asEngine((tx) => expire(tx, T0 + 1_000, 10));
    expect(expired.map((e) => e.transfer.id)).toEqual(['e-money:expire', 'e-quota:expire']);
    expect(await own.db.asEngine((tx) => expire(tx, T0 + 1_000, 10))).toEqual([]);
    const events = await own.db.asEngine((tx) =>
      tx.query<{ type: string; bytes: Buffer }>('select type, bytes from audit_events where subject = $1', [
        `booking/${bookingId}`,
      ]),
    );
    expect(events.map((event) => event.type)).toEqual(['ledger.expired']);
    expect(JSON.parse(events[0]!.bytes.toString()).data.transfers).toEqual(expired.map((e) => e.transfer));
    const again = await own.db.asEngine((tx) =>
      executeLinked(tx, context(bookingId), [{ kind: 'void', id: 'e-v', pendingId: 'e-quota' }]),
    );
    expect(again).toMatchObject({ ok: false, outcome: { kind: 'expired' } });
  });

  test('the database itself refuses what the code would not do: over-commit and a changed transfer', async () => {
    await own.db.asEngine((tx) => setLimit(tx, quota, 0n));
    const overCommit = own.db.asEngine((tx) =>
      tx.execute('update accounts set credits_posted = credits_posted + 100000 where account_id = $1', [quota]),
    );
    await expect(overCommit).rejects.toMatchObject({ constraint: 'within_limit' });
    await expect(
      own.db.asEngine((tx) => tx.execute("update transfers set amount = 1 where transfer_id = 'z-quota'")),
    ).rejects.toThrow();
    await expect(
      asAdmin(own.urls.admin, "update transfers set amount = 1 where transfer_id = 'z-quota'"),
    ).rejects.toMatchObject({ code: 'MR001' });
  });
});
