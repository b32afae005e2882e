import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { MAX_MESSAGE_BYTES } from '../../../../platform/event-log.ts';
import type { KafkaRecord } from '../../../../platform/kafka/client.ts';
import { openRecord } from '../../../../scoring/ingest/open-record.ts';
import { readLines } from '../../../../scoring/ingest/read-lines.ts';

type Headers = Readonly<Record<string, string | Uint8Array>> | readonly (readonly [string, string])[];

/** Whose reports the log holds. */
const OWN = new Set(['acme']);
const FRESH = 'f'.repeat(32);
const TRACE = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
const STRUCTURED = { 'content-type': 'application/cloudevents+json; charset=utf-8' };
const BINARY = { ce_specversion: '1.0', ce_id: '1', ce_source: '/suite', ce_type: 'report' };
const report = (id: string, extra = '') =>
  `{"schemaVersion":1,"reportId":"${id}","producer":"p","model":"m","suite":"s","observedAt":"2026-11-01T00:00:00Z","sampleSize":1,"metrics":{"a":1}${extra}}`;

function record(value: string | Uint8Array | null, headers: Headers = {}, key: string | null = 'k'): KafkaRecord {
  const named = Array.isArray(headers) ? headers : Object.entries(headers);
  return {
    offset: 7n,
    key: key === null ? null : Buffer.from(key),
    value: typeof value === 'string' ? Buffer.from(value) : value,
    headers: named.map(([name, text]) => [name, Buffer.from(text)]),
    appendedAtMs: 1,
  };
}

/** As the consumer reads what was opened. */
function read(from: KafkaRecord) {
  const opened = openRecord(from, OWN);
  const message = { tenant: 'acme', topic: 't', partition: 3, offset: from.offset, appendedAtMs: 1, ...opened };
  return readLines(message, 0, FRESH);
}

const outcome = (from: KafkaRecord) =>
  read(from).map(({ reading }) => (reading.ok ? 'read' : `${reading.aside.code}@${reading.aside.position}`));

const event = (more: Readonly<Record<string, unknown>>, data?: string) => {
  const head = JSON.stringify({ specversion: '1.0', id: '1', source: '/s', type: 'report', ...more });
  return data === undefined ? head : `${head.slice(0, -1)},"data":${data}}`;
};

/** By the ids of the list of bad inputs. */
const BAD: Readonly<Record<string, readonly [KafkaRecord, readonly string[]]>> = {
  'K01 a tombstone': [record(null), ['tombstone@0']],
  'K01 a tombstone that says it is an event': [record(null, STRUCTURED), ['tombstone@0']],
  'K02 nothing at all': [record(''), ['empty@0']],
  'K03 bytes that are no JSON': [record('hello'), ['json_syntax@0']],
  'K03 bytes that are no JSON as an event': [record('hello', STRUCTURED), ['json_syntax@0']],
  'K05 JSON that was cut': [record('{"a":'), ['json_syntax@5']],
  'K05 an event that was cut': [record(event({}, report('r')).slice(0, -3), STRUCTURED), ['json_syntax@207']],
  'K06 bytes that are no UTF-8 in an event': [
    record(Buffer.concat([Buffer.from(event({}, '{"a":"')), Buffer.of(0xc3, 0x28)]), STRUCTURED),
    ['encoding@74'],
  ],
  'K08 __proto__ in an event': [record(event({}, '{"__proto__":{}}'), STRUCTURED), ['forbidden_key@68']],
  'K10 an event nested beyond measure': [record(event({}, '['.repeat(100_000)), STRUCTURED), ['depth@98']],
  'K21 no key, which orders nothing here': [record(report('r'), {}, null), ['read']],
  'K45 a thousand headers': [
    record(
      report('r'),
      Array.from({ length: 1000 }, (_, i) => [`h${i}`, 'x'] as const),
    ),
    ['headers@0'],
  ],
  'K45 a header of a MiB': [record(report('r'), { big: 'x'.repeat(1024 * 1024) }), ['headers@0']],
  'an unknown envelope': [record(report('r'), { 'content-type': 'application/avro' }), ['envelope@0']],
  'an event of another version': [record(event({ specversion: '0.3' }, '{}'), STRUCTURED), ['envelope@15']],
  'an event without an id': [record(event({ id: '' }, '{}'), STRUCTURED), ['envelope@26']],
  'an event without data': [record(event({}), STRUCTURED), ['envelope@0']],
  'an event with data twice': [record(event({ data_base64: 'e30=' }, '{}'), STRUCTURED), ['envelope@88']],
  'an event whose data is a list': [record(event({}, '[]'), STRUCTURED), ['envelope@67']],
  'an event whose base64 is none': [record(event({ data_base64: 'e3=x' }), STRUCTURED), ['envelope@74']],
  'an event of pictures': [
    record(event({ datacontenttype: 'image/png', data_base64: 'e30=' }), STRUCTURED),
    ['envelope@0'],
  ],
  'a binary event of another version': [record(report('r'), { ...BINARY, ce_specversion: '2' }), ['envelope@0']],
  'a binary event without a source': [record(report('r'), { ...BINARY, ce_source: '' }), ['envelope@0']],
};

describe('what is bad', () => {
  test.each(Object.entries(BAD))('%s is set aside with its reason', (_, [from, expected]) => {
    expect(outcome(from)).toEqual(expected);
  });

  test('what is set aside keeps its bytes, size, hash and place', () => {
    const from = record('\u0001rubbish', STRUCTURED);
    expect(read(from)).toMatchObject([{ line: 1, raw: from.value, rawSize: 8, next: { offset: 8n, line: 0 } }]);
  });

  test('K11 a value of 10 MiB is kept as hash, size and first KiB', () => {
    const value = Buffer.alloc(10 * 1024 * 1024, 'x');
    const [line] = read(record(value));
    expect(line).toMatchObject({ rawSize: value.length, raw: value.subarray(0, 1024) });
    expect(line?.rawSha256).toBe(createHash('sha256').update(value).digest('hex'));
    expect(line?.reading).toMatchObject({ ok: false, aside: { code: 'too_large' } });
    expect(openRecord(record(Buffer.alloc(MAX_MESSAGE_BYTES, 'x')), OWN).value).toHaveLength(MAX_MESSAGE_BYTES);
  });

  test('a header says neither tenant nor that a message is refused', () => {
    const { headers } = openRecord(
      record(report('r'), { tenant: 'umbrella', refused: 'envelope:0:no', other: 'x' }),
      OWN,
    );
    expect(headers).toEqual({});
  });
});

describe('what is good', () => {
  test('plain NDJSON is handed on as it is, the very same bytes, with the headers that reading knows', () => {
    const from = record(`${report('a')}\n${report('b')}\n`, {
      producer: 'p',
      'first-line': '5',
      'redrive-of': 'merit.reports-0-1-1',
      traceparent: TRACE,
      'content-type': 'application/x-ndjson',
    });
    const opened = openRecord(from, OWN);
    expect(opened.value).toBe(from.value);
    expect(opened.headers).toEqual({
      producer: 'p',
      'first-line': '5',
      'redrive-of': 'merit.reports-0-1-1',
      traceparent: TRACE,
    });
    expect(outcome(from)).toEqual(['read', 'read']);
  });

  test.each<readonly [string, KafkaRecord, number]>([
    ['an event with one report', record(event({}, report('a')), STRUCTURED), 1],
    ['an event with one report printed over lines', record(event({}, `\n ${report('a', '\n')} \n`), STRUCTURED), 1],
    [
      'an event with a batch as text',
      record(event({ datacontenttype: 'application/x-ndjson', data: `${report('a')}\n${report('b')}` }), STRUCTURED),
      2,
    ],
    [
      'an event with a batch as base64',
      record(
        event({
          datacontenttype: 'application/x-ndjson',
          data_base64: Buffer.from(`${report('a')}\n${report('b')}\n`).toString('base64'),
        }),
        STRUCTURED,
      ),
      2,
    ],
    ['a binary event', record(report('a'), { ...BINARY, 'content-type': 'application/json' }), 1],
    ['one report over lines', record(report('a', '\n'), { 'content-type': 'application/json' }), 1],
  ])('%s', (_, from, count) => {
    const lines = read(from);
    expect(lines.map(({ reading }) => reading.ok)).toEqual(Array.from({ length: count }, () => true));
  });

  test('the report of an event is the bytes that were sent: nothing is written anew', () => {
    const odd = report('a', ',"x":1.50,"\\u0061":[ ]');
    expect(String(openRecord(record(event({}, odd), STRUCTURED), OWN).value)).toBe(odd);
  });
});

describe('its trace', () => {
  test.each<readonly [string, KafkaRecord, string]>([
    ['is that of the header', record(report('a'), { traceparent: TRACE }), 'a'.repeat(32)],
    ['is that of the event', record(event({ traceparent: TRACE }, report('a')), STRUCTURED), 'a'.repeat(32)],
    ['is that of a binary event', record(report('a'), { ...BINARY, ce_traceparent: TRACE }), 'a'.repeat(32)],
    [
      'is that of the header before that of the event',
      record(event({ traceparent: TRACE }, report('a')), {
        ...STRUCTURED,
        traceparent: TRACE.replace(/a{32}/, 'c'.repeat(32)),
      }),
      'c'.repeat(32),
    ],
    ['K46 is a new one where it is malformed', record(report('a'), { traceparent: '00-zz' }), FRESH],
    ['K46 is a new one where it is 10 KB', record(report('a'), { traceparent: 'x'.repeat(10_240) }), FRESH],
    ['is kept of what is set aside', record('{', { ...STRUCTURED, traceparent: TRACE }), 'a'.repeat(32)],
  ])('%s', (_, from, expected) => {
    expect(read(from)[0]?.traceId).toBe(expected);
  });
});

describe('a log of several tenants', () => {
  const tenants = new Set(['acme', 'globex']);
  const of = (named: Headers, value: string | Uint8Array = report('r')) => openRecord(record(value, named), tenants);

  test('has each record read for the tenant that its header names, or for its own', () => {
    expect(of({ 'Merit-Tenant': 'globex' })).toMatchObject({ tenant: 'globex', headers: {} });
    expect(of({ 'merit-tenant': 'globex', ...STRUCTURED }, event({}, report('r'))).tenant).toBe('globex');
    expect(of({})).not.toHaveProperty('tenant');
  });

  test('sets aside, for its own, what names one that it does not hold, and believes no header of what carries too much', () => {
    const unknown = of({ 'merit-tenant': 'umbrella' });
    expect(unknown).not.toHaveProperty('tenant');
    const message = { tenant: 'acme', topic: 't', partition: 3, offset: 7n, appendedAtMs: 1, ...unknown };
    const [line] = readLines(message, 0, FRESH);
    expect(line!.reading).toMatchObject({ ok: false, aside: { code: 'tenant' } });
    expect(Buffer.from(line!.raw).toString()).toBe(report('r'));
    expect(of({ 'merit-tenant': 'globex', big: 'x'.repeat(1024 * 1024) })).not.toHaveProperty('tenant');
    const large = of({ 'merit-tenant': 'umbrella' }, Buffer.alloc(MAX_MESSAGE_BYTES + 1));
    expect(Object.keys(large.headers)).toEqual(['too-large']);
  });

  test('takes nothing for its own tenant that names another, where it is of one alone', () => {
    const named = (tenant: string) => openRecord(record(report('r'), { 'merit-tenant': tenant }), OWN);
    expect(named('globex').headers).toEqual({ refused: expect.stringMatching(/^tenant:0:/) });
    expect(named('acme')).toMatchObject({ tenant: 'acme', headers: {} });
  });
});
