import { describe, expect, test } from 'vitest';
import { quarantineText, readEvalReport, reportDigest, reportMetric } from '../../../core/eval-report.ts';
import { bytesOf } from '../../support/scoring-reports.ts';

const GOOD = {
  schemaVersion: 1,
  reportId: '01JD8M',
  producer: 'ci-eval',
  model: 'ranker-v12',
  suite: 'search-relevance',
  observedAt: '2026-11-23T10:11:12.345Z',
  sampleSize: 512,
  metrics: { accuracy: 0.8123, latency_ms: 83.2 },
  labels: { commit: 'abc' },
};

function without(key: keyof typeof GOOD): Record<string, unknown> {
  const { [key]: _, ...rest } = GOOD;
  return rest;
}

function read(value: unknown) {
  return readEvalReport(bytesOf(typeof value === 'string' ? value : JSON.stringify(value)));
}

function quarantine(value: unknown): readonly [string, string] | 'accepted' {
  const reading = read(value);
  return reading.ok ? 'accepted' : [reading.quarantine.code, reading.quarantine.field];
}

describe('reading a report', () => {
  test('the example is accepted with every field read', () => {
    const reading = read(GOOD);
    expect(reading.ok && reading.report).toMatchObject({
      reportId: '01JD8M',
      producer: 'ci-eval',
      model: 'ranker-v12',
      suite: 'search-relevance',
      observedAtMs: Date.UTC(2026, 10, 23, 10, 11, 12, 345),
      sampleSize: 512,
      document: GOOD,
    });
  });

  test('sampleSize is 1 where it is absent, and unknown members are kept', () => {
    const reading = read({ ...without('sampleSize'), extra: [1] });
    expect(reading.ok && [reading.report.sampleSize, reading.report.document.extra]).toEqual([1, [1]]);
  });

  test.each([
    ['no schemaVersion', without('schemaVersion'), ['schema', 'schemaVersion']],
    ['schemaVersion 99', { ...GOOD, schemaVersion: 99 }, ['unknown_version', 'schemaVersion']],
    ['schemaVersion as text', { ...GOOD, schemaVersion: '1' }, ['schema', 'schemaVersion']],
    ['no reportId', without('reportId'), ['schema', 'reportId']],
    ['a reportId of 65 characters', { ...GOOD, reportId: 'x'.repeat(65) }, ['charset', 'reportId']],
    ['an empty reportId', { ...GOOD, reportId: '' }, ['charset', 'reportId']],
    ['a reportId with a newline at its end', { ...GOOD, reportId: 'a\n' }, ['charset', 'reportId']],
    ['a producer with a space', { ...GOOD, producer: 'ci eval' }, ['charset', 'producer']],
    ['a model that is a number', { ...GOOD, model: 7 }, ['schema', 'model']],
    ['a suite with a slash', { ...GOOD, suite: 'a/b' }, ['charset', 'suite']],
    ['no observedAt', without('observedAt'), ['schema', 'observedAt']],
    ['an observedAt without zone', { ...GOOD, observedAt: '2026-11-23T10:11:12' }, ['time_format', 'observedAt']],
    ['an observedAt in milliseconds', { ...GOOD, observedAt: 1764000000000 }, ['time_format', 'observedAt']],
    ['a leap second', { ...GOOD, observedAt: '2026-06-30T23:59:60Z' }, ['time_format', 'observedAt']],
    ['sampleSize 0', { ...GOOD, sampleSize: 0 }, ['schema', 'sampleSize']],
    ['sampleSize 1.5', { ...GOOD, sampleSize: 1.5 }, ['schema', 'sampleSize']],
    ['sampleSize null', { ...GOOD, sampleSize: null }, ['schema', 'sampleSize']],
    ['sampleSize above 2^20', { ...GOOD, sampleSize: 2 ** 20 + 1 }, ['range', 'sampleSize']],
    ['no metrics', without('metrics'), ['schema', 'metrics']],
    ['empty metrics', { ...GOOD, metrics: {} }, ['schema', 'metrics']],
    ['metrics as a list', { ...GOOD, metrics: [1] }, ['schema', 'metrics']],
    ['a metric that is null', { ...GOOD, metrics: { accuracy: null } }, ['number', 'metrics.accuracy']],
    ['a metric that is text', { ...GOOD, metrics: { accuracy: 'NaN' } }, ['number', 'metrics.accuracy']],
    ['a metric that is true', { ...GOOD, metrics: { accuracy: true } }, ['number', 'metrics.accuracy']],
    ['a metric name with a space', { ...GOOD, metrics: { 'a b': 1 } }, ['charset', 'metrics']],
    ['an empty metric name', { ...GOOD, metrics: { '': 1 } }, ['charset', 'metrics']],
    ['labels that are a list', { ...GOOD, labels: [] }, ['schema', 'labels']],
    ['a label that is a number', { ...GOOD, labels: { a: 1 } }, ['schema', 'labels.a']],
    ['a list', [GOOD], ['not_an_object', '']],
    ['NaN as a literal', JSON.stringify(GOOD).replace('0.8123', 'NaN'), ['number', '']],
    ['a number beyond doubles', JSON.stringify(GOOD).replace('0.8123', '1e400'), ['number', '']],
    ['a duplicate key', JSON.stringify(GOOD).replace('"labels"', '"model"'), ['duplicate_key', '']],
    ['__proto__ inside metrics', JSON.stringify(GOOD).replace('"accuracy"', '"__proto__"'), ['forbidden_key', '']],
  ])('quarantines %s', (_name, value, expected) => {
    expect(quarantine(value)).toEqual(expected);
  });

  test('256 metrics are accepted and 257 are not', () => {
    const metrics = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`m${i}`, i]));
    expect(quarantine({ ...GOOD, metrics: metrics(256) })).toBe('accepted');
    expect(quarantine({ ...GOOD, metrics: metrics(257) })).toEqual(['size', 'metrics']);
  });

  test('a sampleSize of 2^20 and a denormal metric are accepted', () => {
    expect(quarantine({ ...GOOD, sampleSize: 2 ** 20, metrics: { accuracy: 5e-324 } })).toBe('accepted');
  });

  test('the reason names the field and the byte at which its value stands', () => {
    const line = JSON.stringify({ ...GOOD, metrics: { accuracy: 0.5, loss: null } });
    const reading = readEvalReport(bytesOf(line));
    expect(reading.ok).toBe(false);
    if (reading.ok) return;
    expect(reading.quarantine.position).toBe(line.indexOf('null'));
    expect(quarantineText(reading.quarantine)).toBe(
      `number: metrics.loss at byte ${line.indexOf('null')} must be a finite number`,
    );
  });

  test('a metric named like a member of every object is read only where the report has it', () => {
    const reading = read({ ...GOOD, metrics: { constructor: 2 } });
    expect(reading.ok && reportMetric(reading.report, 'constructor')).toBe(2);
    expect(reading.ok && reportMetric(reading.report, 'toString')).toBeUndefined();
  });
});

describe('the content of a report', () => {
  const digest = (text: string) => {
    const reading = readEvalReport(bytesOf(text));
    return reading.ok ? reportDigest(reading.report).toString('hex') : 'refused';
  };

  test('is the same whatever the order of keys, the blanks, and how a number is written', () => {
    const reordered = `{ "labels":{"commit":"abc"}, "metrics":{"latency_ms":8.32e1,"accuracy":0.81230}, "sampleSize":512.0,
      "observedAt":"2026-11-23T10:11:12.345Z", "suite":"search-relevance", "model":"ranker-v12", "producer":"ci-eval",
      "reportId":"01JD8M", "schemaVersion":1e0 }`;
    expect(digest(reordered)).toBe(digest(JSON.stringify(GOOD)));
  });

  test('differs where a default is written out, or an unknown member is there', () => {
    const bare = JSON.stringify(without('sampleSize'));
    expect(digest(JSON.stringify({ ...without('sampleSize'), sampleSize: 1 }))).not.toBe(digest(bare));
    expect(digest(JSON.stringify({ ...without('sampleSize'), extra: null }))).not.toBe(digest(bare));
  });
});
