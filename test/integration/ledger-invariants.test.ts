import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { appendAudits } from '../../ledger/audit/append.ts';
import { sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { invariantQueries } from '../../ledger/invariants.ts';
import { ensureAccounts } from '../../ledger/quota/account.ts';
import { executeLinked } from '../../ledger/quota/execute.sql.ts';
import { systemClock } from '../../platform/clock.ts';
import { testSigner } from '../support/audit-story.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { CASE_START_MS, caseAccounts } from '../support/ledger-cases.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';

const BOOKING = '01k2z0000000000000000000ab';
const subject = `booking/${BOOKING}`;
const [capacity, quota] = caseAccounts().map((account) => account.id) as [string, string];
const head = 'transfer_id, tenant, booking_id, kind, pending_id, debit_account, credit_account, amount';

/** What breaks each rule, done by the superuser with triggers off; each is undone again. */
const BREAKS: Readonly<Record<string, string>> = {
  conservation: `update accounts set debits_posted = debits_posted + 1 where account_id = '${capacity}'`,
  balances_follow_from_transfers: `update accounts set credits_posted = credits_posted - 1, credits_pending = credits_pending + 1 where account_id = '${quota}'`,
  use_is_within_limit_and_debt: `update accounts set drain_debt = 1 where account_id = '${quota}'`,
  what_is_used_past_local_is_owed: `alter table accounts drop constraint owes_what_is_past_local;
    update accounts set parent_account = 'group', local_limit = 0 where account_id = '${quota}'`,
  lender_debts_follow_from_entries: `insert into transfers (${head}) values ('x', 'acme', null, 'borrow', null, '${quota}', '${capacity}', 1)`,
  a_group_uses_what_its_children_owe: `insert into accounts (account_id, tenant, kind, unit, credits_posted) values ('group', 'acme', 'group', 'gpu', 1)`,
  the_quota_tree_joins_one_flavour: `update accounts set parent_account = '${capacity}', local_limit = 100 where account_id = '${quota}'`,
  debts_are_all_that_groups_take_part_in: `insert into transfers (${head}) values ('x', 'acme', null, 'repay', null, '${capacity}', '${quota}', 0)`,
  transfers_join_one_tenant_and_unit: `insert into transfers (${head}) select 'x', 'acme', null, 'direct', null, '${capacity}', account_id, 0 from accounts where tenant = 'globex' limit 1`,
  resolutions_fit_their_pending_transfer: `insert into transfers (${head}) values ('x', 'acme', '${BOOKING}', 'post', 'open', '${capacity}', '${quota}', 9)`,
  who_is_named_is_there: `insert into attempts (booking_id, attempt, tenant, pool, flavour, provider, key) values ('${BOOKING}', 1, 'globex', 'p', 'f', 'local', 'k')`,
  open_pendings_are_listed: 'delete from pending_transfers',
  every_transition_has_its_event: 'update bookings set version = version + 1',
  transitions_are_legal: `update audit_events set type = 'booking.applied' where subject = '${subject}' and subject_seq = 2`,
  a_booking_is_where_its_last_event_says: "update bookings set state = 'applied'",
  only_bookings_under_way_hold_pending_transfers: "update bookings set state = 'cancelled'",
  only_bookings_under_way_hold_quota: "update bookings set state = 'released'",
  events_of_a_subject_have_no_gap: `update audit_events set subject_seq = 7 where subject = '${subject}' and subject_seq = 2`,
  event_columns_are_what_the_bytes_say: `update audit_events set type = 'other' where subject = 'pool/a'`,
  the_sequence_has_no_gap: 'update audit_events set seq = 99 where seq = 0',
  events_of_a_subject_keep_their_order: `update audit_events set seq = 100 where subject = '${subject}' and subject_seq = 1`,
  leaves_are_the_hashes_of_their_events: `update audit_events set bytes = bytes || ' ' where subject = 'pool/a'`,
  nodes_are_the_hashes_of_their_children: 'update audit_nodes set hash = sha256(hash) where level = 1',
  checkpoints_cover_what_exists: "insert into audit_checkpoints (tree_size, root_hash, note) values (99, '', '')",
  evidence_has_its_hash: "insert into evidence (tenant, hash, body) values ('acme', '00', '')",
  manifests_have_their_hash: `insert into manifests (manifest_id, tenant, booking_id, attempt, sha256, bytes) values ('m', 'acme', '${BOOKING}', 1, '00', '')`,
};

describe('the invariants', () => {
  let own: TestDatabase;
  beforeAll(async () => {
    own = await testDatabase();
    await own.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme'), ('globex')");
      await tx.execute("insert into divisions (tenant, division) values ('acme', 'd1')");
      await ensureAccounts(tx, caseAccounts());
      await tx.execute(
        `insert into bookings (booking_id, tenant, division, job_name, requester, trace_id, spec, spec_hash, state, data, version, created_at, updated_at)
         values ($1, 'acme', 'd1', 'j', 'r', '0', '{}', '', 'reserved', '{}', 2, now(), now())`,
        [BOOKING],
      );
      const event = { tenant: 'acme', at: '', actor: '', trace: '', data: {} };
      await appendAudits(tx, [
        { ...event, subject, type: 'booking.created' },
        { ...event, subject, type: 'booking.reserved' },
        { ...event, subject: 'pool/a', type: 'pool.changed' },
      ]);
      await executeLinked(tx, { tenant: 'acme', bookingId: BOOKING, nowMs: CASE_START_MS }, [
        { kind: 'pending', id: 'open', debit: capacity, credit: quota, amount: 2n },
        { kind: 'direct', id: 'direct', debit: capacity, credit: quota, amount: 3n },
      ]);
    });
    await sequenceOnce(own.db, 0n, testSigner(), systemClock);
  });
  afterAll(() => own.close());

  test('hold where nothing is wrong', async () => {
    expect(await ledgerLeaks(own.db)).toEqual([]);
  });

  test.each(invariantQueries().map((query) => query.name))('%s is seen when it is broken', async (name) => {
    const sql = BREAKS[name];
    expect(sql, 'each invariant has a case that breaks it').toBeDefined();
    const rule = invariantQueries().find((query) => query.name === name)!.sql;
    // Undone when the connection ends. `replica` keeps triggers from refusing.
    const client = new pg.Client({ connectionString: own.urls.admin });
    await client.connect();
    try {
      await client.query('begin; set local session_replication_role = replica');
      await client.query(sql!);
      expect((await client.query(rule)).rows.length).toBeGreaterThan(0);
    } finally {
      await client.end();
    }
  });

  test('and none of it was kept', async () => {
    expect(await ledgerLeaks(own.db)).toEqual([]);
  });
});
