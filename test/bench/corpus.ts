import { parseSuite, type Suite } from '../../core/suite.ts';
import { seeded } from './random.ts';

/**
 * The corpus of every scoring row: 200,000 report lines of 587 B on average over one hour of event time, 16 models, 8 metrics that the
 * suite knows and one that it does not. One line in 200 is malformed, one in 1,000 repeats an earlier one byte for byte, one in 10,000
 * uses an earlier id for other content. Deterministic: the same bytes on every machine.
 */

export const CORPUS_REPORTS = 200_000;
export const CORPUS_START_MS = Date.parse('2026-11-25T08:00:00Z');
/** Whole lines, at most this much: what a worker is handed at once. */
export const BATCH_BYTES = 1024 * 1024;

const MODELS = 16;
export const CORPUS_SPAN_MS = 3_600_000;
const MALFORMED_EVERY = 200;
const DUPLICATE_EVERY = 1_000;
const CONFLICT_EVERY = 10_000;
/** How far back a repeat reaches. */
const REPEAT_DISTANCE = 517;

/** A metric's name in the corpus, and how it is drawn. */
const METRICS: readonly (readonly [name: string, draw: (random: () => number) => number])[] = [
  ['accuracy', (random) => round(0.8 + 0.04 * bell(random), 4)],
  ['calibration_error', (random) => round(0.02 + 0.06 * random(), 5)],
  ['f1_macro', (random) => round(0.74 + 0.05 * bell(random), 4)],
  ['latency_ms', (random) => round(90 + 30 * Math.abs(bell(random)), 2)],
  ['loss', (random) => round(0.6 + 0.1 * bell(random), 6)],
  ['ndcg_at_10', (random) => round(0.61 + 0.03 * bell(random), 4)],
  ['solved', (random) => (random() < 0.7 ? 1 : 0)],
  ['tokens_out', (random) => Math.floor(200 + 100 * random())],
  ['unscored_extra', (random) => round(random(), 6)],
];

/** The suite that scores the corpus. */
export function corpusSuite(): Suite {
  const higher = { direction: 'higher', scale: 6, floor: 0, ceil: 1, valid: [0, 1] };
  return parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: 'bench',
    metrics: {
      accuracy: { ...higher, required: true },
      calibration_error: { direction: 'lower', scale: 6, floor: 0.2, ceil: 0 },
      f1_macro: higher,
      latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 3, floor: 1000, ceil: 50 },
      loss: { direction: 'lower', scale: 6, floor: 4, ceil: 0 },
      ndcg_at_10: higher,
      solved: { direction: 'higher', kind: 'binary', scale: 6, floor: 0, ceil: 1 },
      tokens_out: { direction: 'lower', scale: 0, floor: 1000, ceil: 0 },
    },
  });
}

export function modelName(i: number): string {
  return `ranker-v${String(i).padStart(2, '0')}`;
}

export const MODEL_NAMES: readonly string[] = Array.from({ length: MODELS }, (_, i) => modelName(i));

export interface Corpus {
  /** NDJSON in batches of whole lines. */
  readonly batches: readonly Buffer[];
  readonly lines: number;
  readonly bytes: number;
}

export interface CorpusOptions {
  readonly reports?: number;
  /** Event time from the first report to the last. */
  readonly spanMs?: number;
}

export function makeCorpus(options: CorpusOptions = {}): Corpus {
  const { reports = CORPUS_REPORTS, spanMs = CORPUS_SPAN_MS } = options;
  const random = seeded(20261125);
  const recent: string[] = [];
  const batches: Buffer[] = [];
  let lines: string[] = [];
  let size = 0;
  let bytes = 0;
  const close = () => {
    if (size > 0) batches.push(Buffer.from(lines.join(''), 'utf8'));
    lines = [];
    size = 0;
  };
  for (let i = 0; i < reports; i++) {
    const fresh = reportLine(random, i, CORPUS_START_MS + Math.floor((i / reports) * spanMs));
    const line = `${spoiled(fresh, i, recent)}\n`;
    recent[i % REPEAT_DISTANCE] = fresh;
    const length = Buffer.byteLength(line);
    if (size + length > BATCH_BYTES) close();
    lines.push(line);
    size += length;
    bytes += length;
  }
  close();
  return { batches, lines: reports, bytes };
}

function reportLine(random: () => number, i: number, atMs: number): string {
  const at = new Date(atMs + Math.floor(random() * 900)).toISOString();
  const metrics = METRICS.map(([name, draw]) => `${JSON.stringify(name)}:${draw(random)}`).join(',');
  const id = `01JD${(0x100000000 + i * 7919).toString(32).toUpperCase().padStart(10, '0')}${hex(random, 12)}`;
  return (
    `{"schemaVersion":1,"reportId":"${id}","producer":"ci-eval-${i % 4}","model":"${modelName(Math.floor(random() * MODELS))}",` +
    `"suite":"bench","observedAt":"${at}","sampleSize":${1 + Math.floor(random() * 512)},"metrics":{${metrics}},` +
    `"labels":{"commit":"${hex(random, 40)}","dataset":"holdout-2026-11/shard-${i % 97}","note":"nightly ${i % 1009 === 5 ? 'évaluation' : 'run'}, seed ${i % 31}",` +
    `"runner":"gpu-${i % 13}.eu-west.example.org","image":"registry.example.org/eval@sha256:${hex(random, 15)}"}}`
  );
}

/** What becomes of line i: itself, a repeat, or one of the ways in which producers get it wrong that JSON.parse with checks can tell. */
function spoiled(line: string, i: number, recent: readonly string[]): string {
  const earlier = recent[i % REPEAT_DISTANCE];
  if (i % MALFORMED_EVERY === 7) return SPOILERS[Math.floor(i / MALFORMED_EVERY) % SPOILERS.length]!(line);
  if (earlier !== undefined && i % DUPLICATE_EVERY === 11) return earlier;
  if (earlier !== undefined && i % CONFLICT_EVERY === 13)
    return earlier.replace(/"sampleSize":\d+/, '"sampleSize":513');
  return line;
}

const SPOILERS: readonly ((line: string) => string)[] = [
  (line) => line.slice(0, Math.floor(line.length * 0.7)),
  (line) => line.replace(/"accuracy":[0-9.]+/, '"accuracy":NaN'),
  (line) => line.replace(/"accuracy":[0-9.]+/, '"accuracy":1.5'),
  (line) => line.replace('"model":"', '"model":"naïve '),
  (line) => line.replace(/T(\d\d):/, 'T25:'),
  (line) => line.replace(/"loss":[0-9.]+/, '"loss":"0.5"'),
  (line) => line.replace('"schemaVersion":1', '"schemaVersion":2'),
  (line) => line.replace(/"sampleSize":\d+/, '"sampleSize":0.5'),
  (line) => line.replace(/"tokens_out":\d+/, '"tokens_out":1e300'),
  (line) => line.replace(/"producer":"[^"]+",/, ''),
];

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** About normal: the sum of twelve uniforms. */
function bell(random: () => number): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random();
  return sum;
}

function hex(random: () => number, digits: number): string {
  let text = '';
  while (text.length < digits)
    text += Math.floor(random() * 0x1000000)
      .toString(16)
      .padStart(6, '0');
  return text.slice(0, digits);
}
