import type { Bucket } from '../rules/pane.ts';

/** One pane's sketch as the database has it: bucket indexes, ascending, and their counts. */
export type StoredSketch = readonly [startMs: number, buckets: readonly number[], counts: readonly number[]];

/** The changed sketches of one metric in one window. */
export type ReadSketches = readonly [place: number, metric: string, list: readonly StoredSketch[]];

/** Of a pane that is held, beside two numbers a bucket. */
const CELLS_A_PANE = 10;

/**
 * The sketches of a model's panes, as of the last read. A commit of the consumer changes few of them: the next read brings those
 * that were written since, and the whole window is what it was but for them. A pane is replaced, never added to, so that reading
 * one again does no harm.
 */
export class SketchBook {
  /**
   * The oldest transaction that still ran at the last read: what any later read sees beyond it was written by this transaction or a
   * newer one. null: nothing was read yet.
   */
  horizon: string | null = null;
  readonly #pages = new Map<string, Page>();

  get cells(): number {
    let cells = 0;
    for (const page of this.#pages.values()) cells += page.cells;
    return cells;
  }

  take(read: readonly ReadSketches[], horizon: string): void {
    for (const [place, metric, list] of read) {
      const page = this.#at(place, metric);
      for (const sketch of list) page.replace(sketch);
    }
    this.horizon = horizon;
  }

  /** The buckets of one metric in a window, ascending, and how many reports they hold. Panes before the window are let go. */
  window(place: number, metric: string, startMs: number, endMs: number): { buckets: readonly Bucket[]; n: number } {
    const page = this.#at(place, metric);
    page.turnTo(startMs, endMs);
    return { buckets: page.buckets(), n: page.n };
  }

  #at(place: number, metric: string): Page {
    const key = `${place} ${metric}`;
    let page = this.#pages.get(key);
    if (page === undefined) {
      page = new Page();
      this.#pages.set(key, page);
    }
    return page;
  }
}

/**
 * One metric in one window: its panes, and what those within the window add up to. Of a commit only the buckets that it changed are made
 * anew: made from scratch they were some 200,000 small objects a commit that outlived it, which V8 copied for 20 ms at a time while calls
 * waited (16 models, 8 metrics).
 */
class Page {
  n = 0;
  cells = 0;
  #startMs = 0;
  #endMs = 0;
  readonly #panes = new Map<number, StoredSketch>();
  /** Given away: never changed. */
  #totals: readonly Bucket[] = [];
  /** By bucket, what has come to the totals since, never 0. */
  readonly #changes = new Map<number, number>();

  replace(sketch: StoredSketch): void {
    const [paneMs] = sketch;
    const held = this.#panes.get(paneMs);
    this.#panes.set(paneMs, sketch);
    this.cells += cellsOf(sketch) - (held === undefined ? 0 : cellsOf(held));
    if (within(paneMs, this.#startMs, this.#endMs)) this.#differ(held ?? noSketch(paneMs), sketch);
  }

  turnTo(startMs: number, endMs: number): void {
    if (startMs === this.#startMs && endMs === this.#endMs) return;
    for (const [paneMs, sketch] of this.#panes) {
      const was = within(paneMs, this.#startMs, this.#endMs);
      const is = within(paneMs, startMs, endMs);
      if (was && !is) this.#differ(sketch, noSketch(paneMs));
      else if (is && !was) this.#differ(noSketch(paneMs), sketch);
      if (paneMs >= startMs) continue;
      this.#panes.delete(paneMs);
      this.cells -= cellsOf(sketch);
    }
    this.#startMs = startMs;
    this.#endMs = endMs;
  }

  buckets(): readonly Bucket[] {
    if (this.#changes.size > 0) {
      const changes = Array.from(this.#changes).sort((a, b) => a[0] - b[0]);
      this.#totals = mergedBuckets(this.#totals, changes);
      this.#changes.clear();
    }
    return this.#totals;
  }

  /** From one sketch to another; both ascend. */
  #differ([, beforeIndexes, beforeCounts]: StoredSketch, [, indexes, counts]: StoredSketch): void {
    let b = 0;
    for (const [i, index] of indexes.entries()) {
      for (; b < beforeIndexes.length && beforeIndexes[b]! < index; b++)
        this.#change(beforeIndexes[b]!, -beforeCounts[b]!);
      if (beforeIndexes[b] === index) this.#change(index, counts[i]! - beforeCounts[b++]!);
      else this.#change(index, counts[i]!);
    }
    for (; b < beforeIndexes.length; b++) this.#change(beforeIndexes[b]!, -beforeCounts[b]!);
  }

  #change(index: number, by: number): void {
    if (by === 0) return;
    this.n += by;
    const change = (this.#changes.get(index) ?? 0) + by;
    if (change === 0) this.#changes.delete(index);
    else this.#changes.set(index, change);
  }
}

/** Both ascend. A bucket that comes to 0 goes; one that is not changed is the same object. */
export function mergedBuckets(totals: readonly Bucket[], changes: readonly Bucket[]): readonly Bucket[] {
  if (changes.length === 0) return totals;
  const buckets: Bucket[] = [];
  let t = 0;
  for (const change of changes) {
    for (; t < totals.length && totals[t]![0] < change[0]; t++) buckets.push(totals[t]!);
    const count = totals[t]?.[0] === change[0] ? totals[t++]![1] + change[1] : change[1];
    if (count !== 0) buckets.push([change[0], count]);
  }
  for (; t < totals.length; t++) buckets.push(totals[t]!);
  return buckets;
}

function within(paneMs: number, startMs: number, endMs: number): boolean {
  return paneMs >= startMs && paneMs < endMs;
}

/** A pane without reports. */
function noSketch(paneMs: number): StoredSketch {
  return [paneMs, [], []];
}

function cellsOf([, buckets]: StoredSketch): number {
  return CELLS_A_PANE + 2 * buckets.length;
}
