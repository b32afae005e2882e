import { assert } from '../../core/assert.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { Suite } from '../../core/suite.ts';
import type { TenantReads } from '../../platform/postgres-reads.ts';
import { type LiveWindow, liveInstant, liveWindows } from '../rules/live.ts';
import type { Sums } from '../rules/pane.ts';
import type { PublishedModel, WindowName } from '../rules/published.ts';
import { rankAmong } from '../rules/rank.ts';
import { type ModelSums, scoreModel, type WindowSums } from '../rules/score-models.ts';
import { liveWindowAt } from '../rules/windows.ts';
import { advanceSums } from './advance-sums.ts';
import { BoundedCache } from './bounded-cache.ts';
import { type LiveHead, type LiveKey, type LiveRead, readLive } from './live-windows.sql.ts';
import { RecentCommits } from './recent-commits.ts';
import { SketchBook } from './sketch-book.ts';

/** Live windows held in memory, over all tenants of a process: of so many models … */
export const MAX_LIVE_MODELS = 4_096;
/** … and so many numbers of theirs; about 64 MiB … */
export const MAX_LIVE_CELLS = 1_000_000;
/** … and the sketches of their panes: about 64 MiB too. A model with 8 metrics and a full week has 80,000. */
export const MAX_SKETCH_CELLS = 4_000_000;
const CELLS_A_SUM = 8;

/** The consumer may commit between two reads; after this many it is told that they do not come together. */
const MAX_READS = 5;

/** The live windows of one model at one version of its suite's state. */
export interface LiveEntry {
  readonly head: LiveHead;
  readonly sums: ModelSums;
  /** The lower bounds of the last published board, ascending, and the model's own among them. */
  readonly lowers: Float64Array;
  readonly own: number | null;
  /** The score that they give without any report more. */
  readonly before: PublishedModel;
}

/** In memory as they are, in memory and brought up by what was committed here since, or read from the database. */
export type WindowsFrom = 'held' | 'followed' | 'read';

export interface FoundWindows {
  readonly entry: LiveEntry;
  /** Of the entry's version. */
  readonly head: LiveHead;
  readonly from: WindowsFrom;
}

export interface LiveLimits {
  readonly models: number;
  readonly cells: number;
  readonly sketchCells: number;
}

const LIMITS: LiveLimits = { models: MAX_LIVE_MODELS, cells: MAX_LIVE_CELLS, sketchCells: MAX_SKETCH_CELLS };

/** Finds a model's live windows: in memory where nothing was committed since, or only by the consumer in this process; else with what was. */
export class LiveWindows {
  readonly entries: BoundedCache<LiveEntry>;
  readonly #books: BoundedCache<SketchBook>;
  readonly #reads: TenantReads;
  readonly #recent: RecentCommits;
  /** One read a model at a time: many calls after a commit make one, and a book never goes back. */
  readonly #reading = new Map<string, Promise<unknown>>();

  constructor(reads: TenantReads, recent = new RecentCommits(), limits: LiveLimits = LIMITS) {
    this.#reads = reads;
    this.#recent = recent;
    this.entries = new BoundedCache(limits.models, limits.cells);
    this.#books = new BoundedCache(limits.models, limits.sketchCells);
  }

  /** At the version of `first` or a later one. Throws OperatingError where the suite changes meanwhile. */
  async find(key: LiveKey, suite: Suite, first: LiveHead, observedAtMs: number): Promise<FoundWindows> {
    const id = `${key.tenant} ${suite.hash} ${key.model}`;
    let head = first;
    for (let reads = 0; reads < MAX_READS; ) {
      const windows = liveWindows(suite, liveInstant(head.watermarkMs, observedAtMs));
      const place = placeOf(id, windows);
      const held = this.entries.get(place);
      const entry = held && this.#follow(key, suite, windows, held, head);
      if (entry !== undefined) {
        if (entry !== held) this.entries.set(place, entry, cellsOf(entry));
        const inMemory = entry === held ? 'held' : 'followed';
        return { entry, head, from: reads > 0 ? 'read' : inMemory };
      }
      const underWay = this.#reading.get(id);
      if (underWay !== undefined) {
        await underWay;
        continue;
      }
      reads++;
      const read = await this.#read(id, place, key, suite, windows);
      head = read.head;
      if (head.suiteHash !== suite.hash) break;
      // Where the watermark moved meanwhile the report may fall into later windows.
      const now = liveWindows(suite, liveInstant(head.watermarkMs, observedAtMs));
      if (placeOf(id, now) === place) return { entry: read, head, from: 'read' };
    }
    throw new OperatingError('conflict', 'safe', 'reading live windows', {
      cause: 'the suite changed while its windows were read',
      mend: 'send it again',
    });
  }

  /**
   * What is held where it is of that head, else with what the consumer in this process committed between the two; undefined where others did, or
   * something else than panes changed.
   */
  #follow(
    { tenant, model }: LiveKey,
    suite: Suite,
    windows: readonly LiveWindow[],
    held: LiveEntry,
    head: LiveHead,
  ): LiveEntry | undefined {
    if (isSame(held.head, head)) return held;
    if (held.head.beside !== '' || head.beside !== '') return undefined;
    // The board is of that tick.
    if (held.head.scoredTickMs !== head.scoredTickMs) return undefined;
    const name = { tenant, suiteHash: suite.hash, model };
    const rows = this.#recent.between(name, held.head.state, head.state);
    if (rows === undefined) return undefined;
    if (rows.length === 0) return { ...held, head };
    const sums = advanceSums(held.sums, windows, rows);
    return { ...held, head, sums, before: rankedModel(suite, windows, held, sums) };
  }

  async #read(
    id: string,
    place: string,
    key: LiveKey,
    suite: Suite,
    windows: readonly LiveWindow[],
  ): Promise<LiveEntry> {
    const reading = this.#withSketches(id, key, suite, windows);
    this.#reading.set(
      id,
      reading.catch(() => {}),
    );
    try {
      const { live, sums } = await reading;
      const { head, lowers, own } = live;
      const before = rankedModel(suite, windows, { lowers, own }, sums);
      const entry = { head, sums, lowers, own, before };
      this.entries.set(place, entry, cellsOf(entry));
      return entry;
    } finally {
      this.#reading.delete(id);
    }
  }

  /** What changed since the model's book was last read; all of it where the book does not come to the sums beside it. */
  async #withSketches(
    id: string,
    key: LiveKey,
    suite: Suite,
    windows: readonly LiveWindow[],
  ): Promise<{ readonly live: LiveRead; readonly sums: ModelSums }> {
    let book = this.#books.get(id) ?? new SketchBook();
    for (;;) {
      const since = book.horizon;
      const live = await readLive(this.#reads, key, suite.hash, windows, since);
      book.take(live.sketches, live.horizon);
      const sums = sumsOf(key.model, live, windows, book);
      if (sums !== undefined) {
        this.#books.set(id, book, book.cells);
        return { live, sums };
      }
      assert(since !== null, 'the sketches of a model hold the reports of its panes');
      book = new SketchBook();
    }
  }
}

/** The window sums, or undefined where a sketch holds other reports than its sums: the book missed something. */
function sumsOf(
  model: string,
  live: LiveRead,
  windows: readonly LiveWindow[],
  book: SketchBook,
): ModelSums | undefined {
  const found = new Map<WindowName, WindowSums>();
  for (const { place, any, metrics } of live.windows) {
    const { name, bounds } = windows[place]!;
    const whole = new Map<string, Sums>();
    for (const [metric, sums] of metrics) {
      const { buckets, n } = book.window(place, metric, bounds.startMs, bounds.endMs);
      if (n !== sums.n) return undefined;
      whole.set(metric, { ...sums, buckets });
    }
    found.set(name, { any, metrics: whole, revision: 0 });
  }
  return { model, windows: found };
}

/** The model as a tick would publish it, ranked among the others of the last board. */
export function rankedModel(
  suite: Suite,
  windows: readonly LiveWindow[],
  { lowers, own }: Pick<LiveEntry, 'lowers' | 'own'>,
  sums: ModelSums,
): PublishedModel {
  // Any instant within the last panes of all windows gives their bounds.
  const inside = Math.min(...windows.map(({ bounds }) => bounds.endMs)) - 1;
  const model = scoreModel(suite, inside, sums, liveWindowAt);
  return { ...model, rank: rankAmong(lowers, own, model.upper) };
}

function isSame(a: LiveHead, b: LiveHead): boolean {
  return a.state === b.state && a.beside === b.beside;
}

/** A model's live windows: under which version of the suite, and which ends. */
function placeOf(id: string, windows: readonly LiveWindow[]): string {
  return `${id} ${windows.map(({ bounds }) => bounds.endMs).join(' ')}`;
}

function cellsOf({ sums, lowers }: LiveEntry): number {
  let cells = CELLS_A_SUM + lowers.length;
  for (const { metrics } of sums.windows.values()) {
    for (const { buckets } of metrics.values()) cells += CELLS_A_SUM + buckets.length;
  }
  return cells;
}
