import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { OperatingError } from '../../core/operating-error.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { PromotionPolicy } from '../../scoring/context.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { listDecisions } from '../../scoring/read/promotions.ts';
import { addVersion } from '../../scoring/registry/models.ts';
import { applySuite } from '../../scoring/registry/suites.ts';
import type { ReplayContext } from '../../scoring/replay/context.ts';
import { workOffOne } from '../../scoring/replay/replay-worker.ts';
import { cancelReplay, type Replay } from '../../scoring/replay/replays.sql.ts';
import { contestReports, contestSuite } from '../support/backtest-cases.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { dueToday, isWhole } from '../support/rotating.ts';
import { replayOnline } from './backtest-online-support.ts';
import {
  archiveAll,
  askFor,
  everythingLive,
  replay,
  replayContext,
  replayed,
  rewriteSegment,
} from './replay-support.ts';
import { ALLOW, type Harness, harness, lineOf, parseSuite, TRACE } from './scoring-online-support.ts';

const TENANT = 'contest';
const HOUR_MS = 3_600_000;
/** Further ways to read it again: one or two of them a day. */
const DUE = dueToday(['log', 'same words', 'middle', 'other suite', 'version', 'later', 'found']);
/** In place of a test that is not due: skipped, with the reason. */
function notToday(name: string, _work: unknown, _limitMs?: number): void {
  test(name, ({ skip }) => skip('not due today; MERIT_PROOFS=whole runs all'));
}
const whenDue = (way: string) => (DUE.includes(way) ? test : notToday);
/** `npm test` looks at the first two hours of the contest, MERIT_PROOFS=whole at all of it. */
const MINUTES = isWhole ? 270 : 130;
const EARLY = isWhole ? 500 : 150;
const suite = isWhole ? contestSuite : parseSuite({ ...contestSuite.document, tick: '10m' });
let t: TestDatabase;
let h: Harness;
let root: string;
let store: ObjectStore;
let ctx: ReplayContext;
const by = () => ({ tenant: TENANT, actor: 'tester', traceId: TRACE, nowMs: Date.now() });

let questions = 0;
/** SentinelNet does not answer the first questions: what it is asked about is decided later, when more has been read. */
const AWAY_AT_FIRST: PromotionPolicy = async (question, signal) => {
  if (++questions <= 1) throw new OperatingError('unreachable', 'safe', 'asking SentinelNet');
  return ALLOW(question, signal);
};

/** Half a day of a contest: models that come one after the other, reports twice, in conflict, late, malformed and of nobody; another tenant beside. */
beforeAll(async () => {
  t = await testDatabase();
  h = await harness(t);
  root = await mkdtemp(join(tmpdir(), 'merit-replay-'));
  store = await openFileObjectStore({ root });
  ctx = replayContext(t, h, store);
  const reports = contestReports(1, MINUTES);
  const online = { ...h, drain: () => h.drain(h.context({ policy: AWAY_AT_FIRST })) };
  await replayOnline(t, h, 'other', suite, reports.slice(0, 30));
  await replayOnline(t, online, TENANT, suite, reports.slice(0, EARLY));
  h.clock.pass(HOUR_MS);
  // A model that nobody knows yet: its reports wait, and are sent again once it is registered.
  const early = reports.slice(0, 3).map((one, i) => ({
    ...one,
    reportId: `early-${i}`,
    model: 'late-comer',
    observedAt: reports[EARLY - 1]!.observedAt,
  }));
  await h.send(TENANT, `${early.map(lineOf).join('')}{"schemaVersion":1,\n\n${lineOf(reports[EARLY]!)}`);
  await h.drain();
  await t.db.asTenant(TENANT, (tx) => addVersion(tx, by(), { model: 'any', version: 'late-comer' }));
  await h.drain();
  await h.send(
    TENANT,
    reports
      .slice(EARLY + 1)
      .map(lineOf)
      .join(''),
  );
  await h.drain();
  await archiveAll(t, h, store, 10_000);
}, 60_000);
afterAll(async () => {
  await h.log.close();
  await t.close();
  await rm(root, { recursive: true });
});

/** Breaks a replay off again and again, now on demand and now by a fault; how often it took that. */
async function workOffBroken(asked: { readonly replayId: string; readonly tenant: string }): Promise<number> {
  for (let breaks = 0, last = -1; ; breaks++) {
    const stop = new AbortController();
    let steps = 0;
    const onStep = () => {
      steps++;
      if (steps === 5 && breaks % 2 === 0) stop.abort();
      if (steps === 7 && breaks % 2 === 1) throw new OperatingError('unreachable', 'safe', 'dying');
    };
    await workOffOne(ctx, stop.signal, { onStep });
    const now = await replayed(t, asked as Replay);
    expect(now.messagesDone).toBeGreaterThanOrEqual(last);
    last = now.messagesDone;
    if (now.state === 'done') return breaks;
    expect(now.state).toBe('queued');
  }
}

/** The tables of each replay go with its test. */
afterEach(async () => {
  await asAdmin(t.urls.admin, 'update replays set cancel_wanted = true');
  await workOffOne(ctx, new AbortController().signal);
});

describe('a replay of all that was archived', () => {
  test('comes to what was live, decision for decision at the same places, however often it is broken off, and changes nothing live', async () => {
    const before = await everythingLive(t);
    const live = await t.db.asTenant(TENANT, (tx) => suiteChecksum(tx, TENANT, 'contest'));
    const decisions = await t.db.asTenant(TENANT, (tx) => listDecisions(tx, TENANT, { limit: 100 }));
    expect(decisions.length).toBeGreaterThan(isWhole ? 2 : 0);
    const asked = await askFor(t, TENANT);
    const breaks = await workOffBroken(asked);
    expect(breaks).toBeGreaterThan(2);
    const { failure, replayId, result, state } = await replayed(t, asked);
    expect([state, failure]).toEqual(['done', null]);
    expect(result).toMatchObject({
      equal: true,
      first: null,
      checksums: [{ suite: 'contest', live, replay: live }],
      decisions: { live: decisions.length, replay: decisions.length },
      diff: { scores: [], decisions: [], evidence: [] },
      notes: [],
    });
    expect(result!.scores.live).toBeGreaterThan(20);
    expect(result!.inputDigest.replay).toBe(result!.inputDigest.live);
    expect(result!.archive!.segments).toBeGreaterThan(2);
    const places = (table: string) =>
      asAdmin(
        t.urls.admin,
        `select convert_from(bytes, 'UTF8')::jsonb -> 'record' -> 'offsets' as offsets, convert_from(bytes, 'UTF8')::jsonb -> 'record' -> 'lines' as lines
         from ${table} where tenant = '${TENANT}' and action = 'promote' order by tick_ms`,
      );
    // It was decided where it was answered, not where it was asked.
    const [late] = await asAdmin(
      t.urls.admin,
      `select tick_ms < (select min(tick_ms) from public.policy_questions where tries > 1) as early, (select max(tries) from public.policy_questions) as tries
       from public.decisions where tenant = '${TENANT}' order by tick_ms limit 1`,
    );
    expect(late).toEqual({ early: false, tries: expect.toSatisfy((tries: number) => tries > 1) });
    expect(await places(`replay_${replayId.toLowerCase()}.decisions`)).toEqual(await places('public.decisions'));
    const after = await everythingLive(t);
    const changed = [...after].filter(([table, sum]) => before.get(table) !== sum).map(([table]) => table);
    // That it was asked for, and by whom, is all that is left of it.
    expect(changed).toEqual(['audit_events']);
    const told = await asAdmin(t.urls.admin, `select type from audit_events where subject like 'replay/%'`);
    expect(told).toEqual([{ type: 'replay.started' }]);
  });

  whenDue('log')('from the log itself is the same', async () => {
    const { result } = await replay(t, ctx, TENANT, { source: 'log' });
    expect(result).toMatchObject({ equal: true, archive: null });
  });

  whenDue('same words')(
    'asked for in the same words is the same one until it has ended; cancelled it leaves nothing behind',
    async () => {
      const wish = { to: '2031-01-01T00:00:00Z' };
      const [one, other] = [await askFor(t, TENANT, wish), await askFor(t, TENANT, { ...wish, rate: 7 })];
      expect(other.replayId).toBe(one.replayId);
      await workOffOne(ctx, new AbortController().signal);
      const schema = () =>
        asAdmin(t.urls.admin, `select 1 from pg_namespace where nspname = 'replay_${one.replayId.toLowerCase()}'`);
      expect(await schema()).toHaveLength(1);
      await t.db.asTenant(TENANT, (tx) => cancelReplay(tx, TENANT, one.replayId));
      await workOffOne(ctx, new AbortController().signal);
      expect(await schema()).toHaveLength(0);
      expect(await replayed(t, one)).toMatchObject({ state: 'cancelled', shadow: false });
      expect((await askFor(t, TENANT, wish)).replayId).not.toBe(one.replayId);
    },
  );

  test('is ended, with what to do, once an upgrade has changed the tables that it has twins of; with those that it knows it goes on', async () => {
    const asked = await askFor(t, TENANT);
    const stop = new AbortController();
    await workOffOne(ctx, stop.signal, { onStep: () => stop.abort() });
    const schema = `replay_${asked.replayId.toLowerCase()}`;
    // As a schema from before the column has it; and the table would be written live.
    for (const [upgrade, undo, name] of [
      [
        `alter table ${schema}.ingest_topics rename column life to was`,
        `alter table ${schema}.ingest_topics rename column was to life`,
        'ingest_topics',
      ],
      ['create table newer_than_replay (a integer)', 'drop table newer_than_replay', 'newer_than_replay'],
    ] as const) {
      await asAdmin(t.urls.admin, upgrade);
      await askFor(t, TENANT);
      await workOffOne(ctx, new AbortController().signal);
      expect(await replayed(t, asked)).toMatchObject({
        state: 'failed',
        failure: {
          code: 'gone',
          problem: expect.stringContaining(
            `the server was upgraded since the replay began, and its tables are others now (${name})`,
          ),
          mend: 'end it with "merit replay cancel", then start another',
        },
      });
      await asAdmin(t.urls.admin, undo);
    }
    await askFor(t, TENANT);
    await workOffOne(ctx, new AbortController().signal);
    expect(await replayed(t, asked)).toMatchObject({ state: 'done', failure: null, result: { equal: true } });
  });

  whenDue('middle')('is ended in the middle when somebody asks', async () => {
    const asked = await askFor(t, TENANT);
    let steps = 0;
    const onStep = () => {
      if (++steps === 5) void t.db.asTenant(TENANT, (tx) => cancelReplay(tx, TENANT, asked.replayId));
    };
    await workOffOne(ctx, new AbortController().signal, { onStep });
    await workOffOne(ctx, new AbortController().signal);
    expect(await replayed(t, asked)).toMatchObject({ state: 'cancelled', result: null });
    expect(steps).toBeLessThan(100);
  });
});

describe('what is live and does not follow from the reports', () => {
  whenDue('found')('is found: the first tick, model, window and metric, and how many differ', async () => {
    const rows = await asAdmin(
      t.urls.admin,
      `select model, tick_ms from scores where tenant = '${TENANT}' and body #> '{windows,1h,metrics,accuracy,score}' <> 'null' order by tick_ms, model offset ${isWhole ? 40 : 8} limit 1`,
    );
    const { model, tick_ms: tickMs } = rows[0] as { model: string; tick_ms: bigint };
    const where = `tenant = '${TENANT}' and tick_ms >= ${tickMs} and model = '${model}'`;
    const set = (from: string, to: string) => asAdmin(t.urls.admin, `update scores set ${to} = ${from} where ${where}`);
    await asAdmin(t.urls.admin, `alter table scores add column kept jsonb; update scores set kept = body`);
    try {
      await asAdmin(
        t.urls.admin,
        `update scores set body = jsonb_set(body, '{windows,1h,metrics,accuracy,score}', '0.123') where ${where} and body #> '{windows,1h,metrics,accuracy}' is not null`,
      );
      const { result } = await replay(t, ctx, TENANT);
      expect(result).toMatchObject({ equal: false, decisions: { live: expect.any(Number) } });
      expect(result!.checksums[0]!.live).not.toBe(result!.checksums[0]!.replay);
      expect(result!.inputDigest.live).toBe(result!.inputDigest.replay);
      expect(result!.first).toMatchObject({
        suite: 'contest',
        tick: new Date(Number(tickMs)).toISOString(),
        model,
        window: '1h',
        metric: 'accuracy',
        live: { score: 0.123 },
      });
      expect(result!.first!.steps).toBeLessThan(14);
      expect(result!.scores.differ).toBeGreaterThan(3);
      expect(result!.diff.scores[0]).toMatchObject({
        model,
        why: [expect.stringContaining('1h accuracy: score 0.123 →')],
      });
    } finally {
      await set('kept', 'body');
      await asAdmin(t.urls.admin, 'alter table scores drop column kept');
    }
  });
});

test('one that breaks off again and again has ended; its tables go in time, and asked for again it begins anew', async () => {
  const wish = { to: '3' };
  const fault = (): never => {
    throw new Error('a fault of ours');
  };
  const faulty = { ...ctx, store: Object.create(store, { get: { value: async () => fault() } }) as ObjectStore };
  let broken: Replay | undefined;
  const told: string[] = [];
  const metrics: ReplayContext['metrics'] = {
    ...ctx.metrics,
    ended: (how) => void told.push(how),
    brokenOff: (cause) => void told.push(cause),
  };
  for (let i = 0; i < 3; i++) broken = await replay(t, { ...faulty, metrics }, TENANT, wish);
  expect(told).toEqual(['fault', 'fault', 'failed']);
  expect(broken).toMatchObject({
    state: 'failed',
    failure: { code: 'internal' },
    endedAt: expect.any(Date),
    shadow: true,
  });
  await asAdmin(t.urls.admin, `update replays set ended_at = ended_at - interval '8 days' where state = 'failed'`);
  await workOffOne(ctx, new AbortController().signal);
  expect(await replayed(t, broken!)).toMatchObject({ state: 'failed', shadow: false });
  // Asked for again it has all its tries again.
  expect(await replay(t, faulty, TENANT, wish)).toMatchObject({ state: 'queued' });
  // Broken off behind its first step: that counts as nothing against it once it has come to its end.
  await replay(t, ctx, TENANT, wish, { onStep: fault });
  const again = await replay(t, ctx, TENANT, wish);
  expect(again).toMatchObject({ replayId: broken!.replayId, state: 'done', failure: null });
  expect(again.endedAt!.getTime()).toBeGreaterThan(Date.now() - 3_600_000);
});

test('while it is compared with what was live it is held, however long that takes: nobody else takes it up', async () => {
  const others: boolean[] = [];
  const asEngine: ReplayContext['db']['asEngine'] = (work) =>
    t.db.asEngine((tx) => {
      const query: typeof tx.query = async (sql, values) => {
        if (sql.includes('count(*) filter (where') && others.length === 0) {
          await new Promise((resolve) => setTimeout(resolve, 1_500));
          others.push(await workOffOne(ctx, new AbortController().signal));
        }
        return tx.query(sql, values);
      };
      return work({ ...tx, query });
    });
  const slow = { ...ctx, db: { ...ctx.db, asEngine } };
  const done = await replay(t, slow, TENANT, { to: '4' }, { leaseMs: 600 });
  expect(others).toEqual([false]);
  expect(done).toMatchObject({ state: 'done', failure: null });
});

describe('an archive that is not what it was', () => {
  const folder = `archive/${REPORTS_TOPIC}/embedded/0`;
  const segmentKey = async (n: number) => {
    const names = (await readdir(join(root, folder))).filter((name) => name.endsWith('.zst')).sort();
    return `${folder}/${names[n]!}`;
  };

  test('ends a replay with the segment, the offset and the line; mended, the same one goes on to its end', async () => {
    const key = await segmentKey(1);
    let offset = 0n;
    await rewriteSegment(root, key, (messages) => {
      const at = messages.findIndex(({ tenant, value }) => tenant === TENANT && (value?.length ?? 0) > 500);
      offset = messages[at]!.offset;
      const text = Buffer.from(messages[at]!.value!).toString();
      const lines = text.split('\n');
      lines.splice(1, 1);
      messages[at] = { ...messages[at]!, value: Buffer.from(lines.join('\n')) };
    });
    const altered = await replay(t, ctx, TENANT);
    expect(altered).toMatchObject({
      state: 'failed',
      failure: {
        code: 'archive',
        fault: { object: key, offset: String(offset), line: 2, problem: 'the line is missing' },
      },
    });
    // The log still has it.
    const names = await readdir(join(root, folder));
    await rm(join(root, key));
    expect(names.length).toBeGreaterThan(0);
    const missing = await replay(t, ctx, TENANT);
    expect(missing.replayId).toBe(altered.replayId);
    expect(missing.failure?.fault).toMatchObject({ object: key, problem: 'the segment is missing' });
    await asAdmin(t.urls.admin, 'truncate archive_segments');
    await rm(join(root, 'archive'), { recursive: true });
    await archiveAll(t, h, store);
    const mended = await replay(t, ctx, TENANT);
    expect(mended).toMatchObject({ replayId: altered.replayId, state: 'done', result: { equal: true } });
  });
});

describe('another suite', () => {
  whenDue('other suite')(
    'is decided by its own rule, and every difference from what was live is told with why',
    async () => {
      const stricter = parseSuite({
        ...suite.document,
        windows: { '1h': 1, '24h': 9 },
        promotion: { ...(suite.document.promotion as object), promoteAbove: 0.85 },
      });
      const { result, state } = await replay(t, ctx, TENANT, { suite: stricter.document });
      expect(state).toBe('done');
      expect(result!.decisions!.replay).toBeLessThan(result!.decisions!.live);
      expect(result!.diff.decisions.length).toBeGreaterThan(0);
      expect(result!.scores.differ).toBeGreaterThan(20);
      expect(result!.diff.scores[0]!.why[0]).toMatch(/^suite [0-9a-f]{12} → [0-9a-f]{12}$/);
      expect(result!.notes).toEqual([expect.stringContaining('another suite')]);
    },
  );
});

whenDue('version')('a version that took another one’s place takes it in a replay at the same line', async () => {
  const next = parseSuite({ ...suite.document, shrinkage: { kappa: 9 } });
  await t.db.asTenant(TENANT, (tx) => applySuite(tx, by(), next));
  const more = contestReports(9, isWhole ? 200 : 60).map((one, i) => ({
    ...one,
    reportId: `next-${i}`,
    observedAt: new Date(Date.parse(one.observedAt) + 20 * 3_600_000).toISOString(),
  }));
  await h.send(TENANT, more.map(lineOf).join(''));
  await h.drain();
  await archiveAll(t, h, store);
  const { result } = await replay(t, ctx, TENANT);
  expect(result).toMatchObject({ equal: true, first: null });
  const versions = await asAdmin(
    t.urls.admin,
    `select count(distinct suite_hash)::int as n from scores where tenant = '${TENANT}'`,
  );
  expect(versions).toEqual([{ n: 2 }]);
});

whenDue('later')(
  'a replay that begins later compares scores from where their windows are whole, and says what it leaves out',
  async () => {
    const all = await asAdmin(t.urls.admin, `select max(next_offset)::int as n from archive_segments`);
    const from = String(Math.floor(Number(all[0]!.n) / 2));
    const { result, state } = await replay(t, ctx, TENANT, { from });
    expect(state).toBe('done');
    expect(result).toMatchObject({ decisions: null, notes: [expect.stringContaining('begins behind the beginning')] });
  },
);
