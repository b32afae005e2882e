import type { PaneDeltas } from '../ingest/pane-deltas.ts';
import { BoundedCache } from './bounded-cache.ts';

/** Kept over all tenants of a process: so many transactions … */
const MAX_COMMITS = 1_024;
/** … and so many numbers of theirs, about 16 MiB. */
const MAX_COMMIT_CELLS = 2_000_000;
/** Of a row, beside two numbers a bucket. */
const CELLS_A_ROW = 12;
/** Beyond it the windows are read: adding up as many costs as much. */
const MAX_STEPS = 64;

/** What a transaction of the consumer in this process adds to the panes of a suite's version, and to nothing else that live windows are made of. */
export interface PaneCommit {
  readonly tenant: string;
  readonly suiteHash: string;
  /** The suite's state before it and after, as stateVersion names them. */
  readonly from: string;
  readonly to: string;
  readonly panes: readonly PaneDeltas[];
}

/** One row of the deltas. */
export interface PaneRow {
  readonly deltas: PaneDeltas;
  readonly row: number;
}

export interface ModelName {
  readonly tenant: string;
  readonly suiteHash: string;
  readonly model: string;
}

interface Noted {
  readonly to: string;
  readonly panes: readonly PaneDeltas[];
  /** Made when it is first asked for. */
  byModel: ReadonlyMap<string, readonly PaneRow[]> | undefined;
}

/**
 * The last commits of the consumer in this process, each under the state that it began from. They are noted before they commit: the state that an
 * aborted one leads to is never seen, and what begins from the same state later takes its place.
 */
export class RecentCommits {
  readonly #commits = new BoundedCache<Noted>(MAX_COMMITS, MAX_COMMIT_CELLS);

  note({ tenant, suiteHash, from, to, panes }: PaneCommit): void {
    this.#commits.set(keyOf(tenant, suiteHash, from), { to, panes, byModel: undefined }, cellsOf(panes));
  }

  /** What was added to a model from one state to the other; undefined where not all of it is known. */
  between({ tenant, suiteHash, model }: ModelName, from: string, to: string): readonly PaneRow[] | undefined {
    const found: (readonly PaneRow[])[] = [];
    let at = from;
    for (let steps = 0; at !== to; steps++) {
      const noted = steps < MAX_STEPS ? this.#commits.get(keyOf(tenant, suiteHash, at)) : undefined;
      if (noted === undefined) return undefined;
      noted.byModel ??= rowsByModel(noted.panes);
      found.push(noted.byModel.get(model) ?? []);
      at = noted.to;
    }
    return found.flat();
  }
}

function keyOf(tenant: string, suiteHash: string, state: string): string {
  return `${tenant} ${suiteHash} ${state}`;
}

function cellsOf(panes: readonly PaneDeltas[]): number {
  return panes.reduce((cells, { rows, bucketIndex }) => cells + rows * CELLS_A_ROW + bucketIndex.length * 2, 0);
}

function rowsByModel(panes: readonly PaneDeltas[]): ReadonlyMap<string, readonly PaneRow[]> {
  const byModel = new Map<string, PaneRow[]>();
  for (const deltas of panes) {
    for (let row = 0; row < deltas.rows; row++) {
      const { model } = deltas.series[deltas.seriesOf[row]!]!;
      const rows = byModel.get(model);
      if (rows === undefined) byModel.set(model, [{ deltas, row }]);
      else rows.push({ deltas, row });
    }
  }
  return byModel;
}
