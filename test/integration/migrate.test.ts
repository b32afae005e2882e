import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { bootstrapDatabase, bootstrapSql, scramVerifier } from '../../platform/bootstrap.ts';
import { MIGRATIONS_DIR, MigrationBusy, migrate, migrationStatus } from '../../platform/migrate.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { onDatabase } from '../support/postgres.ts';

/** An empty database owned by merit_owner. */
let empty: { readonly name: string; readonly owner: string; readonly admin: string; readonly app: string };
let dir: string;
const { admin, owner, app } = inject('postgresUrls');

beforeEach(async () => {
  const name = `empty_${Math.random().toString(36).slice(2)}`;
  await asAdmin(admin, `create database ${name} owner merit_owner template template0`);
  empty = { name, owner: onDatabase(owner, name), admin: onDatabase(admin, name), app: onDatabase(app, name) };
  dir = await mkdtemp(join(tmpdir(), 'merit-migrations-'));
});
afterEach(async () => {
  await asAdmin(admin, `drop database ${empty.name} with (force)`);
  await rm(dir, { recursive: true });
});

const write = (name: string, sql: string) => writeFile(join(dir, name), sql);
const tables = async () =>
  (await asAdmin(empty.admin, "select tablename from pg_tables where schemaname = 'public' order by 1")).map(
    (row) => row.tablename,
  );

describe('migrating', () => {
  test('all of the shipped migrations run on an empty database, once', async () => {
    const names = (await readdir(MIGRATIONS_DIR)).toSorted().map((name) => name.replace('.sql', ''));
    expect(await migrationStatus({ url: empty.owner })).toEqual(names.map((name) => ({ name, appliedAt: undefined })));
    expect((await migrate({ ownerUrl: empty.owner })).applied).toEqual(names);
    expect((await migrate({ ownerUrl: empty.owner })).applied).toEqual([]);
    const status = await migrationStatus({ url: empty.app });
    expect(status.map((one) => one.name)).toEqual(names);
    const tookMs = Date.now() - (status[0]?.appliedAt?.getTime() ?? 0);
    expect(tookMs).toBeGreaterThanOrEqual(0);
    expect(tookMs).toBeLessThan(600_000);
  });

  test('a new file runs after those that ran', async () => {
    await write('0001_create_one.sql', 'create table one (a int);');
    await migrate({ ownerUrl: empty.owner, dir });
    await write('0002_create_two.sql', 'create table two (a int);');
    expect((await migrationStatus({ url: empty.owner, dir })).map((one) => one.appliedAt === undefined)).toEqual([
      false,
      true,
    ]);
    expect((await migrate({ ownerUrl: empty.owner, dir })).applied).toEqual(['0002_create_two']);
    expect(await tables()).toEqual(['one', 'schema_migrations', 'two']);
  });

  test('one that fails leaves nothing of any of them', async () => {
    await write('0001_create_one.sql', 'create table one (a int);');
    await write('0002_break_things.sql', 'create table two (a int); select 1/0;');
    await expect(migrate({ ownerUrl: empty.owner, dir })).rejects.toMatchObject({
      code: 'database',
      message: expect.stringContaining('division by zero'),
    });
    expect(await tables()).not.toContain('one');
    await write('0002_break_things.sql', 'create table two (a int);');
    expect((await migrate({ ownerUrl: empty.owner, dir })).applied).toHaveLength(2);
  });

  test('of two at once one runs and the other is told so', async () => {
    await write('0001_sleep_long.sql', 'select pg_sleep(0.5);');
    const both = await Promise.allSettled([
      migrate({ ownerUrl: empty.owner, dir }),
      migrate({ ownerUrl: empty.owner, dir }),
    ]);
    expect(both.map((one) => one.status).toSorted()).toEqual(['fulfilled', 'rejected']);
    expect(both.find((one) => one.status === 'rejected')?.reason).toBeInstanceOf(MigrationBusy);
    expect((await migrate({ ownerUrl: empty.owner, dir })).applied).toEqual([]);
  });

  test('a database with another history is left alone', async () => {
    await write('0001_create_one.sql', 'create table one (a int);');
    await migrate({ ownerUrl: empty.owner, dir });
    await rm(join(dir, '0001_create_one.sql'));
    await expect(migrate({ ownerUrl: empty.owner, dir })).rejects.toMatchObject({
      code: 'conflict',
      mend: expect.stringContaining('newer'),
    });
    await write('0001_create_other.sql', 'create table other (a int);');
    await expect(migrate({ ownerUrl: empty.owner, dir })).rejects.toMatchObject({
      code: 'conflict',
      mend: expect.stringContaining('URL'),
    });
    await expect(migrationStatus({ url: empty.owner, dir })).rejects.toMatchObject({ code: 'conflict' });
    expect(await tables()).toEqual(['one', 'schema_migrations']);
  });

  test.each(['1_create_one.sql', '0001-create-one.sql', '0001_one.sql', '0002_create_one.sql', '0001_create_one.ts'])(
    'a file named %s is refused',
    async (name) => {
      await write(name, 'select 1;');
      await expect(migrate({ ownerUrl: empty.owner, dir })).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringContaining(name),
      });
    },
  );

  test('there is no way down', async () => {
    await write('0001_create_one.sql', 'create table one (a int);\n-- Down Migration\ndrop table one;');
    await expect(migrate({ ownerUrl: empty.owner, dir })).rejects.toMatchObject({
      mend: expect.stringContaining('forward'),
    });
  });

  test('the server roles cannot migrate', async () => {
    await expect(migrate({ ownerUrl: empty.app })).rejects.toMatchObject({ code: 'database' });
    expect(await tables()).toEqual([]);
  });
});

describe('making the roles', () => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await testDatabase();
  });
  afterAll(() => t.close());
  const passwordOf = (url: string) => new URL(url).password;
  const passwords = {
    merit_owner: passwordOf(owner),
    merit_app: passwordOf(app),
    merit_engine: passwordOf(inject('postgresUrls').engine),
  };

  test('it makes a database that migrates, and may run again', async () => {
    const database = `fresh_${Math.random().toString(36).slice(2)}`;
    for (let i = 0; i < 2; i++) await bootstrapDatabase({ adminUrl: admin, passwords, database });
    expect((await migrate({ ownerUrl: onDatabase(owner, database) })).applied.length).toBeGreaterThan(0);
    const stranger = `stranger_${process.pid}`;
    await asAdmin(admin, `create role ${stranger} login password 'x'`);
    const url = new URL(onDatabase(app, database));
    url.username = stranger;
    url.password = 'x';
    await expect(asAdmin(url.href, 'select 1')).rejects.toMatchObject({ code: '42501' });
    await asAdmin(admin, `drop database ${database} with (force)`);
    await asAdmin(admin, `drop role ${stranger}`);
  });

  test('an administrator who may only make roles and databases is enough', async () => {
    const name = `limited_${process.pid}`;
    const database = `lim_${process.pid}`;
    // Of a cluster where the roles exist already, only their administrator may change them.
    await asAdmin(
      admin,
      `create role ${name} login createrole createdb password 'x'; grant merit_owner, merit_app, merit_engine to ${name} with admin option`,
    );
    const url = new URL(admin);
    url.username = name;
    url.password = 'x';
    await bootstrapDatabase({ adminUrl: url.href, passwords, database });
    expect(
      (
        await asAdmin(admin, `select pg_get_userbyid(datdba) as owner from pg_database where datname = '${database}'`)
      )[0],
    ).toEqual({ owner: 'merit_owner' });
    await asAdmin(admin, `drop database ${database}`);
    await asAdmin(admin, `drop owned by ${name} cascade`);
    await asAdmin(admin, `drop role ${name}`);
  });

  test('who may not make them is told which statements an administrator runs', async () => {
    await expect(bootstrapDatabase({ adminUrl: app, passwords, database: 'never' })).rejects.toMatchObject({
      mend: expect.stringContaining(bootstrapSql('never')),
    });
  });

  test('the server never learns a password: it gets the verifier, and lets its owner in', async () => {
    const role = `scram_${process.pid}`;
    await asAdmin(admin, `create role ${role} login password '${scramVerifier("it's secret")}'`);
    const url = new URL(admin);
    url.username = role;
    url.password = encodeURIComponent("it's secret");
    const client = new pg.Client({ connectionString: url.href });
    await client.connect();
    await client.end();
    const stored = await asAdmin(admin, `select rolpassword from pg_authid where rolname = '${role}'`);
    expect(stored[0]?.rolpassword).toMatch(/^SCRAM-SHA-256\$4096:/);
    await asAdmin(admin, `drop role ${role}`);
  });
});
