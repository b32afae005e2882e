import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { reportKey } from '../../core/eval-report.ts';
import { createTopic } from '../../platform/event-log-postgres.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { routesOf } from '../../scoring/ingest/shards.ts';
import { auditScores } from '../../scoring/read/audit-scores.sql.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { scoreHistory } from '../../scoring/read/scores.ts';
import { applySuite, getSuite } from '../../scoring/registry/suites.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import {
  EPOCH_MS,
  type Harness,
  harness,
  lineOf,
  newTenant,
  parseSuite,
  random,
  referenceChecksum,
  register,
  shuffled,
  type TestReport,
} from './scoring-online-support.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

const document = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'late',
  tick: '1h',
  minN: 2,
  metrics: { loss: { direction: 'lower', floor: 10, ceil: 0, scale: 4, required: true } },
};
const suite = parseSuite(document);

let serial = 0;
function report(atMs: number, model = 'ranker-v1'): TestReport {
  const next = random(++serial);
  return {
    schemaVersion: 1,
    reportId: `r-${serial}`,
    producer: 'ci',
    model,
    suite: 'late',
    observedAt: new Date(atMs).toISOString(),
    sampleSize: 1 + Math.floor(next() * 9),
    metrics: { loss: next() * 12 - 1 },
  };
}

let base: TestDatabase;
let h: Harness;

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

const checksum = (tenant: string) => base.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, 'late'));

describe('event time', () => {
  test('may stand still for a month and go on: no tick is missed and none is invented', async () => {
    await tenantWith('gap');
    const reports = [
      ...Array.from({ length: 30 }, (_, i) =>
        report(EPOCH_MS + i * 7 * MINUTE_MS, i % 2 === 0 ? 'ranker-v1' : 'ranker-v2'),
      ),
      ...Array.from({ length: 10 }, (_, i) => report(EPOCH_MS + 30 * DAY_MS + i * 50 * MINUTE_MS)),
    ];
    await h.send('gap', reports.map(lineOf).join(''));
    await h.drain();
    expect(await checksum('gap')).toBe(referenceChecksum(suite, reports));
  });

  test('a report late within 7 days changes every tick it touches; an older one is accepted, counted and touches none', async () => {
    await tenantWith('tardy');
    const reports = Array.from({ length: 60 }, (_, i) => report(EPOCH_MS + i * 3 * 60 * MINUTE_MS));
    await h.send('tardy', reports.map(lineOf).join(''));
    await h.drain();
    const before = await base.db.asTenant('tardy', (tx) => scoreHistory(tx, 'tardy', 'late', 'ranker-v1'));
    const endMs = Date.parse(reports.at(-1)!.observedAt);
    const inTime = report(endMs - 7 * DAY_MS);
    const tooLate = report(endMs - 7 * DAY_MS - 1);
    await h.send('tardy', lineOf(tooLate) + lineOf(inTime));
    await h.drain();
    expect(await checksum('tardy')).toBe(referenceChecksum(suite, [...reports, inTime]));
    const counts = await base.db.asTenant('tardy', (tx) =>
      tx.query<{ accepted: bigint; late_archived: bigint }>('select accepted, late_archived from input_counters'),
    );
    expect(counts).toEqual([{ accepted: 62n, late_archived: 1n }]);
    const after = await base.db.asTenant('tardy', (tx) => scoreHistory(tx, 'tardy', 'late', 'ranker-v1'));
    const windowOf = (scores: typeof after, at: string) => scores.find((score) => score.at === at)?.windows;
    for (const { at, revision, windows } of after) {
      const old = windowOf(before, at);
      if (old === undefined || revision === 0) continue;
      for (const [name, window] of Object.entries(windows)) {
        const was = old[name as '1h'];
        expect(window.revision).toBe(window.n === was!.n ? 0 : 1);
      }
    }
    expect(after.some((score) => score.revision === 1)).toBe(true);
  });
});

describe('a suite', () => {
  test('in a new version keeps the scores of the old one and starts its own', async () => {
    const by = await tenantWith('versions');
    const next = parseSuite({ ...document, minN: 3 });
    const first = Array.from({ length: 20 }, (_, i) => report(EPOCH_MS + i * 30 * MINUTE_MS));
    const second = Array.from({ length: 20 }, (_, i) => report(EPOCH_MS + (20 + i) * 30 * MINUTE_MS));
    await h.send('versions', first.map(lineOf).join(''));
    await h.drain();
    await base.db.asTenant('versions', (tx) => applySuite(tx, by, next));
    await h.send('versions', second.map(lineOf).join(''));
    await h.drain();
    const rows = await base.db.asTenant('versions', (tx) =>
      tx.query<{ suite_hash: string; n: bigint; last_ms: bigint }>(
        'select suite_hash, count(*) as n, max(tick_ms) as last_ms from scores group by suite_hash',
      ),
    );
    const byHash = new Map(rows.map((row) => [row.suite_hash, Number(row.last_ms)]));
    const lastTick = (list: readonly TestReport[]) =>
      Math.floor(Date.parse(list.at(-1)!.observedAt) / 3_600_000) * 3_600_000;
    expect(byHash.get(suite.hash)).toBe(lastTick(first));
    expect(byHash.get(next.hash)).toBe(lastTick(second));
    const again = await base.db.asTenant('versions', (tx) => applySuite(tx, by, next));
    expect(again.kind).toBe('unchanged');
  });
});

describe('the audit query', () => {
  const auditedSuite = parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: 'audited',
    tick: '1h',
    minN: 3,
    metrics: {
      loss: { direction: 'lower', floor: 10, ceil: 0, scale: 4, required: true },
      Tail: { direction: 'lower', kind: 'quantile', quantile: 0.9, scale: 3, floor: 900, ceil: -50, weight: 0.3 },
      solved: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1, weight: 0.7 },
      drift: { direction: 'lower', kind: 'quantile', quantile: 0.25, scale: 2, weight: 0.1 },
      flat: { direction: 'higher', weight: 0.1 },
    },
    cohort: {
      version: 1,
      metrics: { drift: { median: -3, mad: 20, meanAd: 24 }, flat: { median: 0.5, mad: 0, meanAd: 0.25 } },
    },
  });
  const audit = () =>
    base.db.asTenant('audited', (tx) => auditScores(tx, 'audited', 'audited', 0, Number.MAX_SAFE_INTEGER));

  test('finds nothing in what was published, whatever the kind, the map and the windows of a metric', async () => {
    const by = await newTenant(base, 'audited');
    await register(base.db, by, auditedSuite, ['ranker-v1', 'ranker-v2', 'ranker-v3']);
    const next = random(77);
    const reports = Array.from({ length: 400 }, (_, i) => {
      const weight = 1 + Math.floor(next() * 9);
      const optional = { solved: Math.floor(next() * (weight + 1)) / weight, drift: next() * 100 - 50, flat: next() };
      return {
        ...report(EPOCH_MS + i * 4 * MINUTE_MS, `ranker-v${1 + (i % 3)}`),
        suite: 'audited',
        sampleSize: weight,
        // One model lacks the metrics that are not required.
        metrics: { loss: next() * 11, ...(i % 3 === 2 ? {} : { Tail: next() ** 4 * 1000 - 20, ...optional }) },
      };
    });
    await h.send('audited', reports.map(lineOf).join(''));
    await h.drain();
    const clean = await audit();
    expect(clean.wrong).toEqual([]);
    expect(clean.checked).toBeGreaterThan(900);
  });

  test('finds nothing where late data changed what was published', async () => {
    const tardy = await base.db.asTenant('tardy', (tx) => auditScores(tx, 'tardy', 'late', 0, Number.MAX_SAFE_INTEGER));
    expect(tardy.wrong).toEqual([]);
    expect(tardy.checked).toBeGreaterThan(100);
  });

  test.each<[string, string, unknown]>([
    ['windows,24h,metrics,loss,mean', '1.25', { window: '24h', metric: 'loss', statistic: 'mean' }],
    ['windows,7d,metrics,drift,p50', '0.5', { window: '7d', metric: 'drift', statistic: 'p50' }],
    ['windows,7d,metrics,Tail,p95', '0.5', { window: '7d', metric: 'Tail', statistic: 'p95' }],
    ['windows,1h,metrics,loss,n', '1', { window: '1h', metric: 'loss', statistic: 'n' }],
    ['windows,1h,metrics,solved,variance', '0', { window: '1h', metric: 'solved', statistic: 'variance' }],
    ['windows,24h,metrics,flat,lower', '1', { window: '24h', metric: 'flat', statistic: 'lower' }],
    ['windows,24h,score', '0.5', { window: '24h', metric: null, statistic: 'score' }],
    ['windows,7d,upper', 'null', { window: '7d', metric: null, statistic: 'upper' }],
  ])('finds %s changed to %s', async (path, value, found) => {
    const where = `tenant = 'audited' and model = 'ranker-v1' and tick_ms = (select max(tick_ms) from scores where tenant = 'audited')`;
    const [before] = await asAdmin(base.urls.admin, `select body::text as body from scores where ${where}`);
    await asAdmin(base.urls.admin, `update scores set body = jsonb_set(body, '{${path}}', '${value}') where ${where}`);
    const { wrong } = await audit();
    await asAdmin(base.urls.admin, `update scores set body = $$${String(before?.body)}$$::jsonb where ${where}`);
    expect(wrong).toContainEqual(expect.objectContaining({ model: 'ranker-v1', ...(found as object) }));
  });

  test.each<[string, string, object]>([
    ['composite', '0.123', { statistic: 'score' }],
    ['lower', '0.999', { statistic: 'lower' }],
    ['rank', '7', { statistic: 'rank' }],
  ])('finds %s changed to %s', async (column, value, found) => {
    const where = `tenant = 'audited' and model = 'ranker-v2' and tick_ms = (select max(tick_ms) from scores where tenant = 'audited')`;
    const [before] = await asAdmin(base.urls.admin, `select ${column}::text as value from scores where ${where}`);
    await asAdmin(base.urls.admin, `update scores set ${column} = ${value} where ${where}`);
    const { wrong } = await audit();
    await asAdmin(base.urls.admin, `update scores set ${column} = ${String(before?.value)} where ${where}`);
    expect(wrong).toContainEqual(expect.objectContaining({ model: 'ranker-v2', window: null, metric: null, ...found }));
    expect((await audit()).wrong).toEqual([]);
  });
});

describe('a log of two partitions', () => {
  test('has a tick final when both have reached it, whatever the order in which they are read', async () => {
    await tenantWith('halves');
    await base.db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, 2));
    const reports = Array.from({ length: 80 }, (_, i) =>
      report(EPOCH_MS + i * 20 * MINUTE_MS, i % 3 === 0 ? 'ranker-v2' : 'ranker-v1'),
    );
    // The second partition stops twenty reports before the first.
    const half = (one: TestReport) => routesOf(2)![reportKey('halves', one)[0]!];
    const halves = [reports.filter((one) => half(one) === 0), reports.filter((one, i) => half(one) === 1 && i < 60)];
    for (const [partition, half] of halves.entries()) {
      for (const part of [shuffled(half.slice(0, 15), 3), half.slice(15)]) {
        const value = Buffer.from(part.map(lineOf).join(''));
        await h.log.append({ tenant: 'halves', topic: REPORTS_TOPIC, key: 'halves', value, headers: {}, partition });
      }
    }
    await h.drain(h.context(), { maxFlushLines: 9 });
    const finalMs = Date.parse(halves[1]!.at(-1)!.observedAt);
    expect(await checksum('halves')).toBe(referenceChecksum(suite, halves.flat(), finalMs));
    const state = await base.db.asTenant('halves', (tx) => getSuite(tx, 'halves', 'late'));
    expect(state!.watermark).toBe(new Date(finalMs).toISOString());
  });
});
