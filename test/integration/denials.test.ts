import { afterAll, beforeAll, expect, test } from 'vitest';
import { DENIALS_EVERY_MS, type DenialTrail, denialTrail, MAX_DENIALS_APART } from '../../api/http/denials.ts';
import type { Denial } from '../../api/http/services.ts';
import { createMetrics, type Metrics } from '../../platform/metrics.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';

let t: TestDatabase;
let metrics: Metrics;
let nowMs = Date.UTC(2026, 10, 26, 12);
let trail: DenialTrail;

beforeAll(async () => {
  t = await testDatabase();
  await t.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('default'), ('acme'), ('rival')"));
  metrics = createMetrics({ processMetrics: false });
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const clock = {
    now: () => nowMs,
    sleep: async (ms: number) => {
      nowMs += ms;
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
  trail = denialTrail({ db: t.db, clock, log, metrics, tenant: 'default' });
}, 60_000);
afterAll(() => t.close());

const denial = (over: Partial<Denial> = {}): Denial => ({
  why: 'function',
  tenant: 'acme',
  principal: 'oidc:ann',
  route: '/v1/pools/:name',
  method: 'PUT',
  needs: 'operate',
  traceId: '0'.repeat(31) + 1,
  ...over,
});

interface Told {
  readonly tenant: string;
  readonly others: number;
  readonly denials: readonly { readonly count: number; readonly principal: string }[];
}

async function events(tenant: string): Promise<readonly Told[]> {
  const rows = await t.db.asEngine((tx) =>
    tx.query<{ bytes: Buffer }>(
      "select bytes from audit_events where tenant = $1 and type = 'access.denied' order by subject_seq",
      [tenant],
    ),
  );
  return rows.map(({ bytes }) => {
    const { data, subject } = JSON.parse(bytes.toString()) as { data: Told; subject: string };
    expect(subject).toBe('access/denied');
    return data;
  });
}

/** The loop, with this beside it until it says no. */
async function run(beside: () => boolean): Promise<void> {
  const stop = new AbortController();
  const feeding = (async () => {
    while (beside()) await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
  })();
  await Promise.all([feeding, trail.run(stop.signal)]);
}

test('a denial is in the trail of its tenant at the next look, with who, what for and how often', async () => {
  for (let i = 0; i < 3; i++) trail.denied(denial());
  trail.denied(denial({ tenant: 'rival', principal: 'spiffe://td/kernel', needs: 'audit', route: '/v1/audit/bundle' }));
  trail.denied(denial({ tenant: undefined, principal: 'oidc:stranger', why: 'stranger' }));
  await run(() => false);
  expect((await events('acme')).map(({ denials, others }) => [denials, others])).toEqual([
    [
      [
        {
          count: 3,
          function: 'operate',
          method: 'PUT',
          principal: 'oidc:ann',
          route: '/v1/pools/:name',
          why: 'function',
        },
      ],
      0,
    ],
  ]);
  expect((await events('rival')).length).toBe(1);
  expect((await events('default'))[0]?.denials[0]).toMatchObject({ principal: 'oidc:stranger', count: 1 });
});

test('what proves nothing is counted, and is in no trail', async () => {
  for (const why of ['missing', 'invalid', 'away'] as const)
    trail.denied(denial({ why, tenant: undefined, principal: undefined }));
  await trail.flush();
  expect((await events('default')).length).toBe(1);
  const { body } = await metrics.expose();
  expect(body).toContain('merit_access_denied_total{why="invalid",way="none",needs="operate"} 1');
  expect(body).toContain('merit_access_denied_total{why="function",way="oidc",needs="operate"} 3');
});

test('a flood is one event a minute, tells a hundred apart, and is counted whole', async () => {
  const before = (await events('acme')).length;
  nowMs += DENIALS_EVERY_MS;
  const flood = 20_000;
  const startMs = nowMs;
  let sent = 0;
  await run(() => {
    for (let i = 0; i < 1_000 && sent < flood; i++) trail.denied(denial({ principal: `oidc:p${sent++}` }));
    return sent < flood;
  });
  const minutes = Math.floor((nowMs - startMs) / DENIALS_EVERY_MS);
  const told = (await events('acme')).slice(before);
  // One at once, one for each minute after it, one at the end.
  expect(told.length).toBeLessThanOrEqual(minutes + 2);
  expect(Math.max(...told.map(({ denials }) => denials.length))).toBeLessThanOrEqual(MAX_DENIALS_APART);
  const counted = told.flatMap(({ denials, others }) => [others, ...denials.map(({ count }) => count)]);
  expect(counted.reduce((sum, count) => sum + count, 0)).toBe(flood);
});

test('several processes that tell of one tenant number their events one after the other', async () => {
  const before = (await events('rival')).length;
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const trails = Array.from({ length: 4 }, () =>
    denialTrail({
      db: t.db,
      clock: { now: () => nowMs, sleep: async () => {} },
      log,
      metrics: createMetrics({ processMetrics: false }),
      tenant: 'default',
    }),
  );
  for (const one of trails) one.denied(denial({ tenant: 'rival' }));
  await Promise.all(trails.map((one) => one.flush()));
  expect((await events('rival')).length).toBe(before + 4);
});
