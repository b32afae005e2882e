import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readEvalReport, reportKey } from '../../core/eval-report.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { createTopic } from '../../platform/event-log-postgres.ts';
import { openTenantReads, type Statement, type TenantReads } from '../../platform/postgres-reads.ts';
import { addPanes } from '../../scoring/ingest/effects.sql.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { routesOf } from '../../scoring/ingest/shards.ts';
import { stateVersion } from '../../scoring/ingest/suite-state.sql.ts';
import { scoreHistory } from '../../scoring/read/scores.ts';
import { type ComputedScore, LiveScores } from '../../scoring/realtime/compute.ts';
import { LiveWindows, type WindowsFrom } from '../../scoring/realtime/live-windows.ts';
import type { RealtimeMetrics } from '../../scoring/realtime/metrics.ts';
import { NO_REALTIME_METRICS } from '../../scoring/realtime/metrics.ts';
import { RecentCommits } from '../../scoring/realtime/recent-commits.ts';
import { retireVersion } from '../../scoring/registry/models.ts';
import { PaneTable } from '../../scoring/rules/pane-table.ts';
import type { PublishedModel } from '../../scoring/rules/published.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { horizonPassed } from '../support/horizon.ts';
import {
  EPOCH_MS,
  type Harness,
  harness,
  lineOf,
  newTenant,
  parseSuite,
  random,
  register,
  type TestReport,
} from './scoring-online-support.ts';
import { beside } from './scoring-rollout-support.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

const document = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'live',
  tick: '30m',
  minN: 2,
  metrics: {
    accuracy: { direction: 'higher', kind: 'mean', floor: 0, ceil: 1, valid: [0, 1], required: true },
    solved: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1, weight: 2 },
    latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 3, floor: 1000, ceil: 100, weight: 0.5 },
  },
};
const suite = parseSuite(document);
/** Ticks at the end of every window. */
const everyMinute = parseSuite({ ...document, tick: '1m' });

let base: TestDatabase;
let h: Harness;
let reads: TenantReads;
let live: LiveScores;
let held: WindowsFrom[] = [];
const watched: RealtimeMetrics = { computed: (windows) => void held.push(windows) };

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  reads = openTenantReads(base.urls.app);
  live = scoresOf(reads, watched);
});
afterAll(async () => {
  await reads.close();
  await h.log.close();
  await base.close();
});

function scoresOf(of = reads, metrics: RealtimeMetrics = NO_REALTIME_METRICS, recent?: RecentCommits): LiveScores {
  return new LiveScores(of, metrics, new LiveWindows(of, recent));
}

let serial = 0;
function report(observedAtMs: number, fields: Partial<TestReport> = {}): TestReport {
  const id = serial++;
  const next = random(id);
  return {
    schemaVersion: 1,
    reportId: `r-${id}`,
    producer: 'ci-eval',
    model: 'ranker-v1',
    suite: 'live',
    observedAt: new Date(observedAtMs).toISOString(),
    sampleSize: 1 + Math.floor(next() * 100),
    metrics: { accuracy: next(), solved: next(), latency_ms: 50 + next() * 900 },
    ...fields,
  };
}

/** Some hours of two models, up to `untilMs`. */
function past(untilMs: number, count = 30): TestReport[] {
  return Array.from({ length: count }, (_, i) =>
    report(untilMs - (count - 1 - i) * 7 * MINUTE_MS, { model: i % 3 === 0 ? 'ranker-v2' : 'ranker-v1' }),
  );
}

async function tenantWith(tenant: string, reports: readonly TestReport[], of = suite): Promise<void> {
  const by = await newTenant(base, tenant);
  await register(base.db, by, of, ['ranker-v1', 'ranker-v2']);
  await send(tenant, reports);
}

async function send(tenant: string, reports: readonly TestReport[], ctx = h.context()): Promise<void> {
  await h.send(tenant, reports.map(lineOf).join(''));
  await h.drain(ctx);
}

function compute(tenant: string, one: TestReport, scores = live): Promise<ComputedScore> {
  const reading = readEvalReport(Buffer.from(JSON.stringify(one)));
  if (!reading.ok) throw new Error(reading.quarantine.problem);
  return scores.compute(tenant, reading.report, Date.now());
}

async function publishedAt(tenant: string, model: string, tickMs: number): Promise<PublishedModel> {
  const at = new Date(tickMs).toISOString();
  const history = await base.db.asTenant(tenant, (tx) => scoreHistory(tx, tenant, 'live', model));
  const { model: name, rank, status, composite, lower, upper, windows } = history.find((score) => score.at === at)!;
  return { model: name, rank, status, composite, lower, upper, windows };
}

describe('a score computed in the last minute of an hour', () => {
  const tick = EPOCH_MS + 3 * HOUR_MS;
  const before = past(tick - 5 * MINUTE_MS);
  const extra = report(tick - 20_000);
  /** It makes the tick final, and is in none of its windows. */
  const closing = report(tick, { model: 'ranker-v2' });

  test('is what the consumer publishes at that hour once the report is really sent, to the bit; and `before` what it publishes without it', async () => {
    await tenantWith('with', before);
    await tenantWith('without', before);
    const computed = await compute('with', extra);
    expect(computed.report).toMatchObject({ counted: ['1h', '24h', '7d'], reportId: extra.reportId });
    await send('with', [extra, closing]);
    await send('without', [closing]);
    const published = await publishedAt('with', 'ranker-v1', tick);
    expect(computed.model).toEqual({ ...published, rank: computed.model.rank });
    expect(computed.before).toEqual({
      ...(await publishedAt('without', 'ranker-v1', tick)),
      rank: computed.before.rank,
    });
    expect(computed.model.composite).not.toBe(computed.before.composite);
    const { sum, contributions } = computed.explanation;
    expect(Math.abs(sum - published.composite!)).toBeLessThanOrEqual(1e-12);
    expect(contributions.map(({ window, metric }) => `${window} ${metric}`)).toEqual(
      ['1h', '24h', '7d'].flatMap((window) => suite.metrics.map(({ name }) => `${window} ${name}`)),
    );
    const added = contributions.reduce((all, { contribution }) => all + contribution, 0);
    expect(Math.abs(added - published.composite!)).toBeLessThanOrEqual(1e-12);
  });

  test('says where it stands: instant, version, last published tick, watermark and the offsets that were read', async () => {
    const { at, suiteHash, basis } = await compute('with', report(tick + 1));
    const end = await h.log.end(REPORTS_TOPIC, 0);
    expect({ at, suiteHash, basis }).toEqual({
      at: new Date(tick + 1).toISOString(),
      suiteHash: suite.hash,
      basis: {
        tick: new Date(tick).toISOString(),
        watermark: new Date(tick).toISOString(),
        offsets: { 0: String(end.nextOffset) },
        lines: {},
      },
    });
  });

  test('has the rank that it would take among the last published board', async () => {
    const [worst, best] = [0, 1].map((accuracy) =>
      report(tick - 1, {
        sampleSize: 2 ** 20,
        metrics: { accuracy, solved: accuracy, latency_ms: accuracy === 1 ? 1 : 2000 },
      }),
    );
    const board = await base.db.asTenant('with', (tx) =>
      tx.query<{ model: string; lower: number }>('select model, lower from scores where suite = $1 and tick_ms = $2', [
        'live',
        tick,
      ]),
    );
    for (const one of [worst!, best!]) {
      const { model } = await compute('with', one);
      const above = board.filter((row) => row.model !== 'ranker-v1' && row.lower > model.upper!);
      expect(model.rank).toBe(1 + above.length);
    }
  });
});

test('in the middle of an hour each window is, to the bit, the one that the tick at its own end publishes', async () => {
  const now = EPOCH_MS + 5 * HOUR_MS + 7 * MINUTE_MS + 30_000;
  await tenantWith('middle', past(now - 10_000, 6), everyMinute);
  const extra = report(now);
  const { model } = await compute('middle', extra);
  const ends = Object.fromEntries(
    Object.entries(model.windows).map(([name, { end }]) => [name, Date.parse(end) - now]),
  );
  expect(ends).toEqual({ '1h': 30_000, '24h': 7.5 * MINUTE_MS, '7d': 52.5 * MINUTE_MS });
  await send('middle', [extra, report(EPOCH_MS + 6 * HOUR_MS, { model: 'ranker-v2' })]);
  for (const [name, window] of Object.entries(model.windows)) {
    const published = await publishedAt('middle', 'ranker-v1', Date.parse(window.end));
    expect(published.windows[name as '1h']).toEqual(window);
  }
});

test('a late report is only in the windows that reach back to it, and in none after 7 days', async () => {
  const now = EPOCH_MS + HOUR_MS;
  await tenantWith('late', past(now));
  const twoHours = await compute('late', report(now - 2 * HOUR_MS));
  expect(twoHours.report.counted).toEqual(['24h', '7d']);
  expect(twoHours.model.windows['1h']).toEqual(twoHours.before.windows['1h']);
  expect(twoHours.model.windows['24h']!.n).toBe(twoHours.before.windows['24h']!.n + 1);
  const tooLate = await compute('late', report(now - 7 * 24 * HOUR_MS - 1));
  expect(tooLate.report.counted).toEqual([]);
  expect(tooLate.model).toEqual(tooLate.before);
});

test('a model and a suite without any report are scored by this one alone', async () => {
  await tenantWith('empty', []);
  const { model, before, basis, at } = await compute('empty', report(EPOCH_MS + 5));
  expect([before.status, model.status, before.windows['1h']?.n, model.windows['1h']?.n]).toEqual([
    'no_data',
    'insufficient',
    0,
    1,
  ]);
  expect([basis.tick, basis.watermark, at]).toEqual([null, null, new Date(EPOCH_MS + 5).toISOString()]);
});

test('computing stores nothing: no table and no log has a row more or other rows', async () => {
  await tenantWith('quiet', past(EPOCH_MS, 6));
  const before = await everything();
  for (let i = 0; i < 5; i++) await compute('quiet', report(EPOCH_MS + i));
  expect(await everything()).toEqual(before);
});

/** A digest of each table’s rows. */
async function everything(): Promise<readonly object[]> {
  const tables = await asAdmin(
    base.urls.admin,
    `select tablename from pg_tables where schemaname = 'public' order by 1`,
  );
  const digests = tables.map(
    ({ tablename }) =>
      `select '${String(tablename)}' as name, count(*), md5(string_agg(r::text, '' order by r::text)) as digest from ${String(tablename)} r`,
  );
  return asAdmin(base.urls.admin, `${digests.join(' union all ')} order by name`);
}

describe('windows in memory', () => {
  const now = EPOCH_MS + 30 * MINUTE_MS;

  test('are used again while nothing was committed, and never once something was, in whatever process', async () => {
    await tenantWith('fresh', past(now));
    const other = scoresOf();
    held = [];
    for (let i = 0; i < 4; i++) {
      const mine = await compute('fresh', report(now));
      const theirs = await compute('fresh', report(now), other);
      expect([mine.before.windows['24h']!.n, theirs.before.windows['24h']!.n]).toEqual([20 + i, 20 + i]);
      await send('fresh', [report(now - i * 1000)]);
    }
    await compute('fresh', report(now));
    await compute('fresh', report(now));
    expect(held).toEqual([...Array(5).fill('read'), 'held']);
  });

  test('read by many calls at once are read once for all, and each call has them as committed when it came', async () => {
    await tenantWith('crowd', past(now));
    let panes = 0;
    const counting: TenantReads = {
      ...reads,
      read: (tenant, statement, values) => {
        if (statement.text.includes('pane_sketches')) panes++;
        return reads.read(tenant, statement, values);
      },
    };
    const scores = scoresOf(counting);
    const all = await Promise.all(Array.from({ length: 20 }, () => compute('crowd', report(now), scores)));
    expect(new Set(all.map(({ before }) => before.windows['7d']!.n))).toEqual(new Set([20]));
    expect(panes).toBeLessThan(8);
  });

  test('while the consumer commits again and again an answer is never behind what was committed when it was asked for', async () => {
    await tenantWith('racing', past(now));
    let committed = 20;
    let done = false;
    const writing = (async () => {
      for (let i = 0; i < 6; i++) {
        await send('racing', [report(now - i)]);
        committed++;
      }
      done = true;
    })();
    const seen: number[] = [];
    while (!done) {
      const atLeast = committed;
      const { before, model } = await compute('racing', report(now));
      expect(before.windows['24h']!.n).toBeGreaterThanOrEqual(atLeast);
      expect(model.windows['24h']!.n).toBe(before.windows['24h']!.n + 1);
      seen.push(before.windows['24h']!.n);
    }
    await writing;
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(new Set(seen).size).toBeGreaterThan(2);
  });

  test('are dropped by least use, and what is too large is not kept', async () => {
    await tenantWith('small', past(now, 6));
    const limits = { models: 2, cells: 100_000, sketchCells: 100_000 };
    const windows = new LiveWindows(reads, undefined, limits);
    const scores = new LiveScores(reads, watched, windows);
    held = [];
    for (const model of ['ranker-v1', 'ranker-v2', 'ranker-v1']) await compute('small', report(now, { model }), scores);
    // Another minute is another place: the one used longest ago goes.
    await compute('small', report(now + MINUTE_MS), scores);
    await compute('small', report(now, { model: 'ranker-v1' }), scores);
    await compute('small', report(now, { model: 'ranker-v2' }), scores);
    expect(held).toEqual(['read', 'read', 'held', 'read', 'held', 'read']);
    expect(windows.entries.size).toBe(2);
    const tiny = new LiveWindows(reads, undefined, { models: 2, cells: 10, sketchCells: 10 });
    await compute('small', report(now), new LiveScores(reads, watched, tiny));
    expect([tiny.entries.size, tiny.entries.cells]).toEqual([0, 0]);
  });

  test('after a commit are read again as far as it wrote them', async () => {
    await tenantWith('little', past(now));
    const sketches: number[] = [];
    const counting: TenantReads = {
      ...reads,
      read: async <R extends object>(tenant: string, statement: Statement, values: readonly unknown[]) => {
        const rows = await reads.read<R>(tenant, statement, values);
        const lists = (rows[0] as { sketches?: readonly (readonly [number, string, readonly unknown[]])[] }).sketches;
        if (lists !== undefined) sketches.push(lists.reduce((sum, [, , list]) => sum + list.length, 0));
        return rows;
      },
    };
    const scores = scoresOf(counting);
    // Panes of transactions that may still run are read again, too.
    await horizonPassed(base.db);
    await compute('little', report(now), scores);
    await send('little', [report(now)]);
    await compute('little', report(now), scores);
    // One pane a metric and window.
    expect(sketches).toEqual([expect.any(Number), 9]);
    expect(sketches[0]).toBeGreaterThan(50);
  });

  test('read piece by piece through commits, late data and moving time are those that are read whole', async () => {
    await tenantWith('pieces', past(now));
    const next = random(11);
    let atMs = now;
    for (let i = 0; i < 6; i++) {
      atMs += Math.floor(next() * 20) * MINUTE_MS;
      const lateMs = next() < 0.5 ? 0 : Math.floor(next() * 3 * HOUR_MS);
      await send('pieces', [report(atMs), report(atMs - lateMs)]);
      // Now and then an older T: panes that were let go are wanted again.
      const one = report(next() < 0.3 ? atMs + 3 * HOUR_MS : atMs - Math.floor(next() * HOUR_MS));
      const whole = scoresOf();
      expect(await compute('pieces', one)).toEqual(await compute('pieces', one, whole));
    }
  });
});

describe('windows in memory beside the consumer of their process', () => {
  const now = EPOCH_MS + 40 * MINUTE_MS;

  /** One that scores beside its consumer, and looks at whether its answers are those of one that reads everything. */
  async function besideConsumer(tenant: string) {
    await tenantWith(tenant, past(now));
    const recentCommits = new RecentCommits();
    const scores = scoresOf(reads, watched, recentCommits);
    const expectFrom = async (from: WindowsFrom, one = report(now)) => {
      held = [];
      expect(await compute(tenant, one, scores)).toEqual(await compute(tenant, one, scoresOf()));
      expect(held).toEqual([from]);
    };
    await expectFrom('read');
    return { ctx: h.context({ recentCommits }), recentCommits, expectFrom };
  }

  test('are brought up by what it commits, one transaction or several, and are to the bit those that are read', async () => {
    const { ctx, expectFrom } = await besideConsumer('follower');
    for (let commits = 0; commits < 4; commits++) {
      for (let i = 0; i < commits; i++)
        await send('follower', [report(now - i * 1000), report(now, { model: 'ranker-v2' })], ctx);
      await expectFrom(commits === 0 ? 'held' : 'followed');
      await expectFrom('held');
    }
    // What it wrote of another model alone changes this one's head only.
    await send('follower', [report(now, { model: 'ranker-v2' })], ctx);
    await expectFrom('followed');
    await expectFrom('held');
  });

  test('are read where another process committed, a tick was published, or late data changed the board', async () => {
    const { ctx, expectFrom } = await besideConsumer('mixed');
    await send('mixed', [report(now)]);
    await expectFrom('read');
    await send('mixed', [report(now)], ctx);
    await send('mixed', [report(now)]);
    await send('mixed', [report(now)], ctx);
    await expectFrom('read');
    await send('mixed', [report(now - 2 * HOUR_MS)], ctx);
    await expectFrom('read');
    await send('mixed', [report(now)], ctx);
    await expectFrom('followed');
    const later = now + 30 * MINUTE_MS;
    await expectFrom('read', report(later));
    await send('mixed', [report(later)], ctx);
    await expectFrom('read', report(later));
  });

  test('are read where their board is another, whatever is told of panes', async () => {
    const { recentCommits, expectFrom } = await besideConsumer('boards');
    const state = () => base.db.asEngine((tx) => stateVersion(tx, { tenant: 'boards', name: 'live' }));
    const later = now + 30 * MINUTE_MS;
    await expectFrom('read', report(later));
    const from = await state();
    await send('boards', [report(later, { model: 'ranker-v2' })]);
    recentCommits.note({ tenant: 'boards', suiteHash: suite.hash, from, to: await state(), panes: [] });
    await expectFrom('read', report(later));
  });

  test('never hold what was not committed: an aborted transaction leaves nothing, and what is read after it counts once', async () => {
    const { ctx, expectFrom } = await besideConsumer('aborting');
    const asFenced: typeof base.db.asFenced = (fence, work) =>
      base.db.asFenced(fence, async (tx) => {
        await work(tx);
        throw new OperatingError('aborted', 'safe', 'dying before the commit');
      });
    const dying = { ...ctx, db: { ...base.db, asFenced } };
    await expect(send('aborting', [report(now)], dying)).rejects.toThrow('dying before the commit');
    await expectFrom('held');
    await h.drain(ctx);
    await expectFrom('followed');
  });

  test('are read while two versions of the suite are kept', async () => {
    const { ctx, expectFrom } = await besideConsumer('two');
    const by = { tenant: 'two', actor: 'tester', traceId: '0'.repeat(32), nowMs: Date.now() };
    await beside(base.db, by, parseSuite({ ...document, minN: 7 }));
    for (let i = 0; i < 2; i++) {
      await send('two', [report(now)], ctx);
      await expectFrom('read');
    }
  });
});

describe('what the consumer would set aside is refused by field, problem and mend', () => {
  const now = EPOCH_MS;
  const refusalOf = async (one: TestReport) => {
    const error = await compute('picky', one).catch((thrown: unknown) => thrown);
    return (error as { refusals?: readonly object[] }).refusals?.[0];
  };

  test('an unknown suite or model, a retired one, a clock ahead, a value out of range', async () => {
    await tenantWith('picky', []);
    const by = { tenant: 'picky', actor: 'tester', traceId: '0'.repeat(32), nowMs: Date.now() };
    await base.db.asTenant('picky', (tx) => retireVersion(tx, by, 'ranker', 'ranker-v2'));
    const metrics = { accuracy: 0.5, solved: 0.5, latency_ms: 200 };
    for (const [fields, code, field] of [
      [{ suite: 'none' }, 'unknown_suite', 'suite'],
      [{ model: 'none' }, 'unknown_model', 'model'],
      [{ model: 'ranker-v2' }, 'retired', 'model'],
      [{ observedAt: new Date(Date.now() + 6 * MINUTE_MS).toISOString() }, 'clock_skew', 'observedAt'],
      [{ metrics: { ...metrics, accuracy: 1.5 } }, 'valid', 'metrics.accuracy'],
      [{ metrics: { ...metrics, latency_ms: 1e10 } }, 'range', 'metrics.latency_ms'],
    ] as const) {
      expect(await refusalOf(report(now, fields))).toEqual({
        code,
        field,
        problem: expect.stringMatching(/.{8}/),
        mend: expect.stringMatching(/.{8}/),
      });
    }
  });

  test('another tenant’s suites and models are unknown', async () => {
    await newTenant(base, 'stranger');
    await expect(compute('stranger', report(now))).rejects.toMatchObject({ refusals: [{ code: 'unknown_suite' }] });
  });
});

test('while two versions of a suite are kept the one that decides for the model scores it', async () => {
  await tenantWith('canary', past(EPOCH_MS, 6));
  const next = parseSuite({ ...document, minN: 7 });
  const start = (share: number) =>
    base.db.asEngine(async (tx) => {
      await tx.execute(
        `insert into suites (tenant, suite, suite_hash, document, active, applied_by) values ('canary', 'live', $1, $2, false, 'tester') on conflict do nothing`,
        [next.hash, JSON.stringify(next.document)],
      );
      await tx.execute(
        `insert into suite_rollouts (rollout_id, tenant, suite, suite_hash, from_hash, state, share, forced, started_by, changed_by, trace_id)
         values ('canary', 'canary', 'live', $1, $2, 'running', $3, true, 'tester', 'tester', '') on conflict do nothing`,
        [next.hash, suite.hash, share],
      );
      await tx.execute(
        `insert into rollout_states (rollout_id, tenant, suite, suite_hash, share, opened_at) values ('canary', 'canary', 'live', $1, $2, '{}')
         on conflict (rollout_id) do update set share = excluded.share`,
        [next.hash, share],
      );
    });
  expect((await compute('canary', report(EPOCH_MS))).suiteHash).toBe(suite.hash);
  await start(0);
  expect((await compute('canary', report(EPOCH_MS))).suiteHash).toBe(suite.hash);
  await start(100);
  const first = await compute('canary', report(EPOCH_MS));
  expect(first).toMatchObject({ suiteHash: next.hash, before: { status: 'no_data' } });
  // A recompute of its history commits without the consumer, under its shard's row.
  await base.db.asEngine((tx) =>
    tx.execute(
      `insert into recomputes (rollout_id, topic, partition, tenant, until_offset, until_line, state)
       values ('canary', 'merit.reports', 0, 'canary', 9, 0, 'waiting')`,
    ),
  );
  for (let i = 1; i <= 3; i++) {
    await base.db.asEngine(async (tx) => {
      const panes = new PaneTable(next.hash);
      panes.add({ model: 'ranker-v1', observedAtMs: EPOCH_MS - i, w: 1n, metrics: [] });
      await addPanes(tx, 'canary', 'live', panes.rows());
      await tx.execute(`update recomputes set next_offset = $1 where rollout_id = 'canary'`, [i]);
    });
    expect((await compute('canary', report(EPOCH_MS))).before.windows['1h']!.n).toBe(i);
  }
});

test('with two partitions T is the watermark of the slower one, and what is ahead of it counts where it falls', async () => {
  await base.db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, 2));
  const now = EPOCH_MS;
  await tenantWith('halves', []);
  // One that the partition serves: others would be sent on.
  const reportOf = (partition: number, atMs: number): TestReport => {
    const one = report(atMs);
    return routesOf(2)![reportKey('halves', one)[0]!] === partition ? one : reportOf(partition, atMs);
  };
  const append = (partition: number, reports: readonly TestReport[]) =>
    h.log.append({
      tenant: 'halves',
      topic: REPORTS_TOPIC,
      partition,
      key: 'k',
      value: Buffer.from(reports.map(lineOf).join('')),
      headers: {},
    });
  await append(0, [reportOf(0, now), reportOf(0, now + 10_000)]);
  await append(1, [reportOf(1, now), reportOf(1, now + 20_000), reportOf(1, now + 90_000)]);
  await h.drain();
  const { at, basis, model } = await compute('halves', report(now + 15_000));
  expect([at, basis.watermark]).toEqual([new Date(now + 15_000), new Date(now + 10_000)].map((t) => t.toISOString()));
  // The 1h window ends with the minute: the report at + 90 s is in the longer windows only.
  expect([model.windows['1h']!.n, model.windows['24h']!.n]).toEqual([5, 6]);
  expect(Object.keys(basis.offsets)).toEqual(['0', '1']);
});
