import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rolloutsOf } from '../../api/http/rooms/rollouts.ts';
import { buildHttpServer } from '../../api/http/server.ts';
import type { Feature } from '../../platform/features.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { fakeServices, TOKEN } from '../unit/api/http/fake-services.ts';
import { type Harness, harness, lineOf, newTenant } from './scoring-online-support.ts';
import { boardReports, boardSuite, livingConsumer, OLD, registerBoard, STRICT } from './scoring-rollout-support.ts';

const MAIN = fileURLToPath(new URL('../../api/cli/main.ts', import.meta.url));
const LEVELS = { good: 0.93, poor: 0.4 };

let base: TestDatabase;
let h: Harness;
let drain: ReturnType<typeof livingConsumer>;
let app: FastifyInstance;
let home: string;
let store: ObjectStore;

function serverWith(features: readonly Feature[]): FastifyInstance {
  const { services } = fakeServices();
  return buildHttpServer({
    ...services,
    db: base.db,
    rollouts: rolloutsOf({ features: new Set(features), db: base.db, store, eventLog: h.log }),
  });
}

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  drain = livingConsumer(h);
  await registerBoard(base.db, await newTenant(base, 'acme'), OLD, Object.keys(LEVELS));
  home = mkdtempSync(join(tmpdir(), 'merit-rollout-'));
  store = await openFileObjectStore({ root: join(home, 'objects') });
  app = serverWith(['suite-rollouts']);
  await app.listen({ host: '127.0.0.1', port: 0 });
  writeFileSync(join(home, 'token'), `${TOKEN}\n`, { mode: 0o600 });
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  writeFileSync(join(home, 'server.json'), JSON.stringify({ url, tokenFile: join(home, 'token') }));
  writeFileSync(join(home, 'strict.json'), JSON.stringify(STRICT.document));
});
afterAll(async () => {
  await app.close();
  await h.log.close();
  await base.close();
  rmSync(home, { recursive: true, force: true });
});

async function merit(...args: string[]) {
  const child = spawn(process.execPath, ['--conditions=merit-source', MAIN, ...args], {
    cwd: home,
    env: { PATH: process.env.PATH ?? '', MERIT_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}

type Method = 'GET' | 'PUT' | 'POST';

function call(on: FastifyInstance, method: Method, path: string, body?: object, headers: Record<string, string> = {}) {
  return on.inject({
    method,
    url: path,
    headers: {
      authorization: `Bearer ${TOKEN}`,
      ...(method === 'POST' ? { 'idempotency-key': path } : {}),
      ...headers,
    },
    ...(body === undefined ? {} : { payload: body }),
  });
}

const PATH = '/v1/suites/board/rollout';
const read = async (count: number, from: number) => {
  await h.send('acme', boardReports(LEVELS, count, from).map(lineOf).join(''));
  await drain();
};

describe('without the feature', () => {
  test('every door of a rollout refuses and says what switches it on', async () => {
    const off = serverWith([]);
    const asked = [
      call(off, 'PUT', PATH, { suite: STRICT.document, share: 0 }),
      call(off, 'GET', PATH),
      call(off, 'POST', `${PATH}:promote`),
      call(off, 'POST', `${PATH}:rollback`),
      call(off, 'GET', '/v1/suites/board/diff'),
    ];
    for (const reply of await Promise.all(asked)) {
      expect(reply.json()).toMatchObject({ status: 422, code: 'feature_off' });
      expect(reply.json().detail).toContain('add features: [suite-rollouts] to merit.yaml');
    }
    await off.close();
  });
});

describe('with it', () => {
  test('a rollout is made, read under its version, and changed by whoever read it last', async () => {
    expect((await call(app, 'GET', PATH)).statusCode).toBe(404);
    expect((await call(app, 'PUT', PATH, { share: 10 })).json()).toMatchObject({ status: 422, code: 'required' });
    const other = { ...STRICT.document, name: 'else' };
    expect((await call(app, 'PUT', PATH, { suite: other, share: 10 })).json()).toMatchObject({ code: 'name' });
    for (const share of [101, -1, 2.5, '10']) {
      expect((await call(app, 'PUT', PATH, { suite: STRICT.document, share })).statusCode).toBe(422);
    }
    const made = await call(app, 'PUT', PATH, { suite: STRICT.document, share: 0 });
    expect(made.statusCode).toBe(201);
    expect(made.json()).toMatchObject({ mode: 'shadow', from: OLD.hash, to: STRICT.hash, share: 0, kept: false });
    const etag = String(made.headers.etag);
    expect((await call(app, 'PUT', PATH, { suite: STRICT.document, share: 0 })).statusCode).toBe(200);
    expect((await call(app, 'PUT', PATH, { share: 100 }, { 'if-match': etag })).json()).toMatchObject({
      mode: 'canary',
    });
    expect((await call(app, 'PUT', PATH, { share: 0 }, { 'if-match': etag })).json()).toMatchObject({ status: 412 });
    expect((await call(app, 'PUT', PATH, { share: 0 })).json()).toMatchObject({ mode: 'shadow', suite: 'board' });
    const another = boardSuite({ minN: 9 }).document;
    expect((await call(app, 'PUT', PATH, { suite: another, share: 0 })).json()).toMatchObject({ code: 'rollout_runs' });
  });

  test('a rollback that is repeated with its key happens once', async () => {
    await drain();
    const first = await call(app, 'POST', `${PATH}:rollback`);
    expect(first.json()).toMatchObject({ state: 'rolled_back' });
    const again = await call(app, 'POST', `${PATH}:rollback`);
    expect([again.headers['idempotent-replayed'], again.json()]).toEqual(['true', first.json()]);
    expect((await call(app, 'POST', `${PATH}:rollback`, undefined, { 'idempotency-key': 'k2' })).statusCode).toBe(404);
    expect((await call(app, 'GET', '/v1/suites/board/diff')).statusCode).toBe(404);
    expect((await call(app, 'GET', PATH)).json()).toMatchObject({ state: 'rolled_back' });
  });
});

describe('merit suites', () => {
  test('apply --shadow puts a version beside the active one, and diff shows both', async () => {
    const applied = await merit('suites', 'apply', '-f', 'strict.json', '--shadow', '-o', 'json');
    expect(applied).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse(applied.out)).toMatchObject({
      suite: 'board',
      state: 'running',
      mode: 'shadow',
      to: STRICT.hash,
    });
    await read(60, 0);
    const shown = await merit('suites', 'diff', 'board', '-o', 'json');
    const diff = JSON.parse(shown.out);
    expect(diff).toMatchObject({ active: OLD.hash, next: STRICT.hash, rollout: { complete: true, refused: 0 } });
    expect(diff.models.map((row: { model: string }) => row.model)).toEqual(['good', 'poor']);
    const table = (await merit('suites', 'diff', 'board')).out;
    const cells = (word: string) =>
      table
        .split('\n')
        .find((line) => line.startsWith(word))
        ?.split(/ {2,}/);
    const { active, next, difference } = diff.models[0];
    expect(cells('MODEL')).toEqual(['MODEL', 'DECIDED BY', 'ACTIVE', 'RANK', 'NEXT', 'RANK', 'DIFFERENCE', 'RANK']);
    expect(cells('good')).toEqual([
      'good',
      'active',
      active.composite.toFixed(4),
      '1',
      next.composite.toFixed(4),
      '1',
      difference.composite.toFixed(4),
      '0',
    ]);
    // It would have promoted a tick earlier.
    expect(table).toMatch(/next +would promote +good/);
    expect(table).toMatch(/active +promote +good/);
  });

  test('rollout shows it, shares it out, and ends it', async () => {
    const canary = await merit('suites', 'rollout', 'board', '--canary', '25%');
    expect(canary.code).toBe(0);
    expect(canary.out).toMatch(/mode +canary\n/);
    expect(canary.out).toMatch(/share +25 %, in force 0 %\n/);
    await drain();
    expect((await merit('suites', 'rollout', 'board')).out).toMatch(/share +25 %\n/);
    const refused = await merit('suites', 'apply', '-f', 'strict.json', '--canary', '0%');
    expect(refused.code).toBe(3);
    const promoted = await merit('suites', 'rollout', 'board', '--promote', '-o', 'json');
    expect(JSON.parse(promoted.out)).toMatchObject({ state: 'promoted', to: STRICT.hash, share: 25 });
    expect(await merit('suites', 'rollout', 'board', '--rollback')).toMatchObject({ code: 9, out: '' });
  });
});
