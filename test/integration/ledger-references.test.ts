import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureAccounts } from '../../ledger/quota/account.ts';
import { executeLinked } from '../../ledger/quota/execute.sql.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { CASE_START_MS, caseAccounts } from '../support/ledger-cases.ts';

const BOOKING = '01k2z0000000000000000000ab';
const accounts = caseAccounts();
const [capacity, quota] = accounts.map((account) => account.id) as [string, string];
const foreign = accounts.find((account) => account.tenant === 'globex')!.id;
const money = accounts.find((account) => account.tenant === 'acme' && account.unit !== 'gpu')!.id;
const NO_SUCH_ROW = '23503';
const REFUSED = 'MR001';

function transfer(kind: string, debit: string, credit: string, pending: string | null = null): string {
  const pendingId = pending === null ? 'null' : `'${pending}'`;
  return `insert into transfers (transfer_id, tenant, kind, pending_id, debit_account, credit_account, amount)
    values ('good', 'acme', 'direct', null, '${capacity}', '${quota}', 0), ('bad', 'acme', '${kind}', ${pendingId}, '${debit}', '${credit}', 0)`;
}

const ORPHANS: Readonly<Record<string, string>> = {
  'a debit account that is not there': transfer('direct', 'nobody', quota),
  'a credit account that is not there': transfer('direct', capacity, 'nobody'),
  'an account of another tenant': transfer('direct', capacity, foreign),
  'two units': transfer('direct', capacity, money),
  'the end of what is not there': transfer('void', capacity, quota, 'nothing'),
  'the end of what is not pending': transfer('void', capacity, quota, 'done'),
  'the end of what others hold': transfer('void', quota, capacity, 'open'),
  'an event of a tenant that is not there':
    "insert into audit_events (event_id, tenant, subject, subject_seq, type, bytes) values ('x', 'nobody', 's', 1, 't', '')",
  'evidence of a tenant that is not there': "insert into evidence (tenant, hash, body) values ('nobody', '', '')",
  'an attempt of a booking that is not there':
    "insert into attempts (booking_id, attempt, tenant, pool, flavour, provider, key) values ('nothing', 1, 'acme', 'p', 'f', 'local', 'k')",
  'an attempt of another tenant': `insert into attempts (booking_id, attempt, tenant, pool, flavour, provider, key) values ('${BOOKING}', 1, 'globex', 'p', 'f', 'local', 'k')`,
};

const REMOVALS: Readonly<Record<string, string>> = {
  'an account': `delete from accounts where account_id = '${quota}'`,
  'all accounts': 'truncate accounts',
  'the name of an account': `update accounts set account_id = 'other' where account_id = '${quota}'`,
  'the unit of an account': `update accounts set unit = 'cpu' where account_id = '${quota}'`,
  'a tenant': "delete from tenants where tenant = 'globex'",
  'a booking': `delete from bookings where booking_id = '${BOOKING}'`,
  'the tenant of a booking': `update bookings set tenant = 'globex' where booking_id = '${BOOKING}'`,
};

describe('what has no foreign key', () => {
  let own: TestDatabase;
  let superuser: pg.Client;
  beforeAll(async () => {
    own = await testDatabase();
    superuser = new pg.Client({ connectionString: own.urls.admin });
    await superuser.connect();
    await own.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme'), ('globex')");
      await tx.execute("insert into divisions (tenant, division) values ('acme', 'd1')");
      await ensureAccounts(tx, accounts);
      await tx.execute(
        `insert into bookings (booking_id, tenant, division, job_name, requester, trace_id, spec, spec_hash, state, data, version, created_at, updated_at)
         values ($1, 'acme', 'd1', 'j', 'r', '0', '{}', '', 'waiting', '{}', 1, now(), now())`,
        [BOOKING],
      );
      await executeLinked(tx, { tenant: 'acme', bookingId: BOOKING, nowMs: CASE_START_MS }, [
        { kind: 'pending', id: 'open', debit: capacity, credit: quota, amount: 2n },
        { kind: 'direct', id: 'done', debit: capacity, credit: quota, amount: 3n },
      ]);
    });
  });
  afterAll(async () => {
    await superuser.end();
    await own.close();
  });

  test.each(Object.keys(ORPHANS))(
    'refuses %s, with all rows of the statement, from whoever writes it',
    async (name) => {
      await expect(own.db.asEngine((tx) => tx.execute(ORPHANS[name]!))).rejects.toMatchObject({ code: NO_SUCH_ROW });
      await expect(superuser.query(ORPHANS[name]!)).rejects.toMatchObject({ code: NO_SUCH_ROW });
    },
  );

  test.each(Object.keys(REMOVALS))('keeps %s, so that nothing becomes an orphan later', async (name) => {
    await expect(superuser.query(REMOVALS[name]!)).rejects.toMatchObject({ code: REFUSED });
  });

  test('the list of what is pending is the database’s own: the server cannot write it', async () => {
    const forged = "insert into pending_transfers (transfer_id, tenant) values ('forged', 'acme')";
    for (const sql of [forged, 'delete from pending_transfers', 'update pending_transfers set expires_at = now()']) {
      await expect(own.db.asEngine((tx) => tx.execute(sql))).rejects.toMatchObject({ code: '42501' });
      await expect(own.db.asTenant('acme', (tx) => tx.execute(sql))).rejects.toMatchObject({ code: '42501' });
    }
    const listed = await own.db.asEngine((tx) => tx.query('select transfer_id from pending_transfers'));
    expect(listed).toEqual([{ transfer_id: 'open' }]);
  });
});
