import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { withArchivedReports } from '../../api/cli/archive-reports.ts';
import { run } from '../../api/cli/commands/score.ts';
import { startFinanceSimulator } from '../../peers/finance/simulator.ts';
import { startSentinelSimulator } from '../../peers/sentinelnet/simulator.ts';
import { runCli } from '../support/cli.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { rayForTests, rayMissing } from '../support/ray.ts';
import { startServerProcess } from '../support/server-process.ts';
import { Sink } from '../support/sink.ts';
import { NEXT, OLD } from './scoring-batch-support.ts';
import { EPOCH_MS, lineOf, parseSuite, random, TRACE } from './scoring-online-support.ts';
import { registerBoard } from './scoring-rollout-support.ts';

const LIMIT_MS = 60_000;
const POLL_MS = 200;
const HOUR_MS = 3_600_000;
const TENANT = 'default';
const closers: (() => Promise<unknown>)[] = [];
let root: string;
let home: string;
let database: TestDatabase;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-recompute-'));
  closers.push(() => rm(root, { recursive: true, force: true }));
  database = await testDatabase();
  closers.push(() => database.close());
  const sentinel = await startSentinelSimulator();
  closers.push(() => sentinel.close());
  const finance = await startFinanceSimulator({ journalPath: join(root, 'finance.jsonl') });
  closers.push(() => finance.close());
  home = join(root, 'state');
  await mkdir(home);
  // No thread of its own: what is counted is counted by jobs.
  const config = { features: ['suite-rollouts'], recomputeThreads: 0, archive: { segmentAge: '1s' } };
  await writeFile(join(home, 'merit.yaml'), JSON.stringify(config));
  const server = await startServerProcess({
    stateDir: home,
    env: {
      MERIT_NO_PYTHON: 'no Ray is needed here',
      MERIT_TENANT: TENANT,
      MERIT_CONFIG: join(home, 'merit.yaml'),
      MERIT_OBJECT_STORE: join(root, 'objects'),
      DATABASE_URL: database.urls.app,
      ENGINE_DATABASE_URL: database.urls.engine,
      MERIT_SENTINELNET_URL: sentinel.url,
      MERIT_FINANCE_URL: finance.url,
    },
  });
  closers.push(() => server.stop());
  await writeFile(join(home, 'pool.json'), JSON.stringify(POOL));
  await writeFile(join(home, 'budget.json'), JSON.stringify(BUDGET));
  await merit('apply', '-f', 'pool.json', '-f', 'budget.json');
  await registerBoard(database.db, { tenant: TENANT, actor: 'tester', traceId: TRACE, nowMs: Date.now() }, OLD, [
    'good',
  ]);
}, 90_000);
afterAll(async () => {
  for (const close of closers.toReversed()) await close();
}, 60_000);

const BUDGET = { apiVersion: 'merit/v1', kind: 'Budget', division: 'vision', currency: 'USD', limit: '100.00' };
const POOL = {
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: 'cpus',
  provider: { kind: 'local' },
  flavours: [{ name: 'small', resource: 'cpu', capacity: 4, price: { currency: 'USD', perUnitHour: '0.50' } }],
  quotas: { vision: { small: 4 } },
};

async function merit(...args: string[]) {
  const ended = await runCli(home, args);
  expect(ended.code, ended.err).toBe(0);
  return ended;
}

async function rollout(): Promise<Record<string, unknown>> {
  return JSON.parse((await merit('suites', 'rollout', 'board', '-o', 'json')).out);
}

async function until<T>(what: string, get: () => Promise<T>, is: (value: T) => boolean): Promise<T> {
  for (const deadline = performance.now() + LIMIT_MS; ; await sleep(POLL_MS)) {
    const value = await get();
    if (is(value)) return value;
    if (performance.now() > deadline) throw new Error(`${what} did not come: ${JSON.stringify(value)}`);
  }
}

const next = random(5);
const A_HOUR = 4;
let sentHours = 0;

/** So many hours of reports behind those before. */
async function send(hours: number): Promise<void> {
  const reports: string[] = [];
  for (let hour = sentHours; hour < sentHours + hours; hour++)
    for (let i = 0; i < A_HOUR; i++)
      reports.push(
        lineOf({
          schemaVersion: 1,
          reportId: `${hour}-${i}`,
          producer: 'ci',
          model: 'good',
          suite: 'board',
          observedAt: new Date(EPOCH_MS + hour * HOUR_MS + i * 60_000).toISOString(),
          metrics: { accuracy: next(), latency_ms: 100 + Math.floor(next() * 600) },
        }),
      );
  const file = join(home, `reports-${sentHours}.ndjson`);
  await writeFile(file, reports.join(''));
  await merit('reports', 'send', '--reports', file);
  sentHours += hours;
}

/** Pools that are there, by how the archive comes to their jobs, and a version of the suite for each. */
const kinds = [
  { on: 'local', how: 'they read the archive where it lies', kappa: 5 },
  { on: 'ray', how: 'the archive was sent with them', kappa: 6 },
];
const missing = rayMissing();

test('a history that is not begun, or of no rollout, is not handed over', async () => {
  const nobody = await runCli(home, ['recompute', 'board', '--on', 'local', '--archive', root]);
  expect(nobody).toMatchObject({ code: 3, err: expect.stringContaining('has no folder "archive"') });
  await mkdir(join(root, 'none', 'archive'), { recursive: true });
  const none = await runCli(home, ['recompute', 'board', '--on', 'local', '--archive', join(root, 'none')]);
  expect(none).toMatchObject({ code: 9, err: expect.stringContaining('rollout that runs') });
});

for (const kind of kinds) {
  const reason = kind.on === 'ray' && missing !== undefined ? ` (${missing})` : '';
  test.skipIf(reason !== '')(
    `jobs of a ${kind.on} pool count a new version’s history out of the archive, and its scores are those of the reports themselves${reason}`,
    () => countsOn(kind),
    240_000,
  );
}

async function countsOn({ on, how, kappa }: (typeof kinds)[number]): Promise<void> {
  if (on === 'ray') await applyRayPool();
  const from = sentHours;
  await send(from === 0 ? 150 : 10);
  await until('the reports', leaderboardAt, (at) => at !== undefined && at >= EPOCH_MS + (sentHours - 12) * HOUR_MS);
  const version = parseSuite({ ...(NEXT.document as object), shrinkage: { kappa, prior: 0.4 } });
  const file = join(home, `next-${on}.json`);
  await writeFile(file, JSON.stringify(version.document));
  await merit('suites', 'apply', '-f', file, '--shadow');
  await until('the version', rollout, ({ kept, to }) => kept === true && to === version.hash);
  const before = sentHours;
  await send(30);
  const place = join(root, 'objects');
  const asked = ['recompute', 'board', '--on', on, '--archive', place, '--shards', '2', '-o', 'json'];
  const ended = await until(
    'the archive',
    () => runCli(home, asked),
    ({ code, err }) => code !== 11 && !err.includes('has no folder "archive"'),
  );
  expect(ended.code, ended.err).toBe(0);
  expect(ended.err).toMatch(/^booked 2 shards as array \S{26}$/m);
  expect(ended.err).toContain(how);
  expect(JSON.parse(ended.out)).toMatchObject([{ suite: 'board', partition: 0, counts: { late: 0, outdated: 0 } }]);
  const done = await until('the history', rollout, ({ complete }) => complete === true);
  const { recompute } = done as { recompute: Record<string, number> };
  expect(recompute).toMatchObject({ state: 'done', failure: null });
  expect(recompute.counted! + recompute.refused!).toBe(before * A_HOUR);
  const { at } = await until('a tick of both', diff, ({ models }) => models.length > 0);
  const offline = await offlineScore(file, place, at);
  expect(offline.windows['7d'].n).toBeGreaterThan(500);
  // Ticks that were published with less are published again.
  await until('the score', diff, (seen) => seen.at === at && seen.models[0]?.next.composite === offline.composite);
  // Asked again there is nothing left, and nothing is booked.
  expect(await runCli(home, asked)).toMatchObject({
    code: 3,
    err: expect.stringContaining('no history that is not filled in'),
  });
  await merit('suites', 'rollout', 'board', '--rollback');
}

async function applyRayPool(): Promise<void> {
  const ray = await rayForTests();
  closers.push(() => ray.stop());
  const config = { address: ray.address, tokenFile: ray.tokenFile, flavours: [{ name: 'small' }] };
  await writeFile(join(home, 'ray.json'), JSON.stringify({ ...POOL, name: 'rays', provider: { kind: 'ray', config } }));
  await merit('apply', '-f', 'ray.json');
}

interface Scored {
  readonly composite: number;
  readonly windows: { readonly '7d': { readonly n: number } };
}

/** Of the reports themselves, by the new version, without the server. */
async function offlineScore(suite: string, archive: string, at: string): Promise<Scored> {
  const stdout = new Sink();
  const io = { cwd: home, note: () => {} };
  const { signal } = new AbortController();
  await withArchivedReports({ io, options: { archive }, args: [], signal } as never, (reports) =>
    run({ suite, reports, at, output: 'json' }, { stdin: Readable.from([]), stdout, stderr: new Sink() }),
  );
  return JSON.parse(stdout.text).models[0];
}

async function leaderboardAt(): Promise<number | undefined> {
  const { code, out } = await runCli(home, ['leaderboard', 'board', '-o', 'json']);
  const at = code === 0 ? JSON.parse(out).at : undefined;
  return typeof at === 'string' ? Date.parse(at) : undefined;
}

interface Diff {
  readonly at: string;
  readonly models: readonly { readonly next: { readonly composite: number } }[];
}

async function diff(): Promise<Diff> {
  return JSON.parse((await merit('suites', 'diff', 'board', '-o', 'json')).out);
}
