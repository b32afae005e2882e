import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { loadConfig } from '../../platform/config.ts';
import { nextLogin } from '../../platform/next-login.ts';
import type { Nominator } from '../../platform/nominator.ts';
import { redisNominator } from '../../platform/nominator-redis.ts';
import type { RateLimiter } from '../../platform/rate-limit.ts';
import { redisRateLimiter } from '../../platform/rate-limit-redis.ts';
import { probeRedis } from '../../platform/redis.ts';
import { type RotatingSecret, rotatingSecret } from '../../platform/rotating-secret.ts';
import { Secret } from '../../platform/secret.ts';
import { testDatabase } from '../support/db.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { startServerProcess } from '../support/server-process.ts';

const missing = redisMissing();
const PATIENT_MS = 30_000;
const LEASE_MS = 60_000;

/** Users of Redis that Vault makes and takes away again, in a file that changes while the server works. */
describe.skipIf(missing !== undefined)(`a login of Redis${missing === undefined ? '' : `: ${missing}`}`, () => {
  let redis: TestRedis;
  let admin: Redis;
  let dir: string;
  let stop: AbortController;
  let followed: Promise<void>;
  let url: RotatingSecret;
  let limiter: RateLimiter;
  let nominator: Nominator;
  const told: { readonly failed: string[]; changed: number } = { failed: [], changed: 0 };

  beforeAll(async () => {
    redis = await startRedis();
    admin = new Redis(redis.url);
    dir = await mkdtemp(join(tmpdir(), 'merit-redis-login-'));
    // Nobody comes in without a user of their own.
    await admin.acl('SETUSER', 'root', 'on', '>root', '~*', '&*', '+@all');
    await admin.auth('root', 'root');
    await admin.acl('SETUSER', 'default', 'off');
  });
  afterAll(async () => {
    admin?.disconnect();
    await redis?.stop();
    if (dir !== undefined) await rm(dir, { recursive: true });
  });

  const makeUser = (name: string, password: string) =>
    admin.acl('SETUSER', name, 'reset', 'on', `>${password}`, '~merit:*', '+@all');
  /** As Vault Agent renders a template: another file takes its place. */
  async function render(username: string, password: string): Promise<void> {
    const path = join(dir, 'redis.json');
    await writeFile(`${path}.new`, `${JSON.stringify({ username, password })}\n`, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }
  /** Whom Redis has connections of. */
  async function users(): Promise<ReadonlySet<string>> {
    const list = String(await admin.client('LIST'));
    return new Set([...list.matchAll(/ user=(\S+)/g)].map(([, user = '']) => user).filter((user) => user !== 'root'));
  }
  let keys = 0;
  const take = () => limiter.take([{ key: `k${keys++}`, rate: { perSecond: 1, burst: 1 } }]);

  beforeEach(async () => {
    Object.assign(told, { failed: [], changed: 0 });
    await makeUser('first', 'one');
    await render('first', 'one');
    const { host } = new URL(redis.url);
    await writeFile(join(dir, 'merit.yaml'), `redisUrl: {at: "redis://${host}", login: {file: redis.json}}\n`);
    const config = await loadConfig({ env: {}, cwd: dir });
    const { url: initial, reading } = config.redis!;
    const read = nextLogin({ field: 'redisUrl', of: 'Redis', initial, read: reading!.read, probe: probeRedis });
    url = rotatingSecret({ initial, read, everyMs: 20, clock: systemClock });
    stop = new AbortController();
    const watch = {
      changed: () => void told.changed++,
      failed: (error: unknown) => void told.failed.push(String(error)),
    };
    followed = url.follow(watch, stop.signal);
    limiter = await redisRateLimiter(url, 'test', PATIENT_MS);
    nominator = await redisNominator(url, 'test', LEASE_MS);
  });
  afterEach(async () => {
    stop.abort();
    await followed;
    await limiter.close();
    await nominator.close();
  });

  test('is used from then on by the connections that stand, so that no request fails when the one before is taken away', async () => {
    const held = (await nominator.nominate('engine', 'me'))!;
    const failures: unknown[] = [];
    let isOver = false;
    let taken = 0;
    const load = (async () => {
      while (!isOver) {
        await take().then(
          () => taken++,
          (error: unknown) => failures.push(error),
        );
        await sleep(1);
      }
    })();
    for (const [name, before] of [
      ['second', 'first'],
      ['third', 'second'],
    ] as const) {
      const seen = taken;
      await makeUser(name, name);
      await render(name, name);
      await expect.poll(users).toEqual(new Set([name]));
      // Redis ends what a user has open whom it no longer knows.
      await admin.acl('DELUSER', before);
      await expect.poll(() => taken).toBeGreaterThan(seen + 10);
    }
    isOver = true;
    await load;
    expect([failures, told.changed, told.failed]).toEqual([[], 2, []]);
    expect(held.lost.aborted).toBe(false);
    await held.resign();
    expect(await nominator.nominate('engine', 'again')).toBeDefined();
  });

  test('is read again at once when Redis refuses the one before, as after its restart with another password', async () => {
    await take();
    stop.abort();
    await followed;
    await makeUser('first', 'another');
    await admin.client('KILL', 'USER', 'first');
    await expect.poll(() => nominator.nominate('engine', 'me').then(() => nominator.away())).toMatch(/WRONGPASS/);
    await render('first', 'another');
    await expect
      .poll(() =>
        take().then(
          ({ allowed }) => allowed,
          () => false,
        ),
      )
      .toBe(true);
    await expect.poll(() => nominator.nominate('archive', 'me')).toBeDefined();
    expect(nominator.away()).toBeUndefined();
  });

  test.each([
    ['that Redis does not know', () => render('nobody', 'x'), /trying another login for Redis: WRONGPASS/],
    [
      'that is no JSON',
      async () => {
        await writeFile(join(dir, 'redis.json.new'), 'x', { mode: 0o600 });
        await rename(join(dir, 'redis.json.new'), join(dir, 'redis.json'));
      },
      /is not a JSON object/,
    ],
    ['that lacks its password', () => render('first', ''), /has no text under "password"/],
  ])('%s changes nothing, and is told once', async (_what, change, text) => {
    await change();
    await expect.poll(() => told.failed.length).toBe(1);
    await sleep(200);
    expect(told.failed).toEqual([expect.stringMatching(text)]);
    expect((await take()).allowed).toBe(true);
    expect(await users()).toEqual(new Set(['first']));
  });

  test('of another Redis is refused', async () => {
    const to = (text: string) => new Secret(text);
    const read = async () => to('redis://first:one@127.0.0.1:1');
    const next = nextLogin({ field: 'redisUrl', of: 'Redis', initial: to(redis.url), read, probe: probeRedis });
    await expect(next()).rejects.toThrow(/redisUrl: names another Redis than the one that the server was started with/);
  });

  test('goes on in a server, which says so, and leads on by the same lease', async () => {
    const root = await mkdtemp(join(tmpdir(), 'merit-redis-server-'));
    const database = await testDatabase();
    const logFile = join(root, 'merit.log');
    const { host } = new URL(redis.url);
    await writeFile(
      join(root, 'merit.yaml'),
      [
        'nominator: redis',
        `redisUrl: {at: "redis://${host}", login: {file: ${join(dir, 'redis.json')}}}`,
        `log: {file: ${logFile}}`,
        `signer: {keyFile: ${join(root, 'signer.pem')}}`,
        '',
      ].join('\n'),
    );
    await makeUser('served', 'served');
    await render('served', 'served');
    const server = await startServerProcess({
      stateDir: root,
      env: {
        MERIT_NO_PYTHON: 'no Ray is needed here',
        MERIT_CONFIG: join(root, 'merit.yaml'),
        DATABASE_URL: database.urls.app,
        ENGINE_DATABASE_URL: database.urls.engine,
      },
    });
    try {
      const leads = async () => (await fetch(`${server.url}/readyz`)).status;
      await expect.poll(leads).toBe(200);
      await makeUser('later', 'later');
      await render('later', 'later');
      const lines = async () => readFile(logFile, 'utf8');
      await expect.poll(lines).toContain('another login is used for Redis from now on');
      await expect.poll(users).toEqual(new Set(['later']));
      await admin.acl('DELUSER', 'served');
      await sleep(1_000);
      expect(await leads()).toBe(200);
      expect(await lines()).not.toMatch(/away|does not answer/);
    } finally {
      await server.stop();
      await database.close();
      await rm(root, { recursive: true });
    }
  });
});
