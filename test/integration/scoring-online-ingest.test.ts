import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readEvalReport } from '../../core/eval-report.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { runConsumer } from '../../scoring/ingest/run-consumer.ts';
import { STUCK_RETRY_MS } from '../../scoring/ingest/suite-desk.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { knownReport } from '../../scoring/read/known-report.ts';
import { listQuarantine } from '../../scoring/read/quarantine.ts';
import { leaderboard } from '../../scoring/read/scores.ts';
import { retireVersion } from '../../scoring/registry/models.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import {
  drainDying,
  dyingDatabase,
  EPOCH_MS,
  type Harness,
  harness,
  lineOf,
  newTenant,
  parseSuite,
  READER,
  random,
  referenceChecksum,
  register,
  shuffled,
  type TestReport,
  TRACE,
} from './scoring-online-support.ts';

const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  tick: '5m',
  minN: 5,
  metrics: {
    accuracy: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1, valid: [0, 1], required: true },
    latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 3, floor: 1000, ceil: 100, weight: 0.5 },
  },
});

/** Two models, four hours, one metric that the suite does not know. */
function makeReports(seed: number, count = 240): TestReport[] {
  const next = random(seed);
  return Array.from({ length: count }, (_, i) => ({
    schemaVersion: 1,
    reportId: `r-${i}`,
    producer: 'ci-eval',
    model: i % 3 === 0 ? 'ranker-v2' : 'ranker-v1',
    suite: 'search',
    observedAt: new Date(EPOCH_MS + i * 60_000 + Math.floor(next() * 30_000)).toISOString(),
    sampleSize: 1 + Math.floor(next() * 100),
    metrics: { accuracy: next(), latency_ms: 50 + next() * 900, unknown_metric: next() },
  }));
}

let base: TestDatabase;
let h: Harness;
const reports = makeReports(1);
const expected = referenceChecksum(suite, reports);

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
});

async function tenantWith(name: string) {
  const by = await newTenant(base, name);
  await register(base.db, by, suite, ['ranker-v1', 'ranker-v2']);
  return by;
}

function checksum(tenant: string): Promise<string> {
  return base.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, 'search'));
}

async function counters(tenant: string) {
  const board = await base.db.asTenant(tenant, (tx) => leaderboard(tx, tenant, 'search'));
  const { accepted, quarantined, duplicates, conflicts } = board!;
  return { accepted, quarantined, duplicates, conflicts };
}

describe('online scores', () => {
  test('are those of the pure rules, report for report', async () => {
    await tenantWith('plain');
    await h.send('plain', reports.map(lineOf).join(''));
    await h.drain();
    expect(await checksum('plain')).toBe(expected);
    expect(await counters('plain')).toEqual({ accepted: 240, quarantined: 0, duplicates: 0, conflicts: 0 });
    const board = await base.db.asTenant('plain', (tx) => leaderboard(tx, 'plain', 'search'));
    expect(board!.models.map((model) => model.rank)).toEqual([1, 1]);
    expect(board!.at).toBe(
      new Date(Math.floor(Date.parse(reports.at(-1)!.observedAt) / 300_000) * 300_000).toISOString(),
    );
  });

  test('are the same when every report is sent twice, shuffled, and read in other batch sizes', async () => {
    await tenantWith('twice');
    const lines = shuffled([...reports, ...reports], 7).map(lineOf);
    for (let from = 0; from < lines.length; from += 60) await h.send('twice', lines.slice(from, from + 60).join(''));
    await h.drain(h.context(), { maxFlushLines: 37 });
    expect(await checksum('twice')).toBe(expected);
    expect(await counters('twice')).toEqual({ accepted: 240, quarantined: 0, duplicates: 240, conflicts: 0 });
  });

  test('are the same when the consumer dies again and again, before and after its commit', async () => {
    await tenantWith('crashing');
    const lines = shuffled(reports, 11).map(lineOf);
    for (let from = 0; from < lines.length; from += 30) await h.send('crashing', lines.slice(from, from + 30).join(''));
    const dying = dyingDatabase(base.db, 5);
    await drainDying(h, dying, { maxFlushLines: 5 });
    expect(dying.deaths.before).toBeGreaterThan(5);
    expect(dying.deaths.after).toBeGreaterThan(3);
    expect(await checksum('crashing')).toBe(expected);
    expect(await counters('crashing')).toEqual({ accepted: 240, quarantined: 0, duplicates: 0, conflicts: 0 });
  });

  test('a window that late data changed says so in its revision, and only then', async () => {
    const before = await base.db.asTenant('plain', (tx) =>
      tx.query<{ n: bigint }>('select count(*) as n from scores where revision > 0'),
    );
    expect(before[0]!.n).toBe(0n);
    const shuffledOnes = await base.db.asTenant('twice', (tx) =>
      tx.query<{ n: bigint }>('select count(*) as n from scores where revision > 0'),
    );
    expect(shuffledOnes[0]!.n).toBeGreaterThan(0n);
  });
});

describe('what is set aside', () => {
  test('a conflict keeps the first report and is counted and shown', async () => {
    await tenantWith('conflict');
    const [first] = reports;
    const other = { ...first!, metrics: { accuracy: 0.001, latency_ms: 999 } };
    await h.send('conflict', reports.map(lineOf).join('') + lineOf(other));
    await h.send('conflict', lineOf(other));
    await h.drain();
    expect(await checksum('conflict')).toBe(expected);
    expect(await counters('conflict')).toEqual({ accepted: 240, quarantined: 0, duplicates: 0, conflicts: 2 });
    const rows = await base.db.asTenant('conflict', (tx) => listQuarantine(tx, 'conflict'));
    expect(rows.map((row) => [row.reason, row.field])).toEqual([
      ['conflict', 'reportId'],
      ['conflict', 'reportId'],
    ]);
    const read = (report: object) => {
      const reading = readEvalReport(Buffer.from(JSON.stringify(report)));
      if (!reading.ok) throw new Error('bad report');
      return base.db.asTenant('conflict', (tx) => knownReport(tx, 'conflict', reading.report));
    };
    expect([await read(first!), await read(other), await read({ ...first!, reportId: 'never-sent' })]).toEqual([
      'same',
      'other',
      'new',
    ]);
  });

  test('each bad line is quarantined once with its reason, place and bytes, and its id stays free', async () => {
    await tenantWith('bad');
    const by = { tenant: 'bad', actor: 'tester', traceId: TRACE, nowMs: Date.now() };
    await base.db.asTenant('bad', (tx) => retireVersion(tx, by, 'ranker', 'ranker-v2'));
    const good = { ...reports[1]!, model: 'ranker-v1' };
    const text = [
      '{"schemaVersion":1,',
      lineOf({ ...good, metrics: { accuracy: 1.5 } }).trim(),
      '',
      lineOf({ ...good, model: 'nobody' }).trim(),
      lineOf({ ...good, suite: 'nowhere' }).trim(),
      lineOf({ ...good, model: 'ranker-v2' }).trim(),
      lineOf({ ...good, observedAt: new Date(Date.now() + 3_600_000).toISOString() }).trim(),
      lineOf({ ...good, producer: 'somebody-else' }).trim(),
      lineOf(good).trim(),
    ].join('\n');
    await h.send('bad', text, 'ci-eval');
    await h.log.append({ tenant: 'bad', topic: REPORTS_TOPIC, key: 'bad', value: null, headers: {} });
    await h.log.append({ tenant: 'bad', topic: REPORTS_TOPIC, key: 'bad', value: Buffer.alloc(0), headers: {} });
    await h.send('bad', `${' '.repeat(1024 * 1024 + 1)}\n`);
    await h.drain();
    await h.drain();
    const rows = await base.db.asTenant('bad', (tx) =>
      tx.query<{ line: number; reason: string; field: string; raw_size: bigint; kept: number; trace_id: string }>(
        'select line, reason, field, raw_size, octet_length(raw) as kept, trace_id from quarantine order by log_offset, line',
      ),
    );
    expect(rows.map((row) => [row.line, row.reason, row.field])).toEqual([
      [1, 'json_syntax', ''],
      [2, 'valid', 'metrics.accuracy'],
      [4, 'unknown_model', 'model'],
      [5, 'unknown_suite', 'suite'],
      [6, 'retired', 'model'],
      [7, 'clock_skew', 'observedAt'],
      [8, 'producer_mismatch', 'producer'],
      [1, 'tombstone', ''],
      [1, 'empty', ''],
      [1, 'too_large', ''],
    ]);
    expect(rows.at(-1)).toMatchObject({ raw_size: 1_048_577n, kept: 1024 });
    expect(rows[0]!.trace_id).toBe(TRACE);
    const board = await base.db.asTenant('bad', (tx) => leaderboard(tx, 'bad', 'search'));
    expect(board).toMatchObject({ accepted: 1, conflicts: 0, duplicates: 0 });
    const total = await base.db.asTenant('bad', (tx) =>
      tx.query<{ n: bigint }>('select sum(quarantined)::bigint as n from input_counters'),
    );
    expect(total[0]!.n).toBe(10n);
  });

  test('a message whose handling fails three times is set aside whole, and the partition moves on', async () => {
    await tenantWith('poison');
    const sick = { ...reports[0]!, reportId: 'sick', model: 'ranker-v2', metrics: { accuracy: 0.5 } };
    await asAdmin(
      base.urls.admin,
      `create function fail_here() returns trigger language plpgsql as $$ begin
         if new.tenant = 'poison' and new.model = 'ranker-v2' then raise exception 'the test refuses this series'; end if; return new; end $$;
       create trigger fail_here before insert on series for each row execute function fail_here();`,
    );
    try {
      const mine = reports.filter((report) => report.model === 'ranker-v1').map((report) => ({ ...report }));
      await h.send('poison', mine.slice(0, 50).map(lineOf).join(''));
      await h.send('poison', lineOf(sick) + lineOf({ ...sick, reportId: 'beside' }));
      await h.send('poison', mine.slice(50).map(lineOf).join(''));
      await h.drain();
      expect(await checksum('poison')).toBe(referenceChecksum(suite, mine));
    } finally {
      await asAdmin(base.urls.admin, 'drop trigger fail_here on series; drop function fail_here()');
    }
    const rows = await base.db.asTenant('poison', (tx) => listQuarantine(tx, 'poison'));
    expect(rows.map((row) => [row.line, row.reason])).toEqual([
      [2, 'handler_failed'],
      [1, 'handler_failed'],
    ]);
  });
});

describe('a suite whose ticks cannot be published', () => {
  test('loses no report and holds up no other suite, and catches up when it can', async () => {
    await tenantWith('stuck');
    await tenantWith('beside');
    await asAdmin(
      base.urls.admin,
      `create function fail_here() returns trigger language plpgsql as $$ begin
         if new.tenant = 'stuck' then raise exception 'the test refuses these scores'; end if; return new; end $$;
       create trigger fail_here before insert on scores for each row execute function fail_here();`,
    );
    try {
      await h.send('stuck', reports.map(lineOf).join(''));
      await h.send('beside', reports.map(lineOf).join(''));
      await h.drain();
      expect(await checksum('beside')).toBe(expected);
      expect(await counters('stuck')).toEqual({ accepted: 240, quarantined: 0, duplicates: 0, conflicts: 0 });
    } finally {
      await asAdmin(base.urls.admin, 'drop trigger fail_here on scores; drop function fail_here()');
    }
    h.clock.pass(STUCK_RETRY_MS);
    await h.drain();
    expect(await checksum('stuck')).toBe(expected);
  });
});

describe('the consumer’s loop', () => {
  test('takes reports up as they come, outlives faults, and ends when it is told', async () => {
    await tenantWith('running');
    const dying = dyingDatabase(base.db, 9);
    const stop = new AbortController();
    const running = runConsumer(h.context({ db: dying.db }), stop.signal, READER);
    for (let from = 0; from < reports.length; from += 80) {
      await h.send(
        'running',
        reports
          .slice(from, from + 80)
          .map(lineOf)
          .join(''),
      );
    }
    while ((await counters('running')).accepted < 240 || (await checksum('running')) !== expected) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    stop.abort();
    await running;
    expect(dying.deaths.before + dying.deaths.after).toBeGreaterThan(0);
    expect(await counters('running')).toEqual({ accepted: 240, quarantined: 0, duplicates: 0, conflicts: 0 });
  });
});

describe('a reader', () => {
  test('that was passed over changes nothing', async () => {
    await tenantWith('stale');
    const consumer = new Consumer(h.context(), { ...READER, lookMs: 3_600_000 });
    await consumer.step(new AbortController().signal);
    await h.send('stale', reports.map(lineOf).join(''));
    const state = () =>
      base.db.asEngine((tx) =>
        tx.query(`select (select jsonb_agg(c) from consumer_offsets c) as offsets, (select count(*) from panes) as panes,
                         (select count(*) from scores) as scores, (select count(*) from dedup_blocks) as blocks`),
      );
    const before = await state();
    await asAdmin(base.urls.admin, `update ingest_partitions set epoch = epoch + 1, member = 'another'`);
    expect(await consumer.step(new AbortController().signal)).toBe(true);
    expect(await state()).toEqual(before);
    await h.drain();
    expect(await checksum('stale')).toBe(expected);
  });
});
