import { MAX_LINE_BYTES } from '../../core/ndjson.ts';
import { parseSuite } from '../../core/suite.ts';
import type { AsideCode } from '../../scoring/ingest/read-lines.ts';

/** Section K of the bad inputs, as far as a row speaks of a report: one bad line among 999 good ones. */

export const BAD_SUITE = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'bad-inputs',
  tick: '15m',
  minN: 5,
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
    loss: { direction: 'lower', scale: 4, floor: 10, ceil: 0 },
  },
});
export const BAD_START_MS = Date.parse('2026-01-05T09:00:00Z');
/** The place of the bad line among 1,000, 1-based. */
export const BAD_LINE = 500;
export const GOOD_LINES = 999;
const MEBIBYTE = 1024 * 1024;

export function goodReport(i: number, overrides: object = {}) {
  return {
    schemaVersion: 1,
    reportId: `r-${i}`,
    producer: 'ci-eval',
    model: 'ranker-v1',
    suite: BAD_SUITE.name,
    observedAt: new Date(BAD_START_MS + i * 1000).toISOString(),
    metrics: { accuracy: (i % 97) / 97, loss: (i % 89) / 9 },
    ...overrides,
  } as const;
}

export const GOOD: readonly object[] = Array.from({ length: GOOD_LINES }, (_, i) => goodReport(i));

/** 1,000 lines: the given ones from line 500 on, in place of as many good ones but one. */
export function uploadWith(...lines: readonly Uint8Array[]): Buffer {
  const good = GOOD.map((report) => Buffer.from(`${JSON.stringify(report)}\n`));
  const bad = lines.map((line) => Buffer.concat([line, Buffer.of(0x0a)]));
  return Buffer.concat([...good.slice(0, BAD_LINE - 1), ...bad, ...good.slice(BAD_LINE - 1)]);
}

/** All the lines in one upload, one after every 30 good ones; the place of each, 1-based. */
export function uploadOfAll(lines: readonly Uint8Array[]): {
  readonly upload: Buffer;
  readonly places: readonly number[];
} {
  const all = GOOD.map((report) => Buffer.from(JSON.stringify(report)));
  const places = lines.map((line, i) => {
    const place = (i + 1) * 31;
    all.splice(place - 1, 0, Buffer.from(line));
    return place;
  });
  return { upload: Buffer.concat(all.flatMap((line) => [line, Buffer.of(0x0a)])), places };
}

export interface BadLine {
  readonly row: string;
  readonly line: Uint8Array;
  readonly code: AsideCode;
  readonly field: string;
  /** Byte in the line. */
  readonly position: number;
}

/** The position is that of `marker` in the text, plus `past`. */
function at(
  row: string,
  text: string,
  code: AsideCode,
  { field = '', marker = '', past = 0 }: { field?: string; marker?: string; past?: number } = {},
): BadLine {
  const line = Buffer.from(text);
  return { row, line, code, field, position: line.indexOf(marker) + past };
}

const bad = (overrides: object) => JSON.stringify(goodReport(9999, overrides));
/** A report with this text where the value of its metric accuracy stands. */
const valued = (text: string) => bad({ metrics: { accuracy: '@', loss: 1 } }).replace('"@"', text);
const labelled = (text: string) => bad({ labels: { note: '@' } }).replace('@', text);
const INVALID_UTF8 = Buffer.from(labelled('~~'));
INVALID_UTF8.set([0xc3, 0x28], INVALID_UTF8.indexOf('~~'));
const { schemaVersion: _, ...UNVERSIONED } = goodReport(9999);
const MANY = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [i.toString(36).padStart(4, 'm'), 0]));

/** Refused by what is in the line alone: in the log and offline alike. */
export const REFUSED_LINES: readonly BadLine[] = [
  at('K03 text that is no JSON', 'hello', 'json_syntax'),
  at('K03 bytes of another format', '\u0000\u0000\u0000\u0000\u0007\u0002H', 'json_syntax'),
  at('K05 truncated JSON', bad({}).slice(0, 120), 'json_syntax', { past: 120 }),
  { row: 'K06 invalid UTF-8', line: INVALID_UTF8, code: 'encoding', field: '', position: INVALID_UTF8.indexOf(0xc3) },
  at('K07 a bare NUL in a string', labelled('a\u0000b'), 'encoding', { marker: '\u0000' }),
  at('K07 an escaped NUL in a string', labelled('a\\u0000b'), 'encoding', { marker: '\\u0000' }),
  at('K07 a lone surrogate', labelled('a\\ud800b'), 'encoding', { marker: '\\ud800' }),
  at('K08 __proto__ inside metrics', bad({}).replace('"loss"', '"__proto__"'), 'forbidden_key', {
    marker: '"__proto__"',
  }),
  at('K08 constructor.prototype', bad({ constructor: { prototype: { x: 1 } } }), 'forbidden_key', {
    marker: '"prototype"',
  }),
  at('K10 nesting of 100,000', '['.repeat(100_000), 'depth', { past: 32 }),
  at('K11 a line of 10 MiB', labelled('x'.repeat(10 * MEBIBYTE)), 'too_large'),
  at('K12 a missing schemaVersion', JSON.stringify(UNVERSIONED), 'schema', { field: 'schemaVersion' }),
  at('K13 schemaVersion 99', bad({ schemaVersion: 99 }), 'unknown_version', { field: 'schemaVersion', marker: '99,' }),
  at('K15 a reportId with a slash', bad({ reportId: 'a/b' }), 'charset', { field: 'reportId', marker: '"a/b"' }),
  at('K15 a reportId of 65 characters', bad({ reportId: 'i'.repeat(65) }), 'charset', {
    field: 'reportId',
    marker: '"ii',
  }),
  at('K23 the text "NaN"', valued('"NaN"'), 'number', { field: 'metrics.accuracy', marker: '"NaN"' }),
  at('K23 NaN', valued('NaN'), 'number', { marker: 'NaN' }),
  at('K23 Infinity', valued('Infinity'), 'number', { marker: 'Infinity' }),
  at('K23 -Infinity', valued('-Infinity'), 'number', { marker: '-Infinity' }),
  at('K23 1e400, which is no finite double', valued('1e400'), 'number', { marker: '1e400' }),
  at('K25 null', valued('null'), 'number', { field: 'metrics.accuracy', marker: 'null' }),
  at('K28 100,000 metrics', bad({ metrics: MANY }), 'size', {
    field: 'metrics',
    marker: '"metrics":',
    past: '"metrics":'.length,
  }),
  at('K32 a time without zone', bad({ observedAt: '2026-01-05T09:00:00' }), 'time_format', {
    field: 'observedAt',
    marker: '"2026-01-05T09:00:00"',
  }),
];

/** Refused by what only the consumer knows. `retired-v1` is retired, `nobody` was never registered. */
export function refusedByTheConsumer(nowMs: number): readonly BadLine[] {
  const ahead = new Date(nowMs + 2 * 3_600_000).toISOString();
  return [
    at('K30 two hours in the future', bad({ observedAt: ahead }), 'clock_skew', {
      field: 'observedAt',
      marker: `"${ahead}"`,
    }),
    at('K36 an unknown model', bad({ model: 'nobody' }), 'unknown_model', { field: 'model', marker: '"nobody"' }),
    at('K37 a retired model', bad({ model: 'retired-v1' }), 'retired', { field: 'model', marker: '"retired-v1"' }),
  ];
}

/** What is kept of a line in the quarantine. */
export function keptOf({ line }: BadLine): Buffer {
  return Buffer.from(line.length > MAX_LINE_BYTES ? line.subarray(0, 1024) : line);
}
