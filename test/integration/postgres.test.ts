import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway, openDatabase, StaleLeader, type Tx } from '../../platform/postgres.ts';
import { probeRoles } from '../../platform/probe-roles.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';

let t: TestDatabase;

beforeAll(async () => {
  t = await testDatabase();
  await t.db.asEngine(async (tx) => {
    await tx.execute("insert into tenants (tenant) values ('acme'), ('umbrella')");
    await tx.execute("insert into divisions (tenant, division) values ('acme', 'lab'), ('umbrella', 'lab')");
  });
});
afterAll(() => t.close());

const epoch = async () => {
  const rows = await t.db.asEngine((tx) =>
    tx.query<{ epoch: bigint }>("select epoch from leader_epochs where name = 'engine'"),
  );
  return rows[0]?.epoch ?? -1n;
};

describe('row-level security', () => {
  test('a tenant sees its own rows only, whatever it asks for', async () => {
    const rows = await t.db.asTenant('acme', (tx) => tx.query('select tenant, division from divisions order by 1'));
    expect(rows).toEqual([{ tenant: 'acme', division: 'lab' }]);
    const named = await t.db.asTenant('acme', (tx) => tx.query("select * from divisions where tenant = 'umbrella'"));
    expect(named).toEqual([]);
  });

  test("a tenant cannot insert another's row", async () => {
    const write = t.db.asTenant('acme', (tx) => tx.execute("insert into divisions values ('umbrella', 'spies')"));
    await expect(write).rejects.toMatchObject({ code: '42501' });
  });

  test("an update without a filter leaves another tenant's rows as they are", async () => {
    await t.db.asEngine((tx) =>
      tx.execute(
        "insert into pools (tenant, pool, provider, file) values ('acme', 'p', 'local', '{}'), ('umbrella', 'p', 'local', '{}')",
      ),
    );
    expect(await t.db.asTenant('acme', (tx) => tx.execute('update pools set version = version + 1'))).toBe(1);
    const rows = await t.db.asEngine((tx) => tx.query('select tenant, version from pools order by 1'));
    expect(rows).toEqual([
      { tenant: 'acme', version: 2n },
      { tenant: 'umbrella', version: 1n },
    ]);
  });

  test('a tenant cannot move its row to another tenant', async () => {
    const move = t.db.asTenant('acme', (tx) => tx.execute("update pools set tenant = 'umbrella', pool = 'q'"));
    await expect(move).rejects.toMatchObject({ code: '42501' });
  });

  test('the tenant does not outlive its transaction on the connection', async () => {
    const one = openDatabase({ appUrl: t.urls.app, engineUrl: t.urls.engine, maxConnections: 1 });
    await one.asTenant('acme', (tx) => tx.query('select 1'));
    const client = new pg.Client({ connectionString: t.urls.app });
    await client.connect();
    expect((await client.query('select * from divisions')).rows).toEqual([]);
    await client.end();
    expect(await one.asTenant('umbrella', (tx) => tx.query('select tenant from divisions'))).toEqual([
      { tenant: 'umbrella' },
    ]);
    await one.close();
  });

  test('a quote in a tenant name is data', async () => {
    expect(
      await t.db.asTenant("x', true); drop table divisions; --", (tx) => tx.query('select * from divisions')),
    ).toEqual([]);
    expect(await t.db.asTenant('acme', (tx) => tx.query('select * from divisions'))).toHaveLength(1);
  });

  test('every table with a tenant column is secured, forced, and open to exactly its three roles', async () => {
    const open = await asAdmin(
      t.urls.admin,
      `select c.relname, c.relrowsecurity and c.relforcerowsecurity as forced,
              array_agg(p.polname::text order by p.polname::text) filter (where p.polname is not null) as policies
       from pg_class c join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'public'
       join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
       left join pg_policy p on p.polrelid = c.oid
       where c.relkind in ('r', 'p') and not c.relispartition group by 1, 2`,
    );
    expect(open.length).toBeGreaterThan(10);
    for (const table of open) {
      expect(table).toEqual({
        relname: table.relname,
        forced: true,
        policies: ['app_own_tenant', 'engine_all', 'owner_all'],
      });
    }
  });

  test('nobody of the server may create functions, tables or roles, nor call what secures tables', async () => {
    for (const sql of [
      'create table public.mine (a int)',
      'create function public.f() returns int language sql as $$select 1$$',
      'create role evil',
      "select secure_table('divisions')",
      'truncate transfers',
      'alter table transfers disable trigger all',
    ]) {
      await expect(
        t.db.asEngine((tx) => tx.execute(sql)),
        sql,
      ).rejects.toMatchObject({ code: '42501' });
      await expect(
        t.db.asTenant('acme', (tx) => tx.execute(sql)),
        sql,
      ).rejects.toMatchObject({ code: '42501' });
    }
  });
});

describe('append-only tables', () => {
  test('an audit event gets its sequence number once, and nothing else of it ever changes', async () => {
    await t.db.asEngine((tx) =>
      tx.execute(
        "insert into audit_events (event_id, tenant, subject, subject_seq, type, bytes) values ('e1', 'acme', 'booking/x', 1, 'booking.created', '\\x00')",
      ),
    );
    const change = (sql: string) => t.db.asEngine((tx) => tx.execute(sql));
    await expect(
      change("update audit_events set bytes = '\\x01', seq = 1 where event_id = 'e1'"),
    ).rejects.toMatchObject({ code: 'MR001' });
    expect(await change("update audit_events set seq = 1, leaf_hash = '\\xaa' where event_id = 'e1'")).toBe(1);
    await expect(change("update audit_events set seq = 2 where event_id = 'e1'")).rejects.toMatchObject({
      code: 'MR001',
    });
    const asOwner = new pg.Client({ connectionString: t.urls.owner });
    await asOwner.connect();
    await expect(asOwner.query("delete from audit_events where event_id = 'e1'")).rejects.toMatchObject({
      code: 'MR001',
    });
    await asOwner.end();
  });
});

describe('leading', () => {
  test('a stale leader changes nothing', async () => {
    const stale = await epoch();
    await t.db.asEngine((tx) => tx.execute("update leader_epochs set epoch = epoch + 1 where name = 'engine'"));
    const write = (at: bigint) =>
      t.db.asLeader(at, (tx) => tx.execute("update pools set version = 77 where tenant = 'umbrella'"));
    await expect(write(stale)).rejects.toThrow(StaleLeader);
    expect(await t.db.asEngine((tx) => tx.query("select version from pools where tenant = 'umbrella'"))).toEqual([
      { version: 1n },
    ]);
    expect(await write(stale + 1n)).toBe(1);
  });

  test('nobody becomes leader in the middle of a leader transaction', async () => {
    const now = await epoch();
    let minted = false;
    let mint: Promise<unknown> | undefined;
    await t.db.asLeader(now, async (tx) => {
      mint = t.db
        .asEngine((other) => other.execute("update leader_epochs set epoch = epoch + 1 where name = 'engine'"))
        .then(() => {
          minted = true;
        });
      // The other transaction is seen waiting for our row before we go on.
      for (;;) {
        const waiting = await asAdmin(
          t.urls.admin,
          "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'update leader_epochs%'",
        );
        if (waiting.length > 0) break;
      }
      expect(minted).toBe(false);
      await tx.execute("update pools set version = 78 where tenant = 'umbrella'");
    });
    await mint;
    expect(minted).toBe(true);
  });
});

describe('transactions', () => {
  test('work that throws leaves nothing behind', async () => {
    const failing = t.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('gone')");
      throw new Error('stop');
    });
    await expect(failing).rejects.toThrow('stop');
    expect(await t.db.asEngine((tx) => tx.query("select 1 from tenants where tenant = 'gone'"))).toEqual([]);
  });

  test('work that swallows a failed statement is not reported as done', async () => {
    const swallowing = t.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('lost')");
      await tx.query('select 1/0').catch(() => {});
      return 'done';
    });
    await expect(swallowing).rejects.toThrow(/one of its statements had failed/);
  });

  test('statements asked for together are taken in the order asked, by whomever; after a fault none of them counts, and the connection goes on', async () => {
    const one = openDatabase({ appUrl: t.urls.app, engineUrl: t.urls.engine, maxConnections: 1 });
    const leads = await epoch();
    const count = (tx: Tx, name: string) => tx.query("select nextval('counted') as n, $1::text as name", [name]);
    await asAdmin(t.urls.admin, 'create sequence counted; grant usage on counted to merit_app, merit_engine');
    try {
      const together = (tx: Tx) => Promise.all(['a', 'b', 'c'].map((name) => count(tx, name)));
      const ways: readonly ((work: (tx: Tx) => Promise<unknown>) => Promise<unknown>)[] = [
        (work) => one.asLeader(leads, work),
        (work) => one.asEngine(work),
        (work) => one.asTenant('acme', work),
      ];
      let n = 1n;
      for (const way of ways) {
        const expected = ['a', 'b', 'c'].map((name) => [{ n: n++, name }]);
        expect(await way(together)).toEqual(expected);
        const failing = way((tx) =>
          Promise.all([
            tx.execute("insert into divisions (tenant, division) values ('acme', 'half')"),
            tx.query('select 1 / 0'),
            count(tx, 'late').catch(() => {}),
          ]),
        );
        await expect(failing).rejects.toMatchObject({ code: '22012' });
        expect(await one.asEngine((tx) => tx.query("select 1 from divisions where division = 'half'"))).toEqual([]);
        expect((await one.asEngine((tx) => tx.copyOut('copy (select 7) to stdout'))).toString()).toBe('7\n');
      }
    } finally {
      await one.close();
    }
  });

  test('a statement with a name is parsed once a connection, also where it was first asked for behind one that failed', async () => {
    const one = openDatabase({ appUrl: t.urls.app, engineUrl: t.urls.engine, maxConnections: 1 });
    const leads = await epoch();
    const named = (tx: Tx, n: number) => tx.query('select $1::integer as n', [n], 'numbered');
    const ways: readonly ((work: (tx: Tx) => Promise<unknown>) => Promise<unknown>)[] = [
      (work) => one.asTenant('acme', work),
      (work) => one.asLeader(leads, work),
      (work) => one.asEngine(work),
    ];
    try {
      for (const way of ways) {
        const failing = way((tx) => Promise.all([tx.query('select 1 / 0'), named(tx, 1).catch(() => {})]));
        await expect(failing).rejects.toMatchObject({ code: '22012' });
        expect(await way((tx) => Promise.all([named(tx, 2), named(tx, 3)]))).toEqual([[{ n: 2 }], [{ n: 3 }]]);
        const prepared = (tx: Tx) => tx.query("select 1 as one from pg_prepared_statements where name = 'numbered'");
        expect(await way(prepared)).toEqual([{ one: 1 }]);
      }
      const other = one.asEngine((tx) => tx.query('select 2 as n', [], 'numbered'));
      await expect(other).rejects.toThrow('unique');
    } finally {
      await one.close();
    }
  });

  test('what is asked for together with a statement that fails is never done behind its transaction', async () => {
    const insert = (tx: Tx, name: string) => tx.execute('insert into tenants (tenant) values ($1)', [name]);
    for (const way of [
      (work: (tx: Tx) => Promise<unknown>) => t.db.asEngine(work),
      async (work: (tx: Tx) => Promise<unknown>) => t.db.asLeader(await epoch(), work),
    ]) {
      let late: Promise<readonly PromiseSettledResult<unknown>[]> | undefined;
      const failing = way(async (tx) => {
        const first = tx.query('select 1 / 0');
        const together = ['behind-1', 'behind-2', 'behind-3'].map((name) => insert(tx, name));
        late = Promise.allSettled([...together, first.catch(() => insert(tx, 'behind-4'))]);
        await first;
      });
      await expect(failing).rejects.toThrow('division by zero');
      expect((await late)?.map(({ status }) => status)).toEqual(Array(4).fill('rejected'));
      expect(await t.db.asEngine((tx) => tx.query("select 1 from tenants where tenant like 'behind%'"))).toEqual([]);
    }
  });

  test('a deadlock is repeated until both have their way', async () => {
    const both = (first: string, second: string) =>
      t.db.asEngine(async (tx) => {
        await tx.execute('update pools set version = version where tenant = $1', [first]);
        await new Promise((resolve) => setTimeout(resolve, 50));
        return tx.execute('update pools set version = version where tenant = $1', [second]);
      });
    expect(await Promise.all([both('acme', 'umbrella'), both('umbrella', 'acme')])).toEqual([1, 1]);
  });

  test('a server that ends our session in mid-transaction is an error of that transaction only', async () => {
    const cut = t.db.asEngine(async (tx) => {
      const [row] = await tx.query<{ pid: number }>('select pg_backend_pid() as pid');
      await asAdmin(t.urls.admin, `select pg_terminate_backend(${row?.pid})`);
      await new Promise((resolve) => setTimeout(resolve, 100));
      return tx.query('select 1');
    });
    const error: unknown = await cut.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(isDatabaseAway(error)).toBe(true);
    expect(await t.db.asEngine((tx) => tx.query('select 1 as one'))).toEqual([{ one: 1 }]);
  });

  test('64-bit integers come back exact', async () => {
    expect(await t.db.asEngine((tx) => tx.query('select 9007199254740993::bigint as n'))).toEqual([
      { n: 9007199254740993n },
    ]);
  });

  test('a server that is not there is told with what to check, and may be tried again', async () => {
    const nowhere = openDatabase({
      appUrl: 'postgres://a:b@127.0.0.1:1/x',
      engineUrl: 'postgres://a:b@127.0.0.1:1/x',
      maxConnections: 1,
    });
    const error: unknown = await nowhere.asEngine((tx) => tx.query('select 1')).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(OperatingError);
    expect(error).toMatchObject({ code: 'unreachable', retry: 'safe' });
    expect(isDatabaseAway(error)).toBe(true);
    await nowhere.close();
  });
});

describe('the users the server is given', () => {
  const codes = async (appUrl: string, engineUrl: string) =>
    (await probeRoles({ appUrl, engineUrl })).map((r) => `${r.field} ${r.code}`);

  test('the two made for it are right', async () => {
    expect(await codes(t.urls.app, t.urls.engine)).toEqual([]);
  });

  test('a superuser, the owner, and the two swapped are refused (G43)', async () => {
    expect(await codes(t.urls.admin, t.urls.engine)).toContain('databaseUrl db_superuser');
    expect(await codes(t.urls.owner, t.urls.engine)).toContain('databaseUrl db_owner');
    expect(await codes(t.urls.app, t.urls.owner)).toContain('engineDatabaseUrl db_owner');
    expect(await codes(t.urls.engine, t.urls.app)).toEqual([
      'databaseUrl db_role',
      'databaseUrl db_role',
      'engineDatabaseUrl db_role',
    ]);
  });

  test('a user that may bypass row-level security is refused (G43)', async () => {
    const name = `probe_${process.pid}`;
    await asAdmin(t.urls.admin, `create role ${name} login bypassrls password 'x'; grant merit_app to ${name}`);
    const url = new URL(t.urls.app);
    url.username = name;
    url.password = 'x';
    expect(await codes(url.href, t.urls.engine)).toEqual(['databaseUrl db_bypassrls']);
    await asAdmin(t.urls.admin, `drop role ${name}`);
  });

  test('a database that forgets what it acknowledged is refused (G44)', async () => {
    const database = new URL(t.urls.admin).pathname.slice(1);
    await asAdmin(t.urls.admin, `alter database ${database} set synchronous_commit = off`);
    expect(await codes(t.urls.app, t.urls.engine)).toEqual(['databaseUrl db_durability']);
    await asAdmin(t.urls.admin, `alter database ${database} reset synchronous_commit`);
  });
});
