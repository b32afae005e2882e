import { describe, expect, test } from 'vitest';
import { reportKey as keyOfCore, readEvalReport } from '../../../../core/eval-report.ts';
import { shardOf as shardOfCore } from '../../../../scoring/ingest/dedup-index.ts';
import {
  checkReport,
  type EvalReport,
  RefusedReport,
  reportKey,
  SHARDS,
  shardOf,
} from '../../../../scoring/merit-reporter/src/index.ts';

const GOOD = {
  reportId: 'r1',
  producer: 'ci-eval',
  model: 'ranker-v12',
  suite: 'search',
  observedAt: '2026-11-23T10:11:12.345Z',
  sampleSize: 512,
  metrics: { accuracy: 0.8123, latency_ms: 83.2 },
  labels: { commit: 'abc' },
};

function faultOf(report: object): RefusedReport['fault'] | undefined {
  try {
    checkReport(report as EvalReport);
    return undefined;
  } catch (error) {
    if (error instanceof RefusedReport) return error.fault;
    throw error;
  }
}

describe('a report is taken as Merit takes it', () => {
  const deep = (levels: number): object => (levels === 0 ? {} : { a: deep(levels - 1) });
  const cases: readonly (readonly [string, object])[] = [
    ['as it is', {}],
    ['with members of its own', { extra: { nested: [1, 'x', null, true] } }],
    ['with a weight of 2^20', { sampleSize: 2 ** 20 }],
    ['with a weight above it', { sampleSize: 2 ** 20 + 1 }],
    ['with a weight of nothing', { sampleSize: 0 }],
    ['with half a weight', { sampleSize: 1.5 }],
    ['of another version', { schemaVersion: 2 }],
    ['with an id that is too long', { reportId: 'x'.repeat(65) }],
    ['with a model that is no name', { model: 'a b' }],
    ['with a suite that is no text', { suite: 7 }],
    ['without metrics', { metrics: {} }],
    ['with 256 metrics', { metrics: Object.fromEntries(Array.from({ length: 256 }, (_, i) => [`m${i}`, i])) }],
    ['with 257', { metrics: Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`m${i}`, i])) }],
    ['with a metric that is null', { metrics: { accuracy: null } }],
    ['with a metric that is a text', { metrics: { accuracy: '0.5' } }],
    ['with a metric of no name', { metrics: { 'a b': 1 } }],
    ['with metrics in a list', { metrics: [1] }],
    ['with labels that are no texts', { labels: { commit: 7 } }],
    ['with labels in a list', { labels: [] }],
    ['observed on no day', { observedAt: '2026-02-29T00:00:00Z' }],
    ['observed on a leap day', { observedAt: '2024-02-29T00:00:00+05:30' }],
    ['observed without a zone', { observedAt: '2026-02-28T00:00:00' }],
    ['observed at a leap second', { observedAt: '2026-06-30T23:59:60Z' }],
    ['observed with many digits', { observedAt: '2026-02-28t00:00:00.123456789z' }],
    ['with a NUL in a text', { labels: { a: 'x\u0000y' } }],
    ['with a lone surrogate', { note: '\ud800' }],
    ['with a key that reaches a prototype', { note: JSON.parse('{"__proto__": {"a": 1}}') as object }],
    ['with such a key below constructor', { note: { constructor: { prototype: 1 } } }],
    ['nested as deep as may be', { note: deep(30) }],
    ['nested deeper', { note: deep(31) }],
  ];

  test.each(cases)('%s', (_name, change) => {
    const report = { schemaVersion: 1, ...GOOD, ...change };
    const reading = readEvalReport(Buffer.from(JSON.stringify(report)));
    const fault = faultOf({ ...GOOD, ...change });
    expect(fault?.code).toBe(reading.ok ? undefined : reading.quarantine.code);
    if (!reading.ok && reading.quarantine.field !== '') expect(fault?.field).toBe(reading.quarantine.field);
  });

  test('and what JSON would lose without a word is refused', () => {
    expect(faultOf({ ...GOOD, metrics: { accuracy: Number.NaN } })).toMatchObject({
      code: 'number',
      field: 'metrics.accuracy',
    });
    expect(faultOf({ ...GOOD, note: [1, Number.POSITIVE_INFINITY] })).toMatchObject({
      code: 'number',
      field: 'note.1',
    });
    expect(faultOf({ ...GOOD, note: new Map() })).toMatchObject({ field: 'note' });
    expect(faultOf({ ...GOOD, note: () => 1 })).toMatchObject({ field: 'note' });
    expect(faultOf({ ...GOOD, note: 1n })).toMatchObject({ field: 'note' });
    expect(faultOf({ ...GOOD, observedAt: new Date(Number.NaN) })).toMatchObject({ code: 'time_format' });
    expect(faultOf({ ...GOOD, note: 'x'.repeat(1024 * 1024) })).toMatchObject({ code: 'too_large' });
  });
});

test('what is absent is filled in: version, id, producer; a Date becomes its time', () => {
  const { reportId: _, producer: __, ...bare } = GOOD;
  const { reportId, line } = checkReport({ ...bare, observedAt: new Date(0), sampleSize: undefined } as never, 'svc');
  const reading = readEvalReport(line);
  expect(reading).toMatchObject({ ok: true, report: { reportId, producer: 'svc', observedAtMs: 0, sampleSize: 1 } });
  expect(line.at(-1)).toBe(0x0a);
  expect(faultOf(bare)).toMatchObject({ field: 'producer', problem: 'is missing' });
});

test('keys and shards are those of Merit', () => {
  const seen = new Set<number>();
  for (let i = 0; i < 500; i++) {
    const report = { producer: 'p', reportId: `r${i}` };
    const key = reportKey('default', report.producer, report.reportId);
    expect(key).toEqual(keyOfCore('default', report));
    expect(shardOf(key)).toBe(shardOfCore(key));
    seen.add(shardOf(key));
  }
  expect(seen.size).toBe(SHARDS);
});
