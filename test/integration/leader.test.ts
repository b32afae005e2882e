import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { lead } from '../../platform/leader.ts';
import { postgresNominator } from '../../platform/nominator-postgres.ts';
import { redisNominator } from '../../platform/nominator-redis.ts';
import { isDatabaseAway } from '../../platform/postgres.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { leadershipRules } from '../support/leadership-rules.ts';
import { redisMissing, startRedis } from '../support/redis.ts';

const LEASE_MS = 1_500;

let t: TestDatabase;
const missing = redisMissing();

beforeAll(async () => {
  t = await testDatabase();
});
afterAll(() => t.close());

const redis = async () => {
  const started = await startRedis();
  return { at: started.url, stop: () => started.stop() };
};
leadershipRules('postgres', {
  leaseMs: LEASE_MS,
  missing: undefined,
  start: async () => ({ at: '-', stop: async () => {} }),
});
leadershipRules('redis', { leaseMs: LEASE_MS, missing, start: redis });

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
  test('stops before its lease is another’s where Redis is away, and nobody is nominated meanwhile', async () => {
    const redis = await startRedis();
    // The clock that it renews by is the test's.
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    try {
      const nominator = await redisNominator(redis.url, 'test', LEASE_MS);
      const first = (await nominator.nominate('engine', 'first'))!;
      const lost = once(first.lost, 'abort');
      await redis.stop();
      vi.advanceTimersByTime(LEASE_MS - 1);
      await lost;
      expect(await nominator.nominate('engine', 'second')).toBeUndefined();
      await nominator.close();
    } finally {
      vi.useRealTimers();
    }
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
