import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import type { Schema } from 'simd-json-wasm';
import { expect, test } from 'vitest';
import { type Edit, edited, JsonWriter } from './json-writer.ts';
import { expectedReading } from './oracle.ts';
import { Gatherer } from './read-columns.ts';

/** A few seconds in `npm test`; `npm run test:fuzz` goes on for MERIT_FUZZ_S seconds. MERIT_FUZZ_SEED repeats a run. */
const SECONDS = process.env.MERIT_FUZZ === 'whole' ? Number(process.env.MERIT_FUZZ_S ?? 300) : 3;
const SEED = Number(process.env.MERIT_FUZZ_SEED ?? Date.now() % 2 ** 31);

const OPTIONS = { maxLineBytes: 1500, maxBatchRows: 3 };
const NAME = { characters: 'A-Za-z0-9._-', minBytes: 1, maxBytes: 20 } as const;

const SCHEMA = {
  version: { path: 'schemaVersion', type: 'integer', min: 1, max: 3 },
  reportId: { type: 'text', ...NAME },
  note: { type: 'text', optional: true, nullable: true, maxBytes: 60 },
  model: { type: 'id', ...NAME },
  tag: { path: ['a', 'b.c', 'constructor'], type: 'id', optional: true },
  observedAt: { type: 'time', optional: true },
  weight: { path: 'a.weight', type: 'integer', optional: true },
  flag: { path: 'a.ünïcode', type: 'boolean', optional: true, nullable: true },
  score: { path: 'deep.er.score', type: 'number', min: -1e300, nullable: true, optional: true },
  metrics: { type: 'numbers', minEntries: 1, maxEntries: 4, keys: NAME, optional: true },
  constructor: { type: 'numbers', optional: true, nullable: true },
} as const satisfies Schema;

type Writers = Readonly<Record<string, (w: JsonWriter) => string>>;

/** Short, long and exactly as long as a block of 16 bytes with its quotes; a few that do not fit. */
const NAMES = [
  'a',
  'ranker-v12',
  'b.c',
  'A-name.of_14-b',
  'A-name.of_16-byt',
  'A-very_long.name-ok',
  '01JD8M',
  '1',
  '2',
];
const NO_NAMES = ['', 'nöt', 'much-longer-than-it-may-be', 'with space'];

function nameText(w: JsonWriter): string {
  return w.string(w.pick(w.once(20) ? NO_NAMES : NAMES));
}

function numbersText(w: JsonWriter): string {
  const keys = new Set(
    Array.from({ length: 1 + w.nat(w.once(9) ? 6 : 4) }, () => (w.once(60) ? w.text() : w.pick(NAMES))),
  );
  return w.object([...keys].map((key) => [w.string(key), w.number()]));
}

/** For each key a value that mostly fits. */
const FITTING: Writers = {
  schemaVersion: (w) => (w.once(10) ? w.pick(['4', '0.5', '-1', '1e3']) : w.pick(['1', '2', '3.0', '1e0', '30E-1'])),
  reportId: nameText,
  note: (w) => (w.once(8) ? 'null' : w.string(w.text())),
  model: nameText,
  observedAt: (w) => (w.once(2) ? w.string(w.time()) : '"2026-11-23T10:11:12.345Z"'),
  metrics: numbersText,
  constructor: numbersText,
  a: (w) => membersText(w, { 'b.c': (inner) => membersText(inner, B), weight: numberText, ünïcode: booleanText }),
  deep: (w) =>
    w.once(8) ? 'null' : membersText(w, { er: (inner: JsonWriter) => membersText(inner, { score: numberText }) }),
};
const B: Writers = { constructor: (w: JsonWriter) => w.string(w.text()), prototype: (w) => w.value() };

function numberText(w: JsonWriter): string {
  return w.once(3) ? w.number() : String(w.nat(1000));
}

function booleanText(w: JsonWriter): string {
  return w.pick(['true', 'false', 'null']);
}

/** An object with most of those members, in an order that mostly stays, and some that the schema does not know. */
function membersText(w: JsonWriter, fitting: Writers): string {
  const known = Object.entries(fitting)
    .filter(() => !w.once(60))
    .map(([key, value]) => [w.string(key), w.once(100) ? w.value() : value(w)] as const);
  const unknown = Array.from({ length: w.nat(3) }, () => {
    const key = w.once(3) ? w.text() : `${w.pick(['labels', 'x', 'commit'])}${w.nat(8)}`;
    return [w.string(key), w.value()] as const;
  });
  const all = w.once(2) ? [...known, ...unknown] : [...unknown, ...known];
  return w.object(w.once(10) ? all.toReversed() : all);
}

function inputText(w: JsonWriter, lines: number): string {
  const texts = Array.from({ length: lines }, () => {
    if (w.once(20)) return w.pick(['', ' ', '\t\r', '{', ' {}', '[]', '1', '"x"', '\ufeff{}', '{}}', '{"a":{"b":']);
    return w.once(20) ? w.value() : membersText(w, FITTING);
  });
  return texts.join(w.pick(['\n', '\n', '\n\n', '\r\n'])) + w.pick(['', '\n']);
}

const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.nat(100_000),
  kind: fc.constantFrom('set', 'put', 'cut', 'repeat'),
  byte: fc.oneof(
    fc.constantFrom(...'"\\{}[],:0129.eE+-utfn \t\r\n').map((character) => character.charCodeAt(0)),
    fc.nat(255),
  ),
});

const input = fc
  .tuple(fc.integer(), fc.integer({ min: 1, max: 8 }), fc.array(edit, { maxLength: 3 }), fc.boolean())
  .map(([seed, lines, edits, whole]) => {
    const bytes = Buffer.from(inputText(new JsonWriter(seed), lines), 'utf8');
    return whole ? bytes : edited(bytes, edits);
  });

test('any input in any pieces reads as JSON.parse with checks reads it, and is refused where and as core/json.ts refuses it', {
  timeout: (SECONDS + 60) * 1000,
}, () => {
  console.log(`seed ${SEED}, ${SECONDS} s`);
  let gatherer = new Gatherer(SCHEMA, OPTIONS);
  let runs = 0;
  let kept = 0;
  const refused = new Map<string, number>();
  fc.assert(
    fc.property(input, fc.array(fc.nat(100_000), { maxLength: 4 }), (bytes, cuts) => {
      // What the reader remembers of lines before must make no difference; now and then it remembers nothing.
      if (runs++ % 200 === 199) gatherer = new Gatherer(SCHEMA, OPTIONS);
      const reading = gatherer.read(bytes, cuts);
      const expected = expectedReading(SCHEMA, bytes, OPTIONS.maxLineBytes);
      // A tenth of what toEqual takes; it says what differs.
      if (!isDeepStrictEqual(reading, expected)) expect(reading).toStrictEqual(expected);
      kept += reading.kept.length;
      for (const { reason } of reading.refused) refused.set(reason, (refused.get(reason) ?? 0) + 1);
    }),
    { seed: SEED, numRuns: 1_000_000_000, interruptAfterTimeLimit: SECONDS * 1000, markInterruptAsFailure: false },
  );
  console.log(`${runs} inputs, ${kept} lines kept, refused:`, Object.fromEntries(refused));
  expect(kept).toBeGreaterThan(100);
  expect(refused.size).toBeGreaterThan(12);
});
