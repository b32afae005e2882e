import { execFile, execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { explainFailure } from '../../platform/embedded-postgres/failure.ts';
import { freePort } from '../../platform/embedded-postgres/launch.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../platform/embedded-postgres/start.ts';
import { processStart, readParts } from '../../platform/processes.ts';
import { type StateLayout, stateLayout } from '../../platform/state-layout.ts';
import { asAdmin } from '../support/db.ts';
import { layoutIn, reachableTempDir } from '../support/postgres.ts';

let folder: string;
let layout: StateLayout;
let lines: string[];
const started: EmbeddedPostgres[] = [];

beforeEach(async () => {
  folder = await reachableTempDir();
  layout = await layoutIn(folder);
  lines = [];
});
afterEach(async () => {
  for (const postgres of started.splice(0)) await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

async function start(options: { readonly port?: number } = {}): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({ ...layout, ...options, log: (line) => lines.push(line) });
  started.push(postgres);
  return postgres;
}

async function listenOn(port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return server;
}

const modeOf = (path: string) => statSync(path).mode & 0o777;
const closed = (server: Server) => new Promise((resolve) => server.close(resolve));

describe('starting', () => {
  test('data, port and passwords survive a restart', async () => {
    const first = await start();
    expect(first.adopted).toBe(false);
    await asAdmin(first.urls.admin, 'create table kept as select 7 as seven');
    await first.stop();
    expect(processStart(first.pid)).toBeUndefined();
    const second = await start();
    expect(second).toMatchObject({ adopted: false, port: first.port, urls: first.urls });
    expect(await asAdmin(second.urls.admin, 'select seven from kept')).toEqual([{ seven: 7 }]);
  });

  test('under umask 077 too, and no secret is left where others can read', async () => {
    const before = process.umask(0o077);
    try {
      await start();
    } finally {
      process.umask(before);
    }
    for (const name of ['postgres.json', 'postgres.log', 'parts.json', 'instance-id']) {
      expect(modeOf(join(layout.stateDir, name)), name).toBe(0o600);
    }
    expect(modeOf(layout.dataDir)).toBe(0o700);
    expect(readdirSync(folder).toSorted()).toEqual(['pg', 'state']);
    const { passwords } = JSON.parse(readFileSync(join(layout.stateDir, 'postgres.json'), 'utf8'));
    expect(Object.keys(passwords)).toHaveLength(4);
    for (const password of Object.values<string>(passwords)) {
      expect(password.length).toBeGreaterThanOrEqual(32);
      const told = readFileSync(join(layout.stateDir, 'postgres.log'), 'utf8') + lines.join('\n');
      expect(told).not.toContain(password);
    }
  });

  test('the variables of our environment that steer Postgres do not reach it', async () => {
    process.env.PGDATA = '/nowhere';
    process.env.PGPORT = '1';
    process.env.PGOPTIONS = '-c work_mem=1GB';
    process.env.PGSSLMODE = 'require';
    try {
      const postgres = await start();
      expect(await asAdmin(postgres.urls.admin, 'show data_directory')).toEqual([{ data_directory: layout.dataDir }]);
      expect(await asAdmin(postgres.urls.admin, 'show work_mem')).toEqual([{ work_mem: '4MB' }]);
    } finally {
      delete process.env.PGDATA;
      delete process.env.PGPORT;
      delete process.env.PGOPTIONS;
      delete process.env.PGSSLMODE;
    }
  });

  test('it listens on loopback only, keeps what it acknowledged, and lets nobody in without a password', async () => {
    const postgres = await start();
    const show = async (name: string) =>
      Object.values((await asAdmin(postgres.urls.admin, `show ${name}`))[0] ?? {})[0];
    expect(await show('listen_addresses')).toBe('127.0.0.1');
    expect(await show('unix_socket_directories')).toBe('');
    for (const name of ['fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums'])
      expect(await show(name), name).toBe('on');
    expect(await show('server_encoding')).toBe('UTF8');
    const stranger = new pg.Client({
      connectionString: `postgres://merit_admin:wrong@127.0.0.1:${postgres.port}/postgres`,
    });
    await expect(stranger.connect()).rejects.toMatchObject({ code: '28P01' });
    const auth = await asAdmin(
      postgres.urls.admin,
      'select distinct auth_method from pg_hba_file_rules where error is null',
    );
    expect(auth).toEqual([{ auth_method: 'scram-sha-256' }]);
  });

  test('the log holds neither statements nor row contents', async () => {
    const postgres = await start();
    await asAdmin(postgres.urls.admin, 'create table secrets (word text primary key)');
    await asAdmin(postgres.urls.admin, "insert into secrets values ('swordfish')");
    await expect(asAdmin(postgres.urls.admin, "insert into secrets values ('swordfish')")).rejects.toThrow();
    await postgres.stop();
    expect(readFileSync(join(layout.stateDir, 'postgres.log'), 'utf8')).not.toContain('swordfish');
  });

  test('the roles of the server pass no row-level security by, and only the bootstrap one is a superuser', async () => {
    const postgres = await start();
    const roles = await asAdmin(
      postgres.urls.admin,
      "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname !~ '^pg_' order by 1",
    );
    const plain = { rolsuper: false, rolbypassrls: false, rolcreaterole: false, rolcreatedb: false };
    expect(roles).toEqual([
      { rolname: 'merit_admin', rolsuper: true, rolbypassrls: true, rolcreaterole: true, rolcreatedb: true },
      { rolname: 'merit_app', ...plain },
      { rolname: 'merit_engine', ...plain },
      { rolname: 'merit_owner', ...plain },
    ]);
  });

  test('of two starts at once one adopts what the other started', async () => {
    await (await start()).stop();
    const [one, two] = await Promise.all([start(), start()]);
    expect(one.pid).toBe(two.pid);
    expect(await asAdmin(two.urls.admin, 'select 1 as one')).toEqual([{ one: 1 }]);
  });
});

describe('stopping', () => {
  test('it works twice, and at once, and takes the part off the list', async () => {
    const postgres = await start();
    expect(readParts(layout.stateDir).map((part) => [part.name, part.pid, part.signal])).toEqual([
      ['postgres', postgres.pid, 'SIGINT'],
    ]);
    await Promise.all([postgres.stop(), postgres.stop()]);
    await postgres.stop();
    expect(readParts(layout.stateDir)).toEqual([]);
    expect(processStart(postgres.pid)).toBeUndefined();
  });

  test('open sessions do not hold it up', async () => {
    const postgres = await start();
    const client = new pg.Client({ connectionString: postgres.urls.admin });
    client.on('error', () => {});
    await client.connect();
    await client.query('begin');
    await postgres.stop();
    expect(processStart(postgres.pid)).toBeUndefined();
    await client.end().catch(() => {});
  });
});

describe('after a crash', () => {
  test('a Postgres whose server was killed is adopted, and can be stopped', async () => {
    const script = fileURLToPath(new URL('../support/start-and-die.ts', import.meta.url));
    const pid = await new Promise<number>((resolve) => {
      execFile(process.execPath, [script, folder], (_error, stdout) => resolve(Number(stdout)));
    });
    expect(processStart(pid)).toBeDefined();
    const postgres = await start();
    expect(postgres).toMatchObject({ adopted: true, pid });
    expect(await asAdmin(postgres.urls.admin, 'select 1 as one')).toEqual([{ one: 1 }]);
    await postgres.stop();
    expect(processStart(pid)).toBeUndefined();
  });

  test('a Postgres that was killed recovers what it acknowledged', async () => {
    const first = await start();
    await asAdmin(first.urls.admin, 'create table kept as select generate_series(1, 1000) as n');
    process.kill(first.pid, 'SIGKILL');
    const second = await start();
    expect(second.pid).not.toBe(first.pid);
    expect(await asAdmin(second.urls.admin, 'select count(*)::int as n from kept')).toEqual([{ n: 1000 }]);
  });

  test('a postmaster.pid from before a reboot, whose number another program has now, is taken away', async () => {
    const first = await start();
    await first.stop();
    const lock = [
      process.pid,
      layout.dataDir,
      1_000_000_000,
      first.port,
      '',
      '127.0.0.1',
      '  1   1',
      'ready   ',
      '',
    ].join('\n');
    await writeFile(join(layout.dataDir, 'postmaster.pid'), lock);
    const second = await start();
    expect(second.adopted).toBe(false);
    expect(lines.join('\n')).toContain('stale postmaster.pid');
  });

  test('a first start that was killed half-way is begun anew', async () => {
    await mkdir(join(folder, 'pg.new-00000000'));
    await writeFile(join(folder, 'pg.new-00000000', 'PG_VERSION'), '18\n');
    await start();
    expect(readdirSync(folder).toSorted()).toEqual(['pg', 'state']);
  });
});

describe('what it cannot work with is told with its mend', () => {
  const fault = async (options: { readonly port?: number } = {}) =>
    start(options).then(
      () => undefined,
      (error: unknown) => error,
    );

  test('a data folder of another major version', async () => {
    await (await start()).stop();
    await writeFile(join(layout.dataDir, 'PG_VERSION'), '17\n');
    expect(await fault()).toMatchObject({
      code: 'conflict',
      retry: 'never',
      message: expect.stringContaining('Postgres 17'),
    });
  });

  test('a kept port that another program took is given up, and the new one kept', async () => {
    const first = await start();
    await first.stop();
    const other = await listenOn(first.port);
    const second = await start();
    expect(second.port).not.toBe(first.port);
    expect(JSON.parse(await readFile(join(layout.stateDir, 'postgres.json'), 'utf8')).port).toBe(second.port);
    await closed(other);
  });

  test('a wished port that another program uses', async () => {
    const port = await freePort();
    const other = await listenOn(port);
    expect(await fault({ port })).toMatchObject({ code: 'conflict', mend: expect.stringContaining('port') });
    await closed(other);
  });

  test('a folder that holds something else', async () => {
    await mkdir(layout.dataDir);
    await writeFile(join(layout.dataDir, 'thesis.tex'), 'years of work');
    expect(await fault()).toMatchObject({ code: 'conflict', mend: expect.stringContaining('move') });
    expect(await readFile(join(layout.dataDir, 'thesis.tex'), 'utf8')).toBe('years of work');
  });

  test('a lost password file', async () => {
    await (await start()).stop();
    await rm(join(layout.stateDir, 'postgres.json'));
    expect(await fault()).toMatchObject({ code: 'part-missing', mend: expect.stringContaining('put the file back') });
  });

  test('a broken password file, without telling what it holds', async () => {
    await writeFile(join(layout.stateDir, 'postgres.json'), '{"passwords": {"merit_admin": "hunter2"');
    const error = await fault();
    expect(error).toMatchObject({ code: 'storage', retry: 'never' });
    expect(String(error)).not.toContain('hunter2');
  });

  const canMount = process.getuid?.() === 0 && process.platform === 'linux';
  test.skipIf(!canMount)('a disk without room, before anything is made there', async () => {
    const small = join(folder, 'small');
    await mkdir(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=50m,mode=0755', 'tmpfs', small]);
    try {
      layout = { ...layout, dataDir: join(small, 'pg') };
      expect(await fault()).toMatchObject({ code: 'storage', mend: expect.stringContaining('free at least') });
      expect(readdirSync(small)).toEqual([]);
    } finally {
      execFileSync('umount', [small]);
    }
  });

  test.each([
    ['FATAL:  could not write lock file "postmaster.pid": No space left on device', 'storage', 'disk space'],
    ['FATAL:  could not resize shared memory segment: No space left on device', 'capacity', 'shared memory'],
    ['LOG:  could not bind IPv4 address "127.0.0.1": Address already in use', 'conflict', 'port'],
    ['FATAL:  lock file "postmaster.pid" already exists', 'conflict', 'another Postgres'],
    ['FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use', 'conflict', 'another Postgres'],
    ['FATAL:  database files are incompatible with server', 'conflict', 'version'],
    ["version `GLIBC_2.99' not found", 'part-missing', 'DATABASE_URL'],
    ['initdb: error: could not access directory: Permission denied', 'storage', 'reach'],
  ])('%s', (said, code, mend) => {
    expect(explainFailure(`noise\n${said}\n`, '/d')).toMatchObject({ code, mend: expect.stringContaining(mend) });
  });
});

describe('where things lie', () => {
  test('the instance id is made once and kept', async () => {
    const again = await stateLayout({ stateDir: layout.stateDir });
    expect(again.instanceId).toBe(layout.instanceId);
    expect(again.instanceId).toMatch(/^[0-9a-f]{32}$/);
  });

  test.skipIf(process.getuid?.() !== 0)(
    'of root it lies under /var/lib/merit where postgres cannot pass, else in the state folder',
    async () => {
      const closedOff = await stateLayout({ stateDir: join(folder, 'state') });
      expect(closedOff.dataDir).toBe(`/var/lib/merit/${closedOff.instanceId}/pg`);
      await rm(`/var/lib/merit/${closedOff.instanceId}`, { recursive: true });
      const open = join(folder, 'open');
      await mkdir(open, { mode: 0o755 });
      const passable = await stateLayout({ stateDir: open });
      expect(passable.dataDir).toBe(join(open, 'pg'));
      await rm(`/var/lib/merit/${passable.instanceId}`, { recursive: true, force: true });
    },
  );
});
