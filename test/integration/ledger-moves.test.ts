import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { enqueue } from '../../ledger/outbox/outbox.ts';
import { ensureAccounts } from '../../ledger/quota/account.ts';
import { executeMany } from '../../ledger/quota/execute.sql.ts';
import type { Batch } from '../../ledger/quota/transfer.ts';
import { systemClock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Booking, loadBooking } from '../../scheduler/apply/booking-store.ts';
import { createBookings } from '../../scheduler/apply/create-booking.ts';
import { MAX_UNSEALED_MS } from '../../scheduler/apply/limits.ts';
import { commitMoves, type Move, TrailAged } from '../../scheduler/apply/moves.ts';
import { testSigner } from '../support/audit-story.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { caseAccounts } from '../support/ledger-cases.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';

let own: TestDatabase;
beforeAll(async () => {
  own = await testDatabase();
  await own.db.asEngine(async (tx) => {
    await tx.execute("insert into tenants (tenant) values ('acme'), ('globex')");
    await tx.execute("insert into divisions (tenant, division) values ('acme', 'd1')");
    await ensureAccounts(tx, caseAccounts());
  });
});
afterAll(async () => {
  expect(await ledgerLeaks(own.db)).toEqual([]);
  await own.close();
});

describe('what rests on a sealed trail', () => {
  let bookings: readonly Booking[];
  beforeEach(async () => {
    const nowMs = Date.now();
    const spec = jobSpec({ name: 'j', division: 'd1', resources: { gpus: 1 }, pools: ['p'], run: 'true', lease: '1h' });
    const by = { tenant: 'acme', division: 'd1', requester: 'ada', actor: 'ada', traceId: '0', spec, nowMs };
    const inputs = [1, 2].map(() => ({ ...by, bookingId: ulid(nowMs, randomBytes(10)) }));
    await own.db.asTenant('acme', (tx) => createBookings(tx, inputs));
    bookings = await own.db.asEngine((tx) => Promise.all(inputs.map(async ({ bookingId }) => load(tx, bookingId))));
  });

  async function load(tx: Tx, bookingId: string): Promise<Booking> {
    return (await loadBooking(tx, bookingId))!;
  }

  function movesAt(nowMs: number): readonly Move[] {
    const reason = { code: 'c', text: 't', mend: 'm' };
    return bookings.map((booking, i) => {
      return { booking, event: { type: 'cancel', reason }, actor: 'ada', nowMs, needsSealedTrail: i === 0 };
    });
  }

  const states = () =>
    own.db.asEngine(async (tx) => {
      return (await Promise.all(bookings.map(({ bookingId }) => load(tx, bookingId)))).map(({ state }) => state.state);
    });

  test('is refused by itself where the trail is too old', async () => {
    const results = await own.db.asLeader(0n, (tx) =>
      commitMoves(tx, movesAt(Date.now()), async () => MAX_UNSEALED_MS),
    );
    expect(results.map(({ kind }) => kind)).toEqual(['trail_not_sealed', 'moved']);
    expect(await states()).toEqual(['waiting', 'cancelled']);
  });

  test('is undone with its transaction where the trail grew too old meanwhile', async () => {
    const ages = [0, MAX_UNSEALED_MS];
    const slow = own.db.asLeader(0n, (tx) => commitMoves(tx, movesAt(Date.now()), async () => ages.shift()!));
    await expect(slow).rejects.toThrow(TrailAged);
    expect(ages).toEqual([]);
    expect(await states()).toEqual(['waiting', 'waiting']);
  });

  test('counts by the clock that recorded the events, whenever the move was asked for', async () => {
    const commit = (nowMs: number) => own.db.asLeader(0n, (tx) => commitMoves(tx, movesAt(nowMs)));
    await asAdmin(
      own.urls.admin,
      `begin; set local session_replication_role = replica;
       update audit_events set recorded_at = recorded_at - interval '6 s' where seq is null; commit`,
    );
    const asked = await commit(Date.now() - 10_000);
    expect(asked.map(({ kind }) => kind)).toEqual(['trail_not_sealed', 'moved']);
    await sequenceOnce(own.db, 0n, testSigner(), systemClock, { checkpointEveryMs: 0 });
    bookings = bookings.slice(0, 1);
    expect((await commit(Date.now() + 60_000)).map(({ kind }) => kind)).toEqual(['moved']);
  });
});

describe('what follows transfers', () => {
  const [capacity, quota] = caseAccounts().map((account) => account.id) as [string, string];
  const others = caseAccounts()
    .filter(({ tenant }) => tenant === 'globex')
    .map((account) => account.id) as [string, string];
  const batch = (tenant: string, id: string, [debit, credit]: readonly [string, string]): Batch => {
    return { context: { tenant, nowMs: 0 }, transfers: [{ kind: 'direct', id, debit, credit, amount: 1n }] };
  };
  const told = () =>
    own.db
      .asEngine((tx) => tx.query<{ key: string }>('select key from outbox order by outbox_id'))
      .then((rows) => rows.map(({ key }) => key));

  const retold = (tx: Tx, id: string, heard: string[]) =>
    executeMany(tx, [batch('globex', id, others), batch('globex', `${id}-mine`, others)], async (results) => {
      heard.push(results.map((result) => (result.ok ? 'ok' : result.outcome.kind)).join(' '));
      await enqueue(tx, { tenant: 'globex', topic: 't', key: heard.at(-1)!, body: {} });
    });

  /** `take` holds an id in a transaction that goes on; `then` begins meanwhile, and is let go on once it `waits`. */
  async function meanwhile(
    take: (tx: Tx) => Promise<unknown>,
    then: (tx: Tx) => Promise<unknown>,
    waits: () => Promise<boolean>,
  ): Promise<void> {
    const taken = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const first = own.db.asLeader(0n, async (tx) => {
      await take(tx);
      taken.resolve();
      await goOn.promise;
    });
    await taken.promise;
    const second = own.db.asLeader(0n, then);
    await expect.poll(waits).toBe(true);
    goOn.resolve();
    await Promise.all([first, second]);
  }

  test('waits for whoever named one of its ids, and sees what they did', async () => {
    const heard: string[] = [];
    const waiting = () =>
      own.db.asEngine(async (tx) => {
        const rows = await tx.query(
          "select 1 from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())",
        );
        return rows.length > 0;
      });
    await meanwhile(
      (tx) => executeMany(tx, [batch('acme', 'same', [capacity, quota])]),
      (tx) => retold(tx, 'same', heard),
      waiting,
    );
    expect(heard).toEqual(['exists_with_different_tenant ok']);
    expect(await told()).toEqual(heard);
  });

  test('is undone and begins anew where a server of before, which locks no ids, took one first', async () => {
    const before = await told();
    const heard: string[] = [];
    const insert = `insert into transfers (transfer_id, tenant, kind, debit_account, credit_account, amount) values ('older', 'acme', 'direct', $1, $2, 0)`;
    await meanwhile(
      (tx) => tx.execute(insert, [capacity, quota]),
      (tx) => retold(tx, 'older', heard),
      async () => heard.length > 0,
    );
    expect(heard).toEqual(['ok ok', 'exists_with_different_tenant ok']);
    expect(await told()).toEqual([...before, 'exists_with_different_tenant ok']);
  });

  test('undoes them where it fails itself, and its own reason is told', async () => {
    const before = await told();
    const failing = own.db.asLeader(0n, (tx) =>
      executeMany(tx, [batch('acme', 'undone', [capacity, quota])], () => tx.execute('select 1 / 0')),
    );
    await expect(failing).rejects.toMatchObject({ code: '22012' });
    const twice = own.db.asLeader(0n, (tx) =>
      executeMany(tx, [batch('acme', 'undone', [capacity, quota])], () =>
        tx.execute("insert into tenants (tenant) values ('acme')"),
      ),
    );
    await expect(twice).rejects.toMatchObject({ code: '23505', constraint: 'tenants_pkey' });
    const stored = await own.db.asEngine((tx) => tx.query("select 1 from transfers where transfer_id = 'undone'"));
    expect([stored, await told()]).toEqual([[], before]);
  });
});
