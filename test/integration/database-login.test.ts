import { randomBytes } from 'node:crypto';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { loadConfig } from '../../platform/config.ts';
import { listen } from '../../platform/listener.ts';
import { nextLogin } from '../../platform/next-login.ts';
import { type Database, openDatabase } from '../../platform/postgres.ts';
import { openTenantReads, type TenantReads } from '../../platform/postgres-reads.ts';
import { type LoginField, probeLogin, probeRoles } from '../../platform/probe-roles.ts';
import { type RotatingSecret, rotatingSecret } from '../../platform/rotating-secret.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';

/** Logins that Vault makes: users of their own that are members of merit_app and merit_engine, written into a file as JSON, and replaced while the server works. */
const mark = randomBytes(4).toString('hex');
const LIMIT_MS = 30_000;
let t: TestDatabase;
let dir: string;
let logins: string[];
let stop: AbortController;
let app: RotatingSecret;
let engine: RotatingSecret;
let db: Database;
let reads: TenantReads;
const followed: Promise<void>[] = [];
const told: unknown[] = [];

beforeAll(async () => {
  t = await testDatabase();
  dir = await mkdtemp(join(tmpdir(), 'merit-login-'));
  await asAdmin(t.urls.admin, "insert into tenants (tenant) values ('acme')");
  logins = [];
}, 60_000);
afterAll(async () => {
  await t.close();
  for (const name of logins)
    await asAdmin(t.urls.admin.replace(/\/[^/]*$/, '/postgres'), `drop role if exists ${name}`);
  await rm(dir, { recursive: true });
});

async function makeLogin(kind: 'app' | 'engine', password: string): Promise<string> {
  const name = `v_${kind}_${mark}_${logins.length}`;
  logins.push(name);
  await asAdmin(t.urls.admin, `create role ${name} login password '${password}' in role merit_${kind}`);
  return name;
}

/** As Vault Agent renders a template: another file takes its place. */
async function render(kind: 'app' | 'engine', username: string, password: string): Promise<void> {
  const path = join(dir, `${kind}.json`);
  await writeFile(`${path}.new`, `${JSON.stringify({ username, password, lease: '1h' })}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

beforeEach(async () => {
  for (const kind of ['app', 'engine'] as const) await render(kind, await makeLogin(kind, 'first'), 'first');
  const url = new URL(t.urls.app);
  const at = `postgres://${url.host}${url.pathname}`;
  const yaml = ['databaseUrl', 'engineDatabaseUrl'].map((field, i) => {
    const file = join(dir, `${i === 0 ? 'app' : 'engine'}.json`);
    return `${field}: {at: "${at}", login: {file: ${file}}}`;
  });
  await writeFile(join(dir, 'merit.yaml'), yaml.join('\n'));
  const { database } = await loadConfig({ env: {}, cwd: dir });
  if (database.kind !== 'external') throw new Error('the logins were not read');
  stop = new AbortController();
  const rotating = (field: LoginField, initial: typeof database.appUrl, reading = database.readings.app) => {
    const probe = (url: string) => probeLogin(field, url);
    const read = nextLogin({ field, of: 'database', initial, read: reading!.read, probe });
    const secret = rotatingSecret({ initial, read, everyMs: 20, clock: systemClock });
    followed.push(secret.follow({ changed: () => {}, failed: (error) => void told.push(error) }, stop.signal));
    return secret;
  };
  app = rotating('databaseUrl', database.appUrl, database.readings.app);
  engine = rotating('engineDatabaseUrl', database.engineUrl, database.readings.engine);
  expect(await probeRoles({ appUrl: app, engineUrl: engine })).toEqual([]);
  db = openDatabase({ appUrl: app, engineUrl: engine, maxConnections: 6 });
  reads = openTenantReads(app);
});

afterEach(async () => {
  stop.abort();
  await Promise.all(followed.splice(0));
  await reads.close();
  await db.close();
});

interface Load {
  readonly failures: unknown[];
  done: number;
  /** So many more workers. */
  more(count: number): void;
  end(): Promise<void>;
}

const WORK = [
  () => db.asTenant('acme', (tx) => tx.query('select tenant from tenants')),
  () => db.asEngine((tx) => tx.query('select pg_sleep(0.002)')),
  () => reads.read('acme', { name: 'now', text: 'select tenant from tenants where $1 = 1' }, [1]),
];

function underLoad(): Load {
  let isOver = false;
  const workers: Promise<void>[] = [];
  const load: Load = {
    failures: [],
    done: 0,
    more: (count) => {
      for (let i = 0; i < count; i++)
        workers.push(
          (async () => {
            for (let n = i; !isOver; n++) {
              try {
                await WORK[n % WORK.length]!();
                load.done++;
              } catch (error) {
                load.failures.push(error);
              }
            }
          })(),
        );
    },
    end: async () => {
      isOver = true;
      await Promise.all(workers);
    },
  };
  return load;
}

async function until(done: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + LIMIT_MS;
  while (!(await done())) {
    if (performance.now() > deadline) throw new Error('it did not come to that');
    await sleep(20);
  }
}

const goesOn = async (load: Load) => {
  const enough = load.done + 50;
  await until(() => load.done >= enough || load.failures.length > 0);
};

async function sessionsOf(user: string): Promise<number> {
  const rows = await asAdmin(t.urls.admin, `select count(*)::int as n from pg_stat_activity where usename = '${user}'`);
  return Number(rows[0]?.n);
}

test('a password that the database knows of before its file tells it drops no request', async () => {
  const load = underLoad();
  load.more(2);
  await goesOn(load);
  const [appUser, engineUser] = logins.slice(-2);
  await asAdmin(t.urls.admin, `alter role ${appUser} password 'second'`);
  await asAdmin(t.urls.admin, `alter role ${engineUser} password 'second'`);
  // More work than connections that are open: new ones are refused, and wait for the file.
  load.more(10);
  await sleep(400);
  await render('app', appUser!, 'second');
  await render('engine', engineUser!, 'second');
  await until(async () => (await sessionsOf(engineUser!)) >= 4);
  await goesOn(load);
  await load.end();
  expect(load.failures).toEqual([]);
  expect(new URL(app.now().reveal()).password).toBe('second');
}, 60_000);

test('a user that is replaced by another one drops no request, and has no connection left, so that it can be dropped', async () => {
  const load = underLoad();
  const wakes: (string | undefined)[] = [];
  const ears = listen(engine, 'login_test', systemClock, stop.signal, (payload) => wakes.push(payload));
  load.more(8);
  await goesOn(load);
  const [oldApp, oldEngine] = logins.slice(-2);
  for (const kind of ['app', 'engine'] as const) await render(kind, await makeLogin(kind, 'next'), 'next');
  await until(async () => (await sessionsOf(oldApp!)) === 0);
  // What listens keeps its connection: it is made anew once that is ended.
  await until(async () => (await sessionsOf(oldEngine!)) <= 1);
  for (const user of [oldApp, oldEngine]) {
    const ended = `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${user}'`;
    await asAdmin(t.urls.admin, ended);
    await asAdmin(t.urls.admin, `drop role ${user}`);
  }
  const before = wakes.length;
  await until(() => wakes.length > before);
  await goesOn(load);
  await load.end();
  stop.abort();
  await ears;
  expect(load.failures).toEqual([]);
}, 60_000);

test('a login that may more than it should is not taken, and the one before goes on', async () => {
  const before = app.now();
  told.length = 0;
  const { username, password } = new URL(t.urls.owner);
  await render('app', username, password);
  await until(() => told.length > 0);
  expect(String(told[0])).toContain('owns tables');
  await render('app', ...(await engineLogin()));
  await until(() => told.length > 1);
  expect(String(told[1])).toContain('sees all tenants');
  expect(app.now()).toBe(before);
  expect(await db.asTenant('acme', (tx) => tx.query('select tenant from tenants'))).toHaveLength(1);
}, 60_000);

async function engineLogin(): Promise<readonly [string, string]> {
  return [await makeLogin('engine', 'strong'), 'strong'];
}

test('a file that lacks the login, or is cut, changes nothing and is told once (P52)', async () => {
  const before = app.now();
  told.length = 0;
  for (const text of ['{"username":"x"}', '{"username":"x","pass']) {
    const count = told.length;
    await writeFile(join(dir, 'app.json'), text, { mode: 0o600 });
    await until(() => told.length > count);
    expect(app.now()).toBe(before);
  }
  const text = told.map(String).join('\n');
  expect(text).not.toContain('first');
});

test('a login that never worked is not waited for', async () => {
  const wrong = rotatingSecret({
    initial: app.now(),
    read: async () => app.now(),
    everyMs: 1_000,
    clock: systemClock,
  });
  await asAdmin(t.urls.admin, `alter role ${logins.at(-2)} password 'elsewhere'`);
  const one = openDatabase({ appUrl: wrong, engineUrl: engine, maxConnections: 1 });
  await expect(one.asTenant('acme', (tx) => tx.query('select 1'))).rejects.toMatchObject({ code: 'auth' });
  await one.close();
});
