import { parseRfc3339 } from '../../../core/rfc3339.ts';
import type { MetricRule, Suite } from '../../../core/suite.ts';
import { quantise } from '../../../scoring/rules/quantise.ts';

/**
 * What the JavaScript peers share: one line by JSON.parse, and every check that a report and its suite ask for, by hand. Ids become numbers
 * the first time they are seen; no object is made a report. What JSON.parse cannot tell (a duplicate key, bad UTF-8) passes.
 */

const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const MAX_WEIGHT = 2 ** 20;
const MAX_METRICS = 256;
const UNKNOWN_METRIC = -1;
const DAY_MS = 86_400_000;

export interface ParsedReport {
  readonly schemaVersion?: unknown;
  readonly reportId: string;
  readonly producer: string;
  readonly model: string;
  readonly suite: string;
  readonly observedAt: string;
  readonly sampleSize?: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Names by number. */
export class Interned {
  readonly names: string[] = [];
  readonly #ids = new Map<string, number>();

  /** −1 where it is no name. */
  id(text: unknown): number {
    if (typeof text !== 'string') return -1;
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    if (!NAME.test(text)) return -1;
    this.#ids.set(text, this.names.length);
    return this.names.push(text) - 1;
  }
}

/** Reads lines of reports of one suite; the fields are those of the last line that `read` took. */
export class ReportChecker {
  report!: ParsedReport;
  producer = 0;
  model = 0;
  observedAtMs = 0;
  weight = 0;
  /** Of the suite's metrics: which are there, and their q. */
  count = 0;
  readonly metric: Int32Array;
  readonly q: Float64Array;
  readonly models = new Interned();
  readonly #producers = new Interned();
  readonly #rules: readonly MetricRule[];
  readonly #suite: string;
  /** Metric name → its place in the suite, or UNKNOWN_METRIC; names that were found good. */
  readonly #metrics = new Map<string, number>();
  #day = '';
  #dayMs = 0;

  constructor(suite: Suite) {
    this.#suite = suite.name;
    this.#rules = suite.metrics;
    this.metric = new Int32Array(suite.metrics.length);
    this.q = new Float64Array(suite.metrics.length);
    for (const [i, { name }] of suite.metrics.entries()) this.#metrics.set(name, i);
  }

  /** False where the line is to be quarantined. */
  read(line: string): boolean {
    let report: ParsedReport | null;
    try {
      report = JSON.parse(line) as ParsedReport | null;
    } catch {
      return false;
    }
    if (typeof report !== 'object' || report === null) return false;
    const { reportId, observedAt, sampleSize = 1 } = report;
    if (report.schemaVersion !== 1 || report.suite !== this.#suite) return false;
    if (typeof reportId !== 'string' || !NAME.test(reportId)) return false;
    this.producer = this.#producers.id(report.producer);
    this.model = this.models.id(report.model);
    if (this.producer < 0 || this.model < 0) return false;
    const time = this.#time(observedAt);
    if (time === undefined) return false;
    if (!Number.isInteger(sampleSize) || sampleSize < 1 || sampleSize > MAX_WEIGHT) return false;
    if (!this.#take(report.metrics) || !areLabels(report.labels)) return false;
    this.report = report;
    this.observedAtMs = time;
    this.weight = sampleSize;
    return true;
  }

  /** Most times are of the day of the one before, in milliseconds and UTC. */
  #time(text: unknown): number | undefined {
    if (typeof text !== 'string') return undefined;
    if (text.length === 24 && text.startsWith(this.#day) && this.#day !== '') {
      const at = clock(text);
      if (at >= 0) return this.#dayMs + at;
    }
    const ms = parseRfc3339(text);
    if (ms !== undefined && text.length === 24 && text.endsWith('Z')) {
      this.#day = text.slice(0, 11);
      this.#dayMs = Math.floor(ms / DAY_MS) * DAY_MS;
    }
    return ms;
  }

  #take(metrics: unknown): boolean {
    if (typeof metrics !== 'object' || metrics === null || Array.isArray(metrics)) return false;
    let count = 0;
    let all = 0;
    for (const name in metrics) {
      const x = (metrics as Record<string, unknown>)[name];
      const place = this.#metrics.get(name) ?? this.#newMetric(name);
      if (place === undefined || typeof x !== 'number' || !Number.isFinite(x)) return false;
      all++;
      if (place === UNKNOWN_METRIC) continue;
      const { valid, factor } = this.#rules[place]!;
      if (valid !== null && !(x >= valid[0] && x <= valid[1])) return false;
      const q = quantise(x, factor);
      if (q === undefined) return false;
      this.metric[count] = place;
      this.q[count++] = q;
    }
    this.count = count;
    return all >= 1 && all <= MAX_METRICS;
  }

  #newMetric(name: string): number | undefined {
    if (!NAME.test(name)) return undefined;
    this.#metrics.set(name, UNKNOWN_METRIC);
    return UNKNOWN_METRIC;
  }
}

function areLabels(labels: unknown): boolean {
  if (labels === undefined) return true;
  if (typeof labels !== 'object' || labels === null || Array.isArray(labels)) return false;
  for (const name in labels) if (typeof (labels as Record<string, unknown>)[name] !== 'string') return false;
  return true;
}

/** Milliseconds of the day of `YYYY-MM-DDTHH:MM:SS.mmmZ`; −1 where it is written otherwise. */
function clock(text: string): number {
  const digit = (at: number) => text.charCodeAt(at) - 0x30;
  const two = (at: number) => {
    const a = digit(at);
    const b = digit(at + 1);
    return a >= 0 && a <= 9 && b >= 0 && b <= 9 ? a * 10 + b : 99;
  };
  const hour = two(11);
  const minute = two(14);
  const second = two(17);
  const hundredths = two(20);
  const last = digit(22);
  if (hour > 23 || minute > 59 || second > 59 || hundredths === 99 || !(last >= 0 && last <= 9)) return -1;
  if (text[13] !== ':' || text[16] !== ':' || text[19] !== '.' || text[23] !== 'Z') return -1;
  return (hour * 3600 + minute * 60 + second) * 1000 + hundredths * 10 + last;
}
