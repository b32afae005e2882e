import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { budgetAccount, freeOf, readBalances, spendAccount } from '../../ledger/quota/account.ts';
import { executeLinked } from '../../ledger/quota/execute.sql.ts';
import { type Database, StaleLeader, type Tx } from '../../platform/postgres.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { type Document, parseDocument } from '../../pools/documents.ts';
import { loadConfig } from '../../pools/load-config.ts';
import { type BudgetSample, type QuotaSample, watchOnce } from '../../pools/watch-quotas.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { healthy } from '../support/healthy.ts';

let database: TestDatabase;
let nowMs = Date.UTC(2026, 10, 30, 12);
let epoch = 0n;
const samples: QuotaSample[] = [];
const budgets: BudgetSample[] = [];
const alerts: number[] = [];
const told = new Map<string, QuotaSample>();

beforeAll(async () => {
  database = await testDatabase();
  await database.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme')"));
  [{ epoch } = { epoch: 0n }] = await database.db.asEngine((tx) =>
    tx.query<{ epoch: bigint }>("update leader_epochs set epoch = epoch + 1 where name = 'engine' returning epoch"),
  );
  await apply(POOL, budget('100.00', 'month'));
});
afterAll(() => database?.close());

const v1 = { apiVersion: 'merit/v1' } as const;
const POOL = {
  ...v1,
  kind: 'Pool',
  name: 'east',
  provider: { kind: 'ray' },
  flavours: [{ name: 'h100', resource: 'gpu', capacity: 8, price: { currency: 'USD', perUnitHour: '2.00' } }],
  quotas: { vision: { h100: 8 } },
};
const budget = (limit: string, period?: string) => ({
  ...v1,
  kind: 'Budget',
  division: 'vision',
  currency: 'USD',
  limit,
  ...(period === undefined ? {} : { period }),
});

async function apply(...documents: object[]) {
  const by = { tenant: 'acme', actor: 'test', traceId: '0af7651916cd43dd8448eb211c80319c', nowMs };
  const wanted = documents.map((document) => ({ document: parseDocument(document) as Document }));
  const applied = await database.db.asTenant('acme', (tx) => applyDocuments(tx, by, wanted));
  return applied.kind === 'applied' ? applied.drainDebt : [];
}

let transfers = 0;
/** Money that is gone, as after a run that was settled. */
async function spend(amount: bigint): Promise<string> {
  const debit = budgetAccount('acme', 'vision', 'USD');
  const credit = spendAccount('acme', 'vision', 'USD');
  const result = await database.db.asEngine((tx) =>
    executeLinked(tx, { tenant: 'acme', nowMs }, [{ kind: 'direct', id: `t${++transfers}`, debit, credit, amount }]),
  );
  return result.ok ? 'ok' : result.outcome.kind;
}

const look = () =>
  watchOnce(
    {
      db: database.db,
      epoch,
      clock: { now: () => nowMs, sleep: async () => {} },
      log: { warn: () => {} },
      metrics: {
        quota: (sample) => samples.push(sample),
        budget: (sample) => budgets.push(sample),
        budgetAlert: (percent) => alerts.push(percent),
      },
    },
    told,
  );

/** What the ledger lets go through, and what the planner is told of it. */
async function left() {
  const [balance] = await database.db.asEngine((tx) => readBalances(tx, [budgetAccount('acme', 'vision', 'USD')]));
  const { config } = await loadConfig(database.db, 'acme', nowMs, () => healthy());
  const planned = config.divisions[0]?.budgets[0];
  return { ledger: balance === undefined ? undefined : freeOf(balance), ...planned };
}

const event = async () => {
  const rows = await database.db.asEngine((tx) =>
    tx.query<{ type: string }>(
      "select type from audit_events where subject = 'budget/vision-USD' order by subject_seq",
    ),
  );
  return rows.map(({ type }) => type);
};

describe('a budget with a period', () => {
  test('is spent like any other, in the ledger as in the plan', async () => {
    expect(await spend(6_000n)).toBe('ok');
    expect(await spend(5_000n)).toBe('exceeds_limit');
    expect(await left()).toEqual({ ledger: 4_000n, currency: 'USD', limitMinor: 10_000n, spentMinor: 6_000n });
    await look();
    expect(await left()).toMatchObject({ ledger: 4_000n });
  });

  test('is whole again once the next period began, and that is told once', async () => {
    nowMs = Date.UTC(2026, 11, 1);
    await look();
    await look();
    expect(await left()).toEqual({ ledger: 10_000n, currency: 'USD', limitMinor: 10_000n, spentMinor: 0n });
    expect(await event()).toEqual(['budget.created', 'budget.period_began']);
    expect(await spend(10_000n)).toBe('ok');
    expect(await spend(1n)).toBe('exceeds_limit');
  });

  test('keeps its period when only its limit changes, and what is above the new limit is debt', async () => {
    expect(await apply(budget('120.00', 'month'))).toEqual([]);
    expect(await left()).toMatchObject({ ledger: 2_000n, limitMinor: 12_000n, spentMinor: 10_000n });
    expect(await apply(budget('70.00', 'month'))).toMatchObject([{ kind: 'budget', amount: 3_000n }]);
    expect(await left()).toMatchObject({ limitMinor: 7_000n, spentMinor: 10_000n });
  });

  test('without its period counts all that was ever spent', async () => {
    await apply(budget('200.00'));
    expect(await left()).toMatchObject({ ledger: 4_000n, limitMinor: 20_000n, spentMinor: 16_000n });
    nowMs = Date.UTC(2027, 1, 1);
    await look();
    expect(await left()).toMatchObject({ ledger: 4_000n });
  });

  test('with a time zone begins at its midnight, and is audited with it', async () => {
    const zoned = { ...budget('200.00', 'day'), timeZone: 'America/New_York' };
    nowMs = Date.UTC(2027, 2, 13, 12);
    await apply(zoned);
    const began = async () => {
      const [row] = await database.db.asEngine((tx) =>
        tx.query<{ started_at: Date }>('select started_at from budget_periods'),
      );
      return row?.started_at.toISOString();
    };
    expect(await began()).toBe('2027-03-13T05:00:00.000Z');
    nowMs = Date.UTC(2027, 2, 14, 4, 59);
    await look();
    expect(await began()).toBe('2027-03-13T05:00:00.000Z');
    // The day on which summer time begins there is one of 23 hours.
    for (const [at, start] of [
      [Date.UTC(2027, 2, 14, 5), '2027-03-14T05:00:00.000Z'],
      [Date.UTC(2027, 2, 15, 4), '2027-03-15T04:00:00.000Z'],
    ] as const) {
      nowMs = at;
      await look();
      expect(await began()).toBe(start);
    }
    const [event] = await database.db.asEngine((tx) =>
      tx.query<{ data: object }>(
        "select convert_from(bytes, 'UTF8')::jsonb->'data' as data from audit_events where type = 'budget.period_began' order by subject_seq desc limit 1",
      ),
    );
    expect(event?.data).toMatchObject({
      period: 'day',
      timeZone: 'America/New_York',
      began: '2027-03-15T04:00:00.000Z',
    });
  });

  test('is what it was, or what it is, where its period begins while it is read', async () => {
    await apply(budget('300.00', 'month'));
    await spend(20_000n);
    const before = await left();
    nowMs = Date.UTC(2027, 3, 1);
    // Between the statement that reads the accounts and the one that reads the periods.
    const between = (tx: Tx): Tx => ({
      ...tx,
      query: async (sql, values) => {
        if (sql.includes('from budget_periods')) await look();
        return tx.query(sql, values);
      },
    });
    const db = {
      ...database.db,
      asEngine: <T>(work: (tx: Tx) => Promise<T>) => database.db.asEngine((tx) => work(between(tx))),
    };
    const { config } = await loadConfig(db as Database, 'acme', nowMs, () => healthy());
    const { ledger: _, ...planned } = before;
    expect(config.divisions[0]?.budgets[0]).toEqual(planned);
    expect(await left()).toMatchObject({ limitMinor: 30_000n, spentMinor: 0n });
  });

  test('begins no period by a leader whose epoch is over', async () => {
    await apply(budget('200.00', 'day'));
    const before = await left();
    nowMs += 86_400_000;
    const real = epoch;
    epoch = real - 1n;
    await expect(look()).rejects.toThrow(StaleLeader);
    epoch = real;
    expect(await left()).toEqual(before);
  });
});

describe('what a budget has reached', () => {
  const told = async () => {
    const rows = await database.db.asEngine((tx) =>
      tx.query<{ data: { percent: number; usedCents: string } }>(
        "select convert_from(bytes, 'UTF8')::jsonb->'data' as data from audit_events where type = 'budget.alert' order by subject_seq",
      ),
    );
    return rows.map(({ data }) => [data.percent, data.usedCents]);
  };
  const month = (limit: string, alertAt?: readonly number[]) => ({
    ...budget(limit, 'month'),
    ...(alertAt === undefined ? {} : { alertAt }),
  });
  let before = 0;

  beforeAll(async () => {
    nowMs = Date.UTC(2027, 5, 10);
    await apply(month('100.00'));
    await look();
    before = (await told()).length;
    alerts.length = 0;
  });

  test('is told at 80 and at 100 per cent, each once, and its use is a gauge', async () => {
    await spend(7_999n);
    await look();
    expect((await told()).slice(before)).toEqual([]);
    await spend(1n);
    await look();
    await look();
    expect((await told()).slice(before)).toEqual([[80, '8000']]);
    await spend(2_000n);
    await look();
    await look();
    expect((await told()).slice(before)).toEqual([
      [80, '8000'],
      [100, '10000'],
    ]);
    expect(alerts).toEqual([80, 100]);
    expect(budgets.at(-1)).toEqual({ tenant: 'acme', budget: 'vision-USD', usedRatio: 1 });
  });

  test('is told again in the next period, and after the limit was changed', async () => {
    nowMs = Date.UTC(2027, 6, 1);
    await look();
    await spend(9_000n);
    await look();
    expect((await told()).slice(before + 2)).toEqual([[80, '9000']]);
    await apply(month('110.00'));
    await look();
    expect((await told()).slice(before + 3)).toEqual([[80, '9000']]);
  });

  test('is told where its file says, in one look what was passed together, and nowhere where it says nowhere', async () => {
    await apply(month('120.00', [25, 50]));
    await look();
    expect((await told()).slice(before + 4)).toEqual([
      [25, '9000'],
      [50, '9000'],
    ]);
    await apply(month('90.00', []));
    await look();
    expect((await told()).slice(before + 6)).toEqual([]);
  });

  test('is told by the one that leads, and by nobody whose epoch is over', async () => {
    await apply(month('100.00'));
    const real = epoch;
    epoch = real - 1n;
    await expect(look()).rejects.toThrow(StaleLeader);
    epoch = real;
    expect((await told()).slice(before + 6)).toEqual([]);
    await look();
    expect((await told()).slice(before + 6)).toEqual([[80, '9000']]);
  });
});

describe('what is used of quotas', () => {
  test('is sampled by owner and flavour, and told as nothing once it is gone', async () => {
    samples.length = 0;
    await look();
    expect(samples.at(-1)).toEqual({
      tenant: 'acme',
      owner: 'division vision',
      flavour: 'east/h100',
      use: 0,
      borrowed: 0,
      drainDebt: 0,
    });
    await apply({ ...POOL, quotas: {} });
    samples.length = 0;
    await look();
    expect(samples.map((sample) => [sample.owner, sample.use])).toEqual([['division vision', 0]]);
  });
});
