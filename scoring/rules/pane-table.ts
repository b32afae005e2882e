import { Accumulator } from './accumulator.ts';
import type { Contribution } from './contribution.ts';
import { ANY_METRIC, type Pane, paneStartMs, RESOLUTIONS, type Resolution } from './pane.ts';

/**
 * The panes that a batch of accepted reports of one suite touches: three resolutions of each series. `rows()` are deltas
 * to be added to what is stored, sorted by key so that every writer locks rows in one order.
 */
export class PaneTable {
  readonly #suiteHash: string;
  readonly #panes = new Map<string, { readonly key: Omit<Pane, 'sums'>; readonly sums: Accumulator }>();

  constructor(suiteHash: string) {
    this.#suiteHash = suiteHash;
  }

  get size(): number {
    return this.#panes.size;
  }

  add(contribution: Contribution): void {
    const { model, observedAtMs, w } = contribution;
    for (const resolution of RESOLUTIONS) {
      this.#at(model, ANY_METRIC, resolution, observedAtMs).count(w);
      for (const metric of contribution.metrics) {
        this.#at(model, metric.rule.name, resolution, observedAtMs).add(metric, w);
      }
    }
  }

  merge(pane: Pane): void {
    this.#at(pane.model, pane.metric, pane.resolution, pane.paneStartMs).merge(pane.sums);
  }

  #at(model: string, metric: string, resolution: Resolution, atMs: number): Accumulator {
    const startMs = paneStartMs(resolution, atMs);
    const id = `${model} ${metric} ${resolution} ${startMs}`;
    let pane = this.#panes.get(id);
    if (pane === undefined) {
      const key = { suiteHash: this.#suiteHash, model, metric, resolution, paneStartMs: startMs };
      pane = { key, sums: new Accumulator() };
      this.#panes.set(id, pane);
    }
    return pane.sums;
  }

  /** By model, metric, resolution and start. */
  rows(): Pane[] {
    const rows = Array.from(this.#panes.values(), ({ key, sums }) => ({ ...key, sums: sums.toSums() }));
    return rows.sort(comparePanes);
  }
}

function comparePanes(a: Pane, b: Pane): number {
  return (
    compareText(a.model, b.model) ||
    compareText(a.metric, b.metric) ||
    RESOLUTIONS.indexOf(a.resolution) - RESOLUTIONS.indexOf(b.resolution) ||
    a.paneStartMs - b.paneStartMs
  );
}

/** By code point; names are ASCII, where code units are code points. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
