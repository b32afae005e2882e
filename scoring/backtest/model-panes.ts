import { bucketOf } from '../rules/sketch.ts';
import { type Extremes, MetricSums, type ReportRow } from './metric-sums.ts';

/**
 * Reports that a pane keeps as they are before it turns into sums. Most one-minute panes hold one: 8 bytes a value instead
 * of an accumulator's 200.
 */
const MAX_PLAIN_REPORTS = 16;

/** One pane of one model: all its metrics. */
export class ModelPane {
  readonly startMs: number;
  readonly #metrics: number;
  /** Per report its weight and q of each metric by place, NaN where it has none; undefined: turned into sums. */
  #plain: number[] | undefined = [];
  #sums: MetricSums | undefined;

  constructor(startMs: number, metrics: number) {
    this.startMs = startMs;
    this.#metrics = metrics;
  }

  add(row: ReportRow): void {
    if (this.#plain !== undefined && this.#plain.length < MAX_PLAIN_REPORTS * (1 + this.#metrics)) {
      this.#plain.push(Number(row.w));
      for (const value of row.values) this.#plain.push(value?.q ?? Number.NaN);
      return;
    }
    this.#sums ??= this.#summed();
    this.#sums.add(row);
  }

  #summed(): MetricSums {
    const sums = new MetricSums(this.#metrics);
    for (const row of this.#rows()) sums.add(row);
    this.#plain = undefined;
    return sums;
  }

  *#rows(): Generator<ReportRow> {
    const plain = this.#plain ?? [];
    for (let at = 0; at < plain.length; at += 1 + this.#metrics) {
      const w = BigInt(plain[at]!);
      yield { w, values: plain.slice(at + 1, at + 1 + this.#metrics).map((q) => quantised(q, w)) };
    }
  }

  addTo(window: MetricSums): void {
    if (this.#sums !== undefined) window.absorb(this.#sums);
    else for (const row of this.#rows()) window.add(row);
  }

  takeFrom(window: MetricSums): void {
    if (this.#sums !== undefined) window.evict(this.#sums);
    else for (const row of this.#rows()) window.remove(row);
  }

  /** Min and max of q of one metric; ±∞ where no report has it. */
  extremesOf(place: number): Extremes {
    let min = Number.POSITIVE_INFINITY;
    let max = Number.NEGATIVE_INFINITY;
    if (this.#sums !== undefined) {
      const sums = this.#sums.of(place);
      return sums.n > 0 ? sums : { min, max };
    }
    const plain = this.#plain ?? [];
    for (let at = 1 + place; at < plain.length; at += 1 + this.#metrics) {
      const q = plain[at]!;
      if (q < min) min = q;
      if (q > max) max = q;
    }
    return { min, max };
  }
}

function quantised(q: number, w: bigint): ReportRow['values'][number] {
  if (Number.isNaN(q)) return undefined;
  const exact = BigInt(q);
  const wq = w * exact;
  return { q, wq, wq2: wq * exact, bucket: bucketOf(q) };
}

/** A model's panes of one resolution, ascending by start; only those that hold a report. */
export class PaneList {
  readonly #resolutionMs: number;
  readonly #metrics: number;
  #panes: ModelPane[] = [];

  constructor(resolutionMs: number, metrics: number) {
    this.#resolutionMs = resolutionMs;
    this.#metrics = metrics;
  }

  get length(): number {
    return this.#panes.length;
  }

  /** Adds a report; the start of its pane. */
  add(row: ReportRow, observedAtMs: number): number {
    const startMs = Math.floor(observedAtMs / this.#resolutionMs) * this.#resolutionMs;
    // Mostly the last one, or the one behind it.
    const at = this.indexFrom(startMs);
    let pane = this.#panes[at];
    if (pane?.startMs !== startMs) {
      pane = new ModelPane(startMs, this.#metrics);
      this.#panes.splice(at, 0, pane);
    }
    pane.add(row);
    return startMs;
  }

  /** The place of the first pane that starts at or after the instant. */
  indexFrom(ms: number): number {
    const last = this.#panes.at(-1);
    if (last === undefined || last.startMs < ms) return this.#panes.length;
    let low = 0;
    let high = this.#panes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#panes[middle]!.startMs < ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Start of the first pane at or after the instant. */
  startFrom(ms: number): number | undefined {
    return this.#panes[this.indexFrom(ms)]?.startMs;
  }

  /** Panes that start in [fromMs, toMs). */
  between(fromMs: number, toMs: number): readonly ModelPane[] {
    return this.#panes.slice(this.indexFrom(fromMs), this.indexFrom(toMs));
  }

  /** Forgets panes that start before the instant. */
  dropBefore(ms: number): void {
    const gone = this.indexFrom(ms);
    if (gone > 0) this.#panes = this.#panes.slice(gone);
  }
}
