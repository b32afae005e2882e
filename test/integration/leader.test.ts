import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { type Leadership, lead } from '../../platform/leader.ts';
import type { Nominator, Seat } from '../../platform/nominator.ts';
import { postgresNominator } from '../../platform/nominator-postgres.ts';
import { redisNominator } from '../../platform/nominator-redis.ts';
import { isDatabaseAway, StaleLeader } from '../../platform/postgres.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';

const CHILD = fileURLToPath(new URL('../support/leader-child.ts', import.meta.url));
const LEASE_MS = 1_500;

let t: TestDatabase;
const missing = redisMissing();

beforeAll(async () => {
  t = await testDatabase();
  await t.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme')"));
});
afterAll(() => t.close());

describe.each(['postgres', 'redis'] as const)('leadership nominated by %s', (kind) => {
  describe.skipIf(kind === 'redis' && missing !== undefined)(
    kind === 'redis' ? (missing ?? 'on a real server') : 'on a real server',
    () => {
      let redis: TestRedis | undefined;
      const held: Leadership[] = [];
      const nominators: Nominator[] = [];
      const children: ChildProcess[] = [];

      beforeAll(async () => {
        if (kind === 'redis') redis = await startRedis();
      });
      afterEach(async () => {
        for (const child of children.splice(0)) child.kill('SIGKILL');
        for (const leadership of held.splice(0)) await leadership.resign().catch(() => {});
        for (const nominator of nominators.splice(0)) await nominator.close();
      });
      afterAll(() => redis?.stop());

      async function nominatorOf(): Promise<Nominator> {
        const { engine } = t.urls;
        const made =
          redis === undefined ? postgresNominator(engine, LEASE_MS) : await redisNominator(redis.url, 'test', LEASE_MS);
        nominators.push(made);
        return made;
      }

      /** Each of them a process of its own, as far as who nominates can tell. */
      async function nominated(
        holder: string,
        seat: Seat = 'engine',
        signal = new AbortController().signal,
      ): Promise<Leadership> {
        const options = { engineUrl: t.urls.engine, nominator: await nominatorOf(), holder, clock: systemClock };
        const leadership = await lead(options, seat, signal);
        if (leadership === undefined) throw new Error(`${holder} was not nominated`);
        held.push(leadership);
        return leadership;
      }

      test('one leads at a time; the next one has a newer epoch, and the old one changes nothing any more', async () => {
        const first = await nominated('first');
        let hasSecond = false;
        const waiting = nominated('second').finally(() => {
          hasSecond = true;
        });
        // Longer than the lease: it is renewed.
        await systemClock.sleep(2 * LEASE_MS, new AbortController().signal);
        expect(hasSecond).toBe(false);
        expect(first.lost.aborted).toBe(false);
        await t.db.asLeader(first.epoch, (tx) => tx.query('select 1'));
        await first.resign();
        const second = await waiting;
        expect(second.epoch).toBeGreaterThan(first.epoch);
        expect(first.lost.aborted).toBe(true);
        await expect(t.db.asLeader(first.epoch, (tx) => tx.query('select 1'))).rejects.toThrow(StaleLeader);
      });

      test('each seat has a leader of its own, and a new one of one seat leaves the others as they are', async () => {
        const engine = await nominated('one', 'engine');
        const ingest = await nominated('two', 'ingest');
        expect(ingest.epoch).not.toBe(engine.epoch);
        await engine.resign();
        const next = await nominated('three', 'engine');
        await expect(t.db.asLeader(engine.epoch, (tx) => tx.query('select 1'))).rejects.toThrow(StaleLeader);
        for (const { epoch } of [ingest, next]) await t.db.asLeader(epoch, (tx) => tx.query('select 1'));
      });

      test('who waits is not nominated once its signal came', async () => {
        await nominated('holder');
        const stop = new AbortController();
        const options = {
          engineUrl: t.urls.engine,
          nominator: await nominatorOf(),
          holder: 'waiting',
          clock: systemClock,
        };
        const waiting = lead(options, 'engine', stop.signal);
        stop.abort();
        expect(await waiting).toBeUndefined();
      });

      test('a leader that is frozen for three leases is passed over, and writes nothing once it wakes up', async () => {
        const frozen = start('frozen');
        const epoch = await frozen.said(/^wrote (\d+)/);
        const next = start('next');
        frozen.child.kill('SIGSTOP');
        const stoppedAt = performance.now();
        const newer = await next.said(/^wrote (\d+)/);
        expect(Number(newer)).toBeGreaterThan(Number(epoch));
        await systemClock.sleep(
          Math.max(0, 3 * LEASE_MS - (performance.now() - stoppedAt)),
          new AbortController().signal,
        );
        const count = async () =>
          Number(
            (
              await t.db.asEngine((tx) =>
                tx.query<{ n: bigint }>('select count(*) as n from evidence where starts_with(hash, $1)', [
                  `${epoch}-`,
                ]),
              )
            )[0]!.n,
          );
        const before = await count();
        frozen.child.kill('SIGCONT');
        expect(await frozen.said(/^(stale|fault) /)).toMatch(/stale|fault/);
        await systemClock.sleep(500, new AbortController().signal);
        expect(await count()).toBe(before);
      });

      function start(name: string): { readonly child: ChildProcess; said(pattern: RegExp): Promise<string> } {
        const args = [
          '--conditions=merit-source',
          CHILD,
          kind,
          t.urls.engine,
          redis?.url ?? '-',
          name,
          String(LEASE_MS),
        ];
        const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
        children.push(child);
        let text = '';
        const waits = new Set<() => void>();
        child.stdout?.on('data', (data: Buffer) => {
          text += data.toString();
          for (const wake of waits) wake();
        });
        const said = async (pattern: RegExp) => {
          for (;;) {
            const line = text.split('\n').find((one) => pattern.test(one));
            if (line !== undefined) return pattern.exec(line)![1]!;
            await new Promise<void>((resolve) => waits.add(resolve));
          }
        };
        return { child, said };
      }
    },
  );
});

describe('a leader by Postgres', () => {
  test('whose connection is cut is told, and another takes over', async () => {
    const options = { engineUrl: t.urls.engine, nominator: postgresNominator(t.urls.engine), clock: systemClock };
    const never = new AbortController().signal;
    const first = (await lead({ ...options, holder: 'first' }, 'engine', never))!;
    const lost = new Promise<void>((resolve) => first.lost.addEventListener('abort', () => resolve(), { once: true }));
    const cut = await t.db.asEngine((tx) =>
      tx.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'merit leader' and datname = current_database()",
      ),
    );
    expect(cut).toHaveLength(1);
    await lost;
    const second = (await lead({ ...options, holder: 'second' }, 'engine', never))!;
    expect(second.epoch).toBeGreaterThan(first.epoch);
    await second.resign();
  });

  test("does not mind the environment's Postgres settings", async () => {
    process.env.PGOPTIONS = '-c search_path=nowhere';
    try {
      const options = {
        engineUrl: t.urls.engine,
        nominator: postgresNominator(t.urls.engine),
        holder: 'plain',
        clock: systemClock,
      };
      const leadership = (await lead(options, 'engine', new AbortController().signal))!;
      expect(leadership.epoch).toBeGreaterThan(0n);
      await leadership.resign();
    } finally {
      delete process.env.PGOPTIONS;
    }
  });
});

describe.skipIf(missing !== undefined)(`a leader by Redis${missing === undefined ? '' : ` (${missing})`}`, () => {
  test('stops before its lease is another’s where Redis is away, and one is found again once it is back', async () => {
    const redis = await startRedis();
    const nominator = await redisNominator(redis.url, 'test', LEASE_MS);
    const first = (await nominator.nominate('engine', 'first'))!;
    const told = performance.now();
    const lost = new Promise<number>((resolve) =>
      first.lost.addEventListener('abort', () => resolve(performance.now()), { once: true }),
    );
    await redis.stop();
    expect((await lost) - told).toBeLessThan(LEASE_MS + LEASE_MS / 3);
    expect(await nominator.nominate('engine', 'second')).toBeUndefined();
    await nominator.close();
  });
});

test.each([
  ['a host that does not answer', { code: 'ETIMEDOUT' }],
  ['a name server that is away', { code: 'EAI_AGAIN' }],
  ['a route that is down', { code: 'EHOSTUNREACH' }],
  ['a server without a free connection', { code: '53300' }],
  ['a session ended for idling', { code: '57P05' }],
  ['a connect that took too long', new Error('timeout expired')],
])('%s is a database that is away for a while', (_name, error) => {
  expect(isDatabaseAway(error)).toBe(true);
});
