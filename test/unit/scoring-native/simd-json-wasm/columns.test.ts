import { ColumnReader, type Schema } from 'simd-json-wasm';
import { describe, expect, test } from 'vitest';
import { readColumns } from './read-columns.ts';

const NAME = { characters: 'A-Za-z0-9._-', minBytes: 1, maxBytes: 64 } as const;

/** The report of Merit, and what the other types are for. */
const SCHEMA = {
  version: { path: 'schemaVersion', type: 'integer', min: 1, max: 1 },
  reportId: { type: 'text', ...NAME },
  model: { type: 'id', ...NAME },
  observedAt: { type: 'time' },
  sampleSize: { type: 'integer', min: 1, optional: true },
  metrics: { type: 'numbers', minEntries: 1, maxEntries: 3, keys: NAME },
  commit: { path: 'labels.commit', type: 'text', optional: true, nullable: true },
  dirty: { path: ['labels', 'is.dirty'], type: 'boolean', optional: true },
  share: { path: 'labels.share', type: 'number', optional: true, min: 0, max: 1 },
} as const satisfies Schema;

const GOOD = {
  schemaVersion: 1,
  reportId: '01JD8M',
  model: 'ranker-v12',
  observedAt: '2026-11-23T10:11:12.345Z',
  sampleSize: 512,
  metrics: { accuracy: 0.8123, latency_ms: 83.2 },
  labels: { commit: 'abc', 'is.dirty': false, share: 0.5 },
};
const CELLS = {
  version: 1,
  reportId: '01JD8M',
  model: 'ranker-v12',
  observedAt: Date.UTC(2026, 10, 23, 10, 11, 12, 345),
  sampleSize: 512,
  metrics: [
    ['accuracy', 0.8123],
    ['latency_ms', 83.2],
  ],
  commit: 'abc',
  dirty: false,
  share: 0.5,
};

test('values of every type come out as they went in, in any order of keys, with unknown ones between', () => {
  const turned = Object.fromEntries(Object.entries({ ...GOOD, unknown: { x: [null] } }).reverse());
  const { kept, refused } = readColumns(SCHEMA, [GOOD, turned, GOOD].map((value) => JSON.stringify(value)).join('\n'));
  expect(refused).toEqual([]);
  expect(kept.map(({ cells }) => cells)).toEqual([CELLS, CELLS, CELLS]);
});

test('what is optional may be absent, and then its value is 0 and not that of an earlier line', () => {
  const { sampleSize, labels, ...least } = GOOD;
  const { kept } = readColumns(
    SCHEMA,
    [GOOD, least, { ...least, labels: { commit: null } }].map((value) => JSON.stringify(value)).join('\n'),
  );
  const { sampleSize: _s, commit, dirty, share, ...cells } = CELLS;
  expect(kept.map((row) => row.cells)).toEqual([CELLS, cells, cells]);
  expect([sampleSize, labels.commit, commit, dirty, share]).toEqual([512, 'abc', 'abc', false, 0.5]);
});

test('in the arrays themselves what is absent is 0, whatever stood in that row before', () => {
  const schema = {
    t: { type: 'text', optional: true },
    i: { type: 'id', optional: true },
    b: { type: 'boolean', optional: true },
    n: { type: 'number', optional: true },
    at: { type: 'time', optional: true },
    d: { type: 'numbers', optional: true },
    always: { type: 'number' },
  } as const satisfies Schema;
  const seen: unknown[] = [];
  const reader = new ColumnReader(schema, ({ columns: { t, i, b, n, at, d, always } }) => {
    const all = [t.starts, t.ends, t.escaped, t.present, i.values, i.present, b.values, b.present, n.values, n.present];
    const more = [at.values, at.present, d.offsets, d.keys, d.values, d.present, always.values, always.present];
    seen.push([...all, ...more].map((array) => [...array]));
  });
  const full = '{"t":"\\n","i":"x","b":true,"n":7,"at":"2026-11-23T10:11:12Z","d":{"k":1},"always":2}\n';
  reader.push(Buffer.from(`{"i":"first","always":0}\n${full}`));
  // The same rows again, after a line that filled the first of them and was refused.
  reader.push(Buffer.from(`${full.replace('2}', '"x"}')}{"always":3}\n`));
  const at = Date.UTC(2026, 10, 23, 10, 11, 12);
  const text = [
    [0, 31],
    [0, 33],
    [0, 1],
    [0, 1],
  ];
  const first = [
    ...text,
    [0, 1],
    [1, 1],
    [0, 1],
    [0, 1],
    [0, 7],
    [0, 1],
    [0, at],
    [0, 1],
    [0, 0, 1],
    [0],
    [1],
    [0, 1],
    [0, 2],
    [1, 1],
  ];
  const empty = [...Array.from({ length: 12 }, () => [0]), [0, 0], [], [], [0], [3], [1]];
  expect(seen).toEqual([first, empty]);
});

describe('a line that does not fit the schema is refused, with the column, the reason and the place of the value', () => {
  const at = (text: string, part: string) => text.indexOf(part);
  test.each([
    ['schemaVersion', '2', 'range', 'version'],
    ['schemaVersion', '1.5', 'integer', 'version'],
    ['schemaVersion', '"1"', 'type', 'version'],
    ['schemaVersion', 'null', 'type', 'version'],
    ['reportId', '""', 'length', 'reportId'],
    ['reportId', `"${'a'.repeat(65)}"`, 'length', 'reportId'],
    ['reportId', '"a b"', 'characters', 'reportId'],
    ['reportId', '"0123456789abcdef0123456789abcde\u00e9"', 'characters', 'reportId'],
    ['reportId', '"a\\u0020"', 'characters', 'reportId'],
    ['reportId', '7', 'type', 'reportId'],
    ['model', '"a/b"', 'characters', 'model'],
    ['model', '["a"]', 'type', 'model'],
    ['observedAt', '"2026-11-23T10:11:60Z"', 'time_format', 'observedAt'],
    ['observedAt', '"2026-11-23"', 'time_format', 'observedAt'],
    ['observedAt', '1795428672345', 'type', 'observedAt'],
    ['sampleSize', '0', 'range', 'sampleSize'],
    ['sampleSize', '9007199254740993', 'range', 'sampleSize'],
    ['sampleSize', '1e-5', 'integer', 'sampleSize'],
    ['metrics', '{}', 'entries', 'metrics'],
    ['metrics', '{"a":1,"b":2,"c":3,"d":4}', 'entries', 'metrics'],
    ['metrics', '[1]', 'type', 'metrics'],
  ] as const)('%s: %s', (key, value, reason, column) => {
    const text = JSON.stringify({ ...GOOD, [key]: '@' }).replace('"@"', value);
    const { kept, refused } = readColumns(SCHEMA, text);
    expect(kept).toEqual([]);
    expect(refused).toEqual([{ line: 1, offset: at(text, `"${key}":`) + key.length + 3, reason, column }]);
  });

  test.each([
    ['"a":"1"', '"1"', 'type'],
    ['"a":null', 'null', 'type'],
    ['"b":1,"a b":2', '"a b"', 'characters'],
    ['"b":1,"":2', '"":2', 'length'],
  ] as const)('metrics of {%s} at %s', (members, part, reason) => {
    const text = JSON.stringify({ ...GOOD, metrics: '@' }).replace('"@"', `{${members}}`);
    expect(readColumns(SCHEMA, text).refused).toEqual([{ line: 1, offset: at(text, part), reason, column: 'metrics' }]);
  });

  test('a missing key is told at the innermost object that lacks it', () => {
    const schema = { deep: { path: 'a.b.c', type: 'number' } } as const;
    const places = ['{}', ' {"a":{}}', '{"a":{"b":{"d":1}}}', '{"a":{"x":{"b":1}}}'].map(
      (line) => readColumns(schema, line).refused[0],
    );
    expect(places.map((refusal) => [refusal?.reason, refusal?.offset])).toEqual([
      ['missing', 0],
      ['missing', 6],
      ['missing', 10],
      ['missing', 5],
    ]);
  });

  test('something else than an object on the way is of the wrong type, and null only where all below it may be null', () => {
    const both = {
      b: { path: 'a.b', type: 'number', optional: true },
      c: { path: 'a.c', type: 'number', optional: true },
    } as const;
    const nullable = { b: { ...both.b, nullable: true }, c: { ...both.c, nullable: true } } as const;
    for (const value of ['1', '"x"', '[]', 'true']) {
      expect(readColumns(nullable, `{"a":${value}}`).refused).toEqual([
        { line: 1, offset: 5, reason: 'type', column: 'b' },
      ]);
    }
    expect(readColumns(both, '{"a":null}').refused).toEqual([{ line: 1, offset: 5, reason: 'type', column: 'b' }]);
    expect(readColumns(nullable, '{"a":null}').kept).toEqual([{ line: 1, cells: {} }]);
    const required = { b: { path: 'a.b', type: 'number', nullable: true } } as const;
    expect(readColumns(required, '{"a":{"b":null}}').kept).toEqual([{ line: 1, cells: {} }]);
    expect(readColumns(required, '{"a":null}').refused).toEqual([
      { line: 1, offset: 0, reason: 'missing', column: 'b' },
    ]);
  });

  test('of several faults the first column of the schema is told, and a fault of the JSON before any', () => {
    const schema = { a: { type: 'number' }, b: { type: 'number' } } as const;
    expect(readColumns(schema, '{"b":"x","a":"y"}').refused).toEqual([
      { line: 1, offset: 13, reason: 'type', column: 'a' },
    ]);
    expect(readColumns(schema, '{"b":"x"}').refused).toEqual([{ line: 1, offset: 0, reason: 'missing', column: 'a' }]);
    expect(readColumns(schema, '{"b":"x","a":"y",}').refused).toMatchObject([{ offset: 17, reason: 'json_syntax' }]);
  });
});

describe('times', () => {
  test.each([
    ['2026-11-23T10:11:12Z', Date.UTC(2026, 10, 23, 10, 11, 12)],
    ['2026-11-23t10:11:12z', Date.UTC(2026, 10, 23, 10, 11, 12)],
    ['2026-11-23T10:11:12.3Z', Date.UTC(2026, 10, 23, 10, 11, 12, 300)],
    ['2026-11-23T10:11:12.3459999999Z', Date.UTC(2026, 10, 23, 10, 11, 12, 345)],
    ['2026-11-23T10:11:12+02:30', Date.UTC(2026, 10, 23, 7, 41, 12)],
    ['2026-11-23T10:11:12-00:00', Date.UTC(2026, 10, 23, 10, 11, 12)],
    ['2024-02-29T00:00:00Z', Date.UTC(2024, 1, 29)],
    ['1969-12-31T23:59:59.999999Z', -1],
    ['0099-01-01T00:00:00Z', -59042995200000],
    ['0000-01-01T00:00:00+23:59', -62167219200000 - 86_340_000],
    ['2026\\u002d11-23T10:11:12\\u005a', Date.UTC(2026, 10, 23, 10, 11, 12)],
    [`2026-11-23T10:11:12.${'9'.repeat(43)}Z`, Date.UTC(2026, 10, 23, 10, 11, 12, 999)],
  ])('%s is %i', (text, ms) => {
    expect(readColumns({ t: { type: 'time' } }, `{"t":"${text}"}`).kept).toEqual([{ line: 1, cells: { t: ms } }]);
  });

  test.each([
    '',
    '2026-11-23T10:11:12',
    '2026-11-23 10:11:12Z',
    '2026-11-23T10:11Z',
    '2026-11-23T24:00:00Z',
    '2026-11-23T10:60:00Z',
    '2026-13-01T00:00:00Z',
    '2026-00-01T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-02-29T00:00:00Z',
    '2100-02-29T00:00:00Z',
    '2026-11-00T00:00:00Z',
    '2026-11-23T10:11:12.Z',
    '2026-11-23T10:11:12+24:00',
    '2026-11-23T10:11:12+2:00',
    '2026-11-23T10:11:12+0200',
    '+02026-11-23T10:11:12Z',
    ' 2026-11-23T10:11:12Z',
    '2026-11-23T10:11:12Z ',
    '2026-11-23T10:11:12Z\\n',
    '٢026-11-23T10:11:12Z',
    `2026-11-23T10:11:12.${'9'.repeat(44)}Z`,
  ])('%s is refused', (text) => {
    expect(readColumns({ t: { type: 'time' } }, `{"t":"${text}"}`).refused).toEqual([
      { line: 1, offset: 5, reason: 'time_format', column: 't' },
    ]);
  });
});

test('ids count texts in the order in which they come, however they are written', () => {
  const lines = ['b', 'a', '\\u0062', 'ä😀', '\\u00e4\\ud83d\\ude00', '', 'c'.repeat(40), 'c'.repeat(41)];
  const seen: number[] = [];
  const texts = lines.map((text) => `{"t":"${text}"}`).join('\n');
  const reading = readColumns({ t: { type: 'id' } }, texts);
  for (const { cells } of reading.kept)
    seen.push(['b', 'a', 'ä😀', '', 'c'.repeat(40), 'c'.repeat(41)].indexOf(cells.t as string));
  expect(seen).toEqual([0, 1, 0, 2, 2, 3, 4, 5]);
});

test('ten thousand texts have ten thousand ids, and the same ones again', () => {
  const texts = Array.from({ length: 10_000 }, (_, i) => `${'x'.repeat(i % 40)}${i * 7919}`);
  const { kept } = readColumns(
    { t: { type: 'id' } },
    [...texts, ...texts.toReversed()].map((t) => `{"t":"${t}"}`).join('\n'),
  );
  expect(kept.map(({ cells }) => cells.t)).toEqual([...texts, ...texts.toReversed()]);
});
