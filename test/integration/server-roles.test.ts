import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startFinanceSimulator } from '../../peers/finance/simulator.ts';
import { startSentinelSimulator } from '../../peers/sentinelnet/simulator.ts';
import { testDatabase } from '../support/db.ts';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';

const LIMIT_MS = 45_000;
const POLL_MS = 100;

const closers: (() => Promise<unknown>)[] = [];
let scoring: ServerProcess;
let booking: ServerProcess;

beforeAll(async () => {
  const root = await mkdtemp(join(tmpdir(), 'merit-roles-'));
  closers.push(() => rm(root, { recursive: true, force: true }));
  const database = await testDatabase();
  closers.push(() => database.close());
  const sentinel = await startSentinelSimulator();
  closers.push(() => sentinel.close());
  const finance = await startFinanceSimulator({ journalPath: join(root, 'finance.jsonl') });
  closers.push(() => finance.close());
  const configFile = join(root, 'merit.yaml');
  await writeFile(configFile, `signer:\n  keyFile: ${join(root, 'signer.pem')}\n`);
  const start = async (roles: string): Promise<ServerProcess> => {
    const stateDir = join(root, roles);
    await mkdir(stateDir);
    const server = await startServerProcess({
      stateDir,
      env: {
        MERIT_ROLES: roles,
        MERIT_NO_PYTHON: 'no Ray is needed here',
        MERIT_TENANT: 'default',
        MERIT_CONFIG: configFile,
        MERIT_OBJECT_STORE: join(root, 'objects'),
        DATABASE_URL: database.urls.app,
        ENGINE_DATABASE_URL: database.urls.engine,
        MERIT_SENTINELNET_URL: sentinel.url,
        MERIT_FINANCE_URL: finance.url,
      },
    });
    closers.push(() => server.stop());
    return server;
  };
  scoring = await start('api,ingest');
  booking = await start('api,allocator,reconciler');
}, 90_000);
afterAll(async () => {
  for (const close of closers.toReversed()) await close();
}, 60_000);

async function call<T>(server: ServerProcess, method: string, path: string, body?: object): Promise<T> {
  const reply = await fetch(server.url + path, {
    method,
    headers: {
      authorization: `Bearer ${server.token}`,
      'content-type': 'application/json',
      ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${method} ${path} was answered ${reply.status}: ${text}`);
  return JSON.parse(text) as T;
}

async function until<T>(look: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const value = await look();
    if (done(value) || performance.now() > deadline) return value;
    await sleep(POLL_MS);
  }
}

test('processes of different roles lead beside each other: one scores what was sent to the other, which runs what was booked at the first', async () => {
  const metrics = { accuracy: { direction: 'higher', floor: 0, ceil: 1 } };
  await call(scoring, 'PUT', '/v1/suites/tiny', {
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: 'tiny',
    tick: '1m',
    minN: 1,
    windows: { '1h': 1 },
    metrics,
  });
  await call(booking, 'PUT', '/v1/pools/here', {
    apiVersion: 'merit/v1',
    kind: 'Pool',
    name: 'here',
    provider: { kind: 'local' },
    flavours: [{ name: 'cpu', resource: 'cpu', capacity: 1, price: { currency: 'USD', perUnitHour: '0.10' } }],
    quotas: { vision: { cpu: 1 } },
  });
  const budget = { apiVersion: 'merit/v1', kind: 'Budget', division: 'vision', currency: 'USD', limit: '10.00' };
  await call(booking, 'PUT', '/v1/budgets/vision', budget);
  await call(scoring, 'PUT', '/v1/models/m', {
    apiVersion: 'merit/v1',
    kind: 'Model',
    name: 'm',
    division: 'vision',
    suite: 'tiny',
  });
  await call(scoring, 'PUT', '/v1/models/m/versions/m-v1', {});
  const report = (id: string, observedAt: string) => ({
    schemaVersion: 1,
    reportId: id,
    producer: 'ci',
    model: 'm-v1',
    suite: 'tiny',
    observedAt,
    metrics: { accuracy: 0.5 },
  });
  await call(booking, 'POST', '/v1/eval-reports', report('a', '2026-01-05T10:00:30Z'));
  await call(booking, 'POST', '/v1/eval-reports', report('b', '2026-01-05T10:02:30Z'));
  const { id } = await call<{ id: string }>(scoring, 'POST', '/v1/jobs', {
    name: 'hello',
    division: 'vision',
    resources: { cpus: 1 },
    pools: ['here'],
    lease: '5m',
    run: 'echo hello',
  });
  const job = await until(
    () => call<{ state: string }>(scoring, 'GET', `/v1/jobs/${id}`),
    ({ state }) => state === 'released',
  );
  expect(job.state).toBe('released');
  const board = await until(
    () => call<{ models: readonly object[] }>(booking, 'GET', '/v1/leaderboards/tiny'),
    ({ models }) => models.length > 0,
  );
  expect(board.models).toMatchObject([{ model: 'm-v1', status: 'ranked' }]);
  const ready = await call<{ parts: readonly { name: string; detail: string }[] }>(scoring, 'GET', '/readyz');
  expect(ready.parts.find((part) => part.name === 'ingest')?.detail).toContain('1 reader');
}, 120_000);

test('what happened is published by whoever leads, and every door tells the backlog', async () => {
  const metric = async (name: string): Promise<number> => {
    let sum = 0;
    for (const server of [scoring, booking]) {
      const text = await (await fetch(`${server.url}/metrics`)).text();
      const found = text.split('\n').filter((line) => line.startsWith(name));
      sum += found.reduce((all, line) => all + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    }
    return sum;
  };
  await call(scoring, 'PUT', '/v1/models/published', {
    apiVersion: 'merit/v1',
    kind: 'Model',
    name: 'published',
    division: 'vision',
    suite: 'tiny',
  });
  for (const topic of ['audit', 'allocations']) {
    const count = () => metric(`merit_published_total{topic="merit.${topic}"}`);
    expect(await until(count, (n) => n > 0)).toBeGreaterThan(0);
  }
  expect(
    await until(
      () => metric('merit_ingest_backlog_messages'),
      (n) => n === 0,
    ),
  ).toBe(0);
  expect(await metric('merit_publish_failures_total')).toBe(0);
}, 120_000);
