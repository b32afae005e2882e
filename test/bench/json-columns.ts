import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { ColumnReader, type Schema } from 'simd-json-wasm';
import { makeCorpus } from './corpus.ts';
import { ParsedColumns } from './parsed-columns.ts';

/**
 * Bytes → checked columns: simd-json-wasm against JSON.parse with the same checks by hand, into the same typed arrays. One process, rounds
 * that take turns, CPU time, medians: `npm run bench:json-columns`.
 */

const FLOOR = 5;
const AIM = 6;
const ROUNDS = 15;
/** Reports a pass: enough that a round takes half a second, few enough that 15 of them do not take a minute. */
const REPORTS = 50_000;

const NAME = { characters: 'A-Za-z0-9._-', minBytes: 1, maxBytes: 64 } as const;

/** The report of the corpus, as a schema. */
const REPORT_SCHEMA = {
  schemaVersion: { type: 'integer', min: 1, max: 1 },
  reportId: { type: 'text', ...NAME },
  producer: { type: 'id', ...NAME },
  model: { type: 'id', ...NAME },
  suite: { type: 'id', ...NAME },
  observedAt: { type: 'time' },
  sampleSize: { type: 'integer', min: 1, max: 2 ** 20, optional: true },
  metrics: { type: 'numbers', minEntries: 1, maxEntries: 256, keys: NAME },
} as const satisfies Schema;

export interface ColumnsRow {
  readonly floor: number;
  readonly aim: number;
  /** One pass over the corpus each; both stay warm between calls. */
  readonly native: () => void;
  readonly parsed: () => void;
}

/** Two ways through the same batches of whole lines; throws where they do not come to the same columns. */
export function jsonColumnsRow(batches: readonly Buffer[]): ColumnsRow {
  compareOnce(batches);
  const reader = new ColumnReader(REPORT_SCHEMA, () => undefined);
  const columns = new ParsedColumns();
  return {
    floor: FLOOR,
    aim: AIM,
    native: () => {
      for (const bytes of batches) reader.push(bytes);
      reader.finish();
    },
    parsed: () => {
      for (const bytes of batches) columns.read(bytes);
    },
  };
}

/** Both must refuse the same number of lines and keep the same values, bit for bit and in order. */
function compareOnce(batches: readonly Buffer[]): void {
  const parsed = new ParsedColumns();
  let row = 0;
  let entry = 0;
  let refused = 0;
  const reader = new ColumnReader(REPORT_SCHEMA, ({ columns, rows, refused: lines }) => {
    refused += lines.count;
    const { model, producer, suite, observedAt, sampleSize, metrics } = columns;
    for (let i = 0; i < rows; i++, row++) {
      same(model.values[i], parsed.models[row]);
      same(producer.values[i], parsed.producers[row]);
      same(suite.values[i], parsed.suites[row]);
      same(observedAt.values[i], parsed.times[row]);
      same(sampleSize.present[i] === 1 ? sampleSize.values[i] : 1, parsed.sizes[row]);
      for (let at = metrics.offsets[i]!; at < metrics.offsets[i + 1]!; at++, entry++) {
        same(metrics.keys[at], parsed.keys[entry]);
        same(metrics.values[at], parsed.values[entry]);
      }
    }
  });
  for (const bytes of batches) {
    row = 0;
    entry = 0;
    refused = 0;
    parsed.read(bytes);
    reader.push(bytes);
    same(row, parsed.rows);
    same(entry, parsed.entries);
    same(refused, parsed.refused);
  }
}

function same(native: number | undefined, parsed: number | undefined): void {
  if (native === undefined || !Object.is(native, parsed)) throw new Error(`columns differ: ${native} and ${parsed}`);
}

function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function main(): void {
  const { batches, bytes, lines } = makeCorpus({ reports: REPORTS });
  const row = jsonColumnsRow(batches);
  const native: number[] = [];
  const parsed: number[] = [];
  for (let round = -2; round < ROUNDS; round++) {
    const a = cpuMs(row.native);
    const b = cpuMs(row.parsed);
    if (round < 0) continue;
    native.push(a);
    parsed.push(b);
  }
  const ratio = median(native.map((ms, i) => parsed[i]! / ms));
  const rate = (ms: number) => `${Math.round((bytes / ms) * 1e-3)} MB/s, ${Math.round((ms / lines) * 1e6)} ns a report`;
  console.log(`simd-json-wasm       ${rate(median(native))}`);
  console.log(`JSON.parse + checks  ${rate(median(parsed))}`);
  console.log(
    `${ratio.toFixed(2)}×  floor ${FLOOR}×, aim ${AIM}×; load ${loadavg()[0]!.toFixed(2)}; ${ROUNDS} rounds, medians`,
  );
  process.exitCode = ratio < FLOOR ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
