import type { PublishedModel } from '../rules/published.ts';
import type { LiveRead } from './live-windows.sql.ts';

/** Live windows held in memory, over all tenants of a process: so many models … */
export const MAX_LIVE_MODELS = 4_096;
/** … and so many numbers of theirs (a sketch bucket counts one, a metric's sums eight): about 64 MiB. */
export const MAX_LIVE_CELLS = 1_000_000;
const CELLS_A_SUM = 8;

/** The live windows of one model, and the score that they give without any report more. */
export interface LiveEntry extends LiveRead {
  readonly before: PublishedModel;
}

/** What was used longest ago goes first. */
export class LiveCache {
  readonly #entries = new Map<string, { readonly entry: LiveEntry; readonly cells: number }>();
  readonly #maxModels: number;
  readonly #maxCells: number;
  #cells = 0;

  constructor(maxModels = MAX_LIVE_MODELS, maxCells = MAX_LIVE_CELLS) {
    this.#maxModels = maxModels;
    this.#maxCells = maxCells;
  }

  get size(): number {
    return this.#entries.size;
  }

  get cells(): number {
    return this.#cells;
  }

  get(key: string): LiveEntry | undefined {
    const held = this.#entries.get(key);
    if (held === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, held);
    return held.entry;
  }

  set(key: string, entry: LiveEntry): void {
    this.#drop(key);
    const cells = cellsOf(entry);
    // One that leaves no room for others is not kept: it is read again each time.
    if (cells * 2 > this.#maxCells) return;
    this.#entries.set(key, { entry, cells });
    this.#cells += cells;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#maxModels && this.#cells <= this.#maxCells) return;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    const held = this.#entries.get(key);
    if (held === undefined) return;
    this.#entries.delete(key);
    this.#cells -= held.cells;
  }
}

function cellsOf({ sums, lowers }: LiveEntry): number {
  let cells = CELLS_A_SUM + lowers.length;
  for (const { metrics } of sums.windows.values()) {
    for (const { buckets } of metrics.values()) cells += CELLS_A_SUM + buckets.length;
  }
  return cells;
}
