import { afterAll, beforeAll, expect, test } from 'vitest';
import { isDatabaseAway } from '../../platform/postgres.ts';
import { MAX_READS_WAITING, openTenantReads, type TenantReads } from '../../platform/postgres-reads.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';

let base: TestDatabase;
let reads: TenantReads;

beforeAll(async () => {
  base = await testDatabase();
  reads = openTenantReads(base.urls.app);
  await base.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme'), ('rival')"));
});
afterAll(async () => {
  await reads.close();
  await base.close();
});

const SEEN = { name: 'seen', text: 'select tenant, $1::int as n from tenants order by 1' };
const FAILS = { name: 'fails', text: 'select 1 / $1::int as n' };
const WRITES = {
  name: 'writes',
  text: "insert into divisions (tenant, division) values ('acme', $1) returning 1 as n",
};
const OTHER = { name: 'seen', text: 'select 2 as n' };

test('each read sees its own tenant only, however many run at once', async () => {
  const all = await Promise.all(
    Array.from({ length: 200 }, (_, i) => reads.read(i % 2 === 0 ? 'acme' : 'rival', SEEN, [i])),
  );
  expect(all).toEqual(all.map((_, i) => [{ tenant: i % 2 === 0 ? 'acme' : 'rival', n: i }]));
  expect(await reads.read("x'; select 1; --", SEEN, [0])).toEqual([]);
});

test('a read that fails takes none of its neighbours with it, and leaves no transaction behind', async () => {
  const outcomes = await Promise.allSettled(
    Array.from({ length: 60 }, (_, i) =>
      i % 3 === 0 ? reads.read('acme', FAILS, [0]) : reads.read('acme', SEEN, [i]),
    ),
  );
  outcomes.forEach((outcome, i) => {
    if (i % 3 === 0) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: '22012' } });
    else expect(outcome).toEqual({ status: 'fulfilled', value: [{ tenant: 'acme', n: i }] });
  });
  expect(await reads.read('rival', SEEN, [1])).toEqual([{ tenant: 'rival', n: 1 }]);
  // A name that was given to another text is a mistake of ours, told to who made it.
  await expect(Promise.all([reads.read('acme', SEEN, [1]), reads.read('acme', OTHER, [])])).rejects.toThrow('unique');
  expect(await reads.read('acme', SEEN, [2])).toEqual([{ tenant: 'acme', n: 2 }]);
});

test('nothing can be written', async () => {
  await expect(reads.read('acme', WRITES, ['lab'])).rejects.toMatchObject({ code: '25006' });
});

test('connections that break are told as such, and opened anew', async () => {
  const slow = { name: 'slow', text: 'select pg_sleep($1::float8)' };
  const waiting = Promise.allSettled([1, 2, 3, 4, 5].map(() => reads.read('acme', slow, [20])));
  const ended = async () =>
    (
      await asAdmin(
        base.urls.admin,
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'merit reads' and datname = current_database()`,
      )
    ).length;
  await expect.poll(ended).toBe(4);
  for (const outcome of await waiting)
    expect([outcome.status, isDatabaseAway((outcome as PromiseRejectedResult).reason)]).toEqual(['rejected', true]);
  expect(await reads.read('acme', SEEN, [1])).toEqual([{ tenant: 'acme', n: 1 }]);
});

test('more than may wait are told to come again', async () => {
  const outcomes = await Promise.allSettled(
    Array.from({ length: MAX_READS_WAITING + 3 }, (_, i) => reads.read('acme', SEEN, [i])),
  );
  const refused = outcomes.filter(({ status }) => status === 'rejected');
  expect(refused.map((outcome) => (outcome as PromiseRejectedResult).reason.code)).toEqual(Array(3).fill('capacity'));
});

test('what reads much holds up no other, however much of it waits', async () => {
  const locked = { name: 'locked', text: 'select 1 as n from pg_advisory_xact_lock_shared($1)', isLong: true } as const;
  const long = await base.db.asEngine(async (tx) => {
    await tx.execute('select pg_advisory_xact_lock(7)');
    const waiting = Array.from({ length: 20 }, () => reads.read('acme', locked, [7]));
    const short = await Promise.all(Array.from({ length: 20 }, (_, i) => reads.read('acme', SEEN, [i])));
    expect(short).toHaveLength(20);
    return { answered: Promise.all(waiting) };
  });
  expect(await long.answered).toEqual(Array(20).fill([{ n: 1 }]));
});
