import { afterAll, beforeAll, expect, test } from 'vitest';
import { budgetAccount, readBalances } from '../../ledger/quota/account.ts';
import { applyDocuments, removeDocument } from '../../pools/apply-documents.ts';
import { beginPeriods } from '../../pools/budget-periods.ts';
import { parseDocument } from '../../pools/documents.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const OCTOBER = Date.UTC(2026, 9, 5);
const NOVEMBER = Date.UTC(2026, 10, 26);

let t: TestDatabase;
beforeAll(async () => {
  t = await testDatabase();
});
afterAll(() => t.close());

const by = (tenant: string, nowMs: number) => ({ tenant, actor: 'ada', traceId: TRACE, nowMs });
const budget = (limit: string) => ({
  document: parseDocument({
    apiVersion: 'merit/v1',
    kind: 'Budget',
    division: 'lab',
    currency: 'USD',
    limit,
    period: 'month',
  }),
});
const limitOf = async (tenant: string) =>
  (await t.db.asEngine((tx) => readBalances(tx, [budgetAccount(tenant, 'lab', 'USD')])))[0]?.limit;

test.each([
  ['lowered', 1_000n],
  ['removed', 0n],
])('a budget that is %s while its period begins ends as the document says', async (how, expected) => {
  await t.db.asEngine((tx) => tx.execute('insert into tenants (tenant) values ($1)', [how]));
  await t.db.asTenant(how, (tx) => applyDocuments(tx, by(how, OCTOBER), [budget('1000.00')]));
  expect(await limitOf(how)).toBe(100_000n);
  let periods: Promise<number> = Promise.resolve(0);
  await t.db.asTenant(how, async (tx) => {
    if (how === 'lowered') await applyDocuments(tx, by(how, NOVEMBER), [budget('10.00')]);
    else await removeDocument(tx, by(how, NOVEMBER), 'Budget', 'lab-USD');
    // It reads what is committed, and waits for the documents' lock that this transaction has.
    periods = t.db.asEngine((engine) => beginPeriods(engine, NOVEMBER, TRACE));
    periods.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 300));
  });
  await periods;
  expect(await limitOf(how)).toBe(expected);
});
