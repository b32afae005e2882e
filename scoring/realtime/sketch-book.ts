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

/** One metric in one window: its panes, and what those within the window add up to. */
class Page {
  n = 0;
  cells = 0;
  #startMs = 0;
  #endMs = 0;
  readonly #panes = new Map<number, StoredSketch>();
  readonly #totals = new Map<number, number>();
  #sorted: readonly Bucket[] | undefined;

  replace(sketch: StoredSketch): void {
    this.#forget(sketch[0]);
    this.#panes.set(sketch[0], sketch);
    this.cells += cellsOf(sketch);
    this.#add(sketch, 1);
  }

  turnTo(startMs: number, endMs: number): void {
    if (startMs === this.#startMs && endMs === this.#endMs) return;
    for (const paneMs of this.#panes.keys()) if (paneMs < startMs) this.#forget(paneMs);
    this.#startMs = startMs;
    this.#endMs = endMs;
    this.#totals.clear();
    this.#sorted = undefined;
    this.n = 0;
    for (const sketch of this.#panes.values()) this.#add(sketch, 1);
  }

  buckets(): readonly Bucket[] {
    this.#sorted ??= Array.from(this.#totals).sort((a, b) => a[0] - b[0]);
    return this.#sorted;
  }

  #forget(paneMs: number): void {
    const held = this.#panes.get(paneMs);
    if (held === undefined) return;
    this.#panes.delete(paneMs);
    this.cells -= cellsOf(held);
    this.#add(held, -1);
  }

  /** Into the window's totals, or out of them, where the pane lies within. */
  #add([paneMs, indexes, counts]: StoredSketch, sign: 1 | -1): void {
    if (paneMs < this.#startMs || paneMs >= this.#endMs) return;
    this.#sorted = undefined;
    for (const [i, index] of indexes.entries()) {
      const count = sign * counts[i]!;
      const total = (this.#totals.get(index) ?? 0) + count;
      if (total === 0) this.#totals.delete(index);
      else this.#totals.set(index, total);
      this.n += count;
    }
  }
}

function cellsOf([, buckets]: StoredSketch): number {
  return CELLS_A_PANE + 2 * buckets.length;
}
