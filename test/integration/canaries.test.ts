import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startFinanceSimulator } from '../../peers/finance/simulator.ts';
import { startSentinelSimulator } from '../../peers/sentinelnet/simulator.ts';
import { devSpiffeId, ensureDevCertificates } from '../../platform/dev-ca.ts';
import { openHttpClient } from '../../platform/http-client.ts';
import { clientTls, loadTls } from '../../platform/mtls.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { AUDIENCE, type SigningKey, startTestIssuer, type TestIssuer, tokenOf } from '../support/test-issuer.ts';

/** A secret of its own stands in every place that takes one; the server works and fails; none of them is found anywhere that it writes or shows. */
const LIMIT_MS = 60_000;
const mark = randomBytes(4).toString('hex');
/** With characters that URLs and base64 write otherwise. */
const canary = (name: string) => `CANARY+${name}/${randomBytes(12).toString('hex')}~`;
const canaries = {
  token: canary('token'),
  databaseApp: canary('app'),
  databaseEngine: canary('engine'),
  redis: canary('redis'),
  ray: canary('ray'),
  aws: canary('aws'),
};
const closers: (() => Promise<unknown>)[] = [];
/** All that the server told, by where. */
const told = new Map<string, string>();
let root: string;
let t: TestDatabase;
let issuer: TestIssuer;
let key: SigningKey;
let server: ServerProcess;
let doorUrl: string;
let jwt: string;
const users = [`c_app_${mark}`, `c_engine_${mark}`] as const;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-canary-'));
  closers.push(() => rm(root, { recursive: true, force: true }));
  t = await testDatabase();
  closers.push(async () => {
    await t.close();
    for (const user of users)
      await asAdmin(t.urls.admin.replace(/\/[^/]*$/, '/postgres'), `drop role if exists ${user}`);
  });
  const sentinel = await startSentinelSimulator();
  const finance = await startFinanceSimulator({ journalPath: join(root, 'finance.jsonl') });
  issuer = await startTestIssuer();
  key = await issuer.newKey('k');
  closers.push(
    () => sentinel.close(),
    () => finance.close(),
    () => issuer.close(),
  );
  await configure();
  const stateDir = join(root, 'state');
  await mkdir(stateDir);
  await writeFile(join(stateDir, 'token'), canaries.token, { mode: 0o600 });
  server = await startServerProcess({
    stateDir,
    env: {
      MERIT_CONFIG: join(root, 'merit.yaml'),
      MERIT_NO_PYTHON: 'no Ray is needed here',
      MERIT_SENTINELNET_URL: sentinel.url,
      MERIT_FINANCE_URL: finance.url,
      AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE',
      AWS_SECRET_ACCESS_KEY: canaries.aws,
      AWS_REGION: 'eu-west-1',
      AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1',
      MERIT_S3_OUTPUTS: 's3://bucket/out',
    },
  });
  closers.push(() => server.stop());
  const log = await readFile(join(root, 'merit.log'), 'utf8');
  doorUrl = /"url":"(https:[^"]+)"/.exec(log)?.[1] ?? '';
}, 120_000);
afterAll(async () => {
  for (const close of closers.toReversed()) await close();
}, 60_000);

async function configure(): Promise<void> {
  const url = new URL(t.urls.app);
  const at = `postgres://${url.host}${url.pathname}`;
  const secrets = { app: canaries.databaseApp, engine: canaries.databaseEngine };
  for (const [i, kind] of (['app', 'engine'] as const).entries()) {
    await asAdmin(t.urls.admin, `create role ${users[i]} login password '${secrets[kind]}' in role merit_${kind}`);
    const login = JSON.stringify({ username: users[i], password: secrets[kind] });
    await writeFile(join(root, `${kind}.json`), login, { mode: 0o600 });
  }
  await writeFile(join(root, 'redis'), `redis://user:${encodeURIComponent(canaries.redis)}@127.0.0.1:1`, {
    mode: 0o600,
  });
  await writeFile(join(root, 'ray'), canaries.ray, { mode: 0o600 });
  const tls = await ensureDevCertificates({ dir: join(root, 'tls'), services: ['merit', 'kernel'], nowMs: Date.now() });
  await writeFile(
    join(root, 'merit.yaml'),
    `databaseUrl: {at: "${at}", login: {file: app.json}}
engineDatabaseUrl: {at: "${at}", login: {file: engine.json}}
redisUrl: {file: redis}
tls: ${JSON.stringify(tls.merit)}
oidc:
  issuer: ${issuer.url}
  audience: ${AUDIENCE}
  tenant: default
  roles: {research: [submitter]}
services:
  trustDomain: merit.local
  listen: {port: 0}
  callers: [{spiffeId: "${devSpiffeId('kernel')}", tenant: default, roles: [viewer]}]
log: {level: debug, file: merit.log}
`,
  );
}

async function call(method: string, path: string, options: { body?: unknown; token?: string } = {}) {
  const reply = await fetch(server.url + path, {
    method,
    headers: {
      authorization: `Bearer ${options.token ?? server.token}`,
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
    },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
  });
  const text = await reply.text();
  told.set(`${told.size} ${method} ${path}`, `${reply.status} ${JSON.stringify([...reply.headers])} ${text}`);
  return { status: reply.status, text };
}

async function until<T>(look: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const value = await look();
    if (done(value)) return value;
    if (performance.now() > deadline) throw new Error(`it did not come to that: ${JSON.stringify(value)}`);
    await sleep(100);
  }
}

const v1 = { apiVersion: 'merit/v1' };
const flavour = { name: 'small', resource: 'cpu', capacity: 4, price: { currency: 'USD', perUnitHour: '0.50' } };
const pool = (name: string, provider: object, division: string) => ({
  ...v1,
  kind: 'Pool',
  name,
  provider,
  flavours: [{ ...flavour, name: `${name}-small` }],
  quotas: { [division]: { [`${name}-small`]: 4 } },
});

describe('a server that was given secrets', () => {
  test('works with them, whoever asks', async () => {
    jwt = await tokenOf(issuer, key, { claims: { groups: ['research'] }, expiresIn: 3_600 });
    expect(
      (await call('PUT', '/v1/pools/local', { body: pool('local', { kind: 'local' }, 'lab') })).status,
    ).toBeLessThan(300);
    const budget = { ...v1, kind: 'Budget', division: 'lab', currency: 'USD', limit: '100.00' };
    expect((await call('PUT', '/v1/budgets/lab', { body: budget })).status).toBeLessThan(300);
    const job = {
      name: 'env',
      division: 'lab',
      resources: { cpus: 1 },
      pools: ['local'],
      lease: '1h',
      run: 'env; cat /proc/$PPID/cmdline',
    };
    const booked = await call('POST', '/v1/jobs', { body: job, token: jwt });
    expect([booked.status, booked.text]).toEqual([202, expect.stringContaining('"id"')]);
    const { id } = JSON.parse(booked.text) as { id: string };
    await until(
      async () => (await call('GET', `/v1/jobs/${id}`, { token: jwt })).text,
      (text) => /"state":"(released|rejected|failed)"/.test(text),
    );
    expect((await call('GET', `/v1/jobs/${id}/logs`)).text).toContain('PATH=');
    await call('GET', `/v1/jobs/${id}/why`);
    await call('GET', `/v1/jobs/${id}/receipt`);
    const kernel = await loadTls(
      (await ensureDevCertificates({ dir: join(root, 'tls'), services: ['kernel'], nowMs: Date.now() })).kernel,
      Date.now(),
    );
    const client = openHttpClient({ origin: doorUrl, tls: clientTls(kernel, [devSpiffeId('merit')]) });
    const reply = await client.send({ method: 'GET', path: '/v1/jobs', timeoutMs: LIMIT_MS });
    expect([reply.status, Buffer.from(reply.body).toString()]).toEqual([200, expect.stringContaining(id)]);
    expect((await client.send({ method: 'POST', path: '/v1/jobs', timeoutMs: LIMIT_MS })).status).toBe(403);
    await client.close();
  }, 120_000);

  test('fails in every way that shows: denied, forged, refused by a provider, and shut out of its database', async () => {
    expect((await call('PUT', '/v1/pools/x', { body: {}, token: jwt })).status).toBe(403);
    const expired = await tokenOf(issuer, key, { claims: { groups: ['research'] }, expiresIn: -3_600 });
    expect((await call('GET', '/v1/jobs', { token: expired })).status).toBe(401);
    expect((await call('GET', '/v1/jobs', { token: `${jwt.slice(0, -8)}AAAAAAAA` })).status).toBe(401);
    expect((await call('GET', '/v1/jobs', { token: `${canaries.token.slice(0, -1)}x` })).status).toBe(401);
    const ray = { kind: 'ray', config: { address: 'http://127.0.0.1:1', tokenFile: join(root, 'ray') } };
    expect((await call('PUT', '/v1/pools/ray', { body: pool('ray', ray, 'lab') })).status).toBeLessThan(300);
    const job = { name: 'ray', division: 'lab', resources: { cpus: 1 }, pools: ['ray'], lease: '1h', run: 'true' };
    await call('POST', '/v1/jobs:plan', { body: job });
    const booked = await call('POST', '/v1/jobs', { body: job });
    const { id } = JSON.parse(booked.text) as { id: string };
    await call('GET', `/v1/jobs/${id}/why`);
    const s3 = { ...job, name: 's3', pools: ['local'], outputs: 's3://bucket/out/x', run: 'true' };
    await call('POST', '/v1/jobs', { body: s3 });
    // An event tells those of a while: of these callers perhaps not the first.
    await until(
      async () => (await call('GET', '/v1/audit/events?subject=access/denied')).text,
      (text) => text.includes('access.denied') && text.includes('oidc:ann'),
    );
    // New connections are refused from here on; the old ones are cut.
    for (const user of users) {
      await asAdmin(t.urls.admin, `alter role ${user} password 'elsewhere'`);
      await asAdmin(t.urls.admin, `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${user}'`);
    }
    await until(
      async () => (await call('GET', '/readyz')).text,
      (text) => text.includes('"ok":false'),
    );
    expect((await call('GET', '/v1/jobs', { token: jwt })).status).toBeGreaterThanOrEqual(500);
    for (const [i, kind] of (['databaseApp', 'databaseEngine'] as const).entries())
      await asAdmin(t.urls.admin, `alter role ${users[i]} password '${canaries[kind]}'`);
    await until(
      async () => (await call('GET', '/v1/jobs', { token: jwt })).status,
      (status) => status === 200,
    );
  }, 180_000);

  test('has written none of them anywhere', async () => {
    await call('GET', '/metrics');
    await call('GET', '/openapi.json');
    await call('GET', '/v1/audit/bundle');
    await call('GET', '/v1/audit/state');
    told.set('the log', await readFile(join(root, 'merit.log'), 'utf8'));
    told.set('the database', await dumped());
    told.set('argv', await commandLines());
    for (const [path, text] of await filesBelow(join(root, 'state'))) if (path !== 'token') told.set(path, text);
    await server.stop();
    told.set('the log at its end', await readFile(join(root, 'merit.log'), 'utf8'));
    expect(told.get('the log')).toContain('callers were denied');
    const found: string[] = [];
    const secrets = { ...canaries, jwt, signature: jwt.split('.')[2]! };
    for (const [where, text] of told)
      for (const [name, secret] of Object.entries(secrets))
        for (const form of formsOf(secret)) if (text.includes(form)) found.push(`${name} in ${where}`);
    expect([...new Set(found)]).toEqual([]);
  }, 60_000);

  test('and one that cannot start says so without them', async () => {
    await writeFile(join(root, 'app.json'), JSON.stringify({ username: users[0], password: `${canaries.redis}x` }));
    const stateDir = join(root, 'second');
    await mkdir(stateDir);
    const env = { MERIT_CONFIG: join(root, 'merit.yaml'), MERIT_NO_PYTHON: 'x' };
    const error: unknown = await startServerProcess({ stateDir, env }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(String(error)).toContain('asking Postgres about our users');
    for (const form of formsOf(canaries.redis)) expect(String(error)).not.toContain(form);
  }, 60_000);
});

test('the search finds what it looks for, however it is written', () => {
  const secret = canary('self');
  for (const written of [
    secret,
    encodeURIComponent(secret),
    Buffer.from(secret).toString('hex'),
    ...['', 'a', 'ab', 'abc'].map((before) => Buffer.from(`${before}${secret}after`).toString('base64')),
    ...['', 'a', 'ab', 'abc'].map((before) => Buffer.from(`${before}${secret}after`).toString('base64url')),
  ])
    expect(formsOf(secret).some((form) => `x${written}y`.includes(form))).toBe(true);
});

/** A text as it may stand somewhere: plain, in a URL, in hex, and in base64 wherever it begins in its triples. */
function formsOf(secret: string): readonly string[] {
  const inBase64 = [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), Buffer.from(secret)]).toString('base64');
    return text.slice(before === 0 ? 0 : 4, -4);
  });
  const urlForm = inBase64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'));
  return [secret, encodeURIComponent(secret), Buffer.from(secret).toString('hex'), ...inBase64, ...urlForm];
}

/** Every row of every table; bytes are in hex. */
async function dumped(): Promise<string> {
  const tables = await asAdmin(t.urls.admin, "select tablename from pg_tables where schemaname = 'public'");
  const texts: string[] = [];
  for (const { tablename } of tables)
    for (const row of await asAdmin(t.urls.admin, `select r::text as text from "${String(tablename)}" r`))
      texts.push(String(row.text));
  return texts.join('\n');
}

async function commandLines(): Promise<string> {
  const lines: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(pid)) continue;
    lines.push((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' '));
  }
  return lines.join('\n');
}

async function filesBelow(dir: string): Promise<readonly (readonly [string, string])[]> {
  const names = await readdir(dir, { recursive: true, withFileTypes: true });
  return Promise.all(
    names
      .filter((entry) => entry.isFile())
      .map(async ({ name, parentPath }) => [
        join(parentPath, name).slice(dir.length + 1),
        await readFile(join(parentPath, name), 'latin1'),
      ]),
  );
}
