import type { Bucket } from '../rules/pane.ts';

/** One pane's sketch as the database has it: bucket indexes, ascending, and their counts. */
export type StoredSketch = readonly [startMs: number, buckets: readonly number[], counts: readonly number[]];

/** The changed sketches of one metric in one window. */
export type ReadSketches = readonly [place: number, metric: string, list: readonly StoredSketch[]];

/** Of a pane that is held, beside two numbers a bucket. */
const CELLS_A_PANE = 10;

/**
 * The sketches of a model's panes, as of the last read. A commit of the consumer changes few of them: the next read brings those
 * that were written since, and whole windows are added up here. A pane is replaced, never added to, so that reading one again
 * does no harm.
 */
export class SketchBook {
  /**
   * The oldest transaction that still ran at the last read: what any later read sees beyond it was written by this transaction or a
   * newer one. null: nothing was read yet.
   */
  horizon: string | null = null;
  cells = 0;
  readonly #sketches = new Map<string, Map<number, StoredSketch>>();

  take(read: readonly ReadSketches[], horizon: string): void {
    for (const [place, metric, list] of read) {
      const panes = this.#at(place, metric);
      for (const sketch of list) {
        this.#forget(panes, sketch[0]);
        panes.set(sketch[0], sketch);
        this.cells += cellsOf(sketch);
      }
    }
    this.horizon = horizon;
  }

  /** The buckets of one metric in a window, ascending, with how many reports they hold. Panes before the window are let go. */
  window(place: number, metric: string, startMs: number, endMs: number): { buckets: readonly Bucket[]; n: number } {
    const panes = this.#at(place, metric);
    const counts = new Map<number, number>();
    let n = 0;
    for (const [paneMs, [, indexes, list]] of panes) {
      if (paneMs < startMs) this.#forget(panes, paneMs);
      if (paneMs < startMs || paneMs >= endMs) continue;
      for (let i = 0; i < indexes.length; i++) {
        const index = indexes[i]!;
        const count = list[i]!;
        counts.set(index, (counts.get(index) ?? 0) + count);
        n += count;
      }
    }
    return { buckets: Array.from(counts).sort((a, b) => a[0] - b[0]), n };
  }

  #at(place: number, metric: string): Map<number, StoredSketch> {
    const key = `${place} ${metric}`;
    let panes = this.#sketches.get(key);
    if (panes === undefined) {
      panes = new Map();
      this.#sketches.set(key, panes);
    }
    return panes;
  }

  #forget(panes: Map<number, StoredSketch>, startMs: number): void {
    const held = panes.get(startMs);
    if (held === undefined) return;
    panes.delete(startMs);
    this.cells -= cellsOf(held);
  }
}

function cellsOf([, buckets]: StoredSketch): number {
  return CELLS_A_PANE + 2 * buckets.length;
}
