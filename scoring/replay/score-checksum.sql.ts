import { canonicalText } from '../../core/canonical.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import type { Tx } from '../../platform/postgres.ts';
import { RowSpool } from '../backtest/row-spool.ts';
import { compositeRow, SortedRowsHash, windowRows } from '../rules/checksum.ts';
import type { PublishedModel, PublishedWindow, WindowName } from '../rules/published.ts';

/** Rows fetched at once. */
const ROWS_PER_QUERY = 1_000;

export interface ScoreRange {
  readonly tenant: string;
  readonly suite: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * The checksum of the replay proof (b) over the ticks of a range, of all versions of a suite, from a table in the shape of `scores`. Memory
 * does not grow with the rows.
 */
export async function checksumOfScores(
  page: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>,
  table: string,
  versions: ReadonlyMap<string, Suite>,
  range: ScoreRange,
): Promise<string> {
  const hash = new SortedRowsHash();
  for (const suiteHash of [...versions.keys()].sort()) {
    const rows = new VersionRows(versions.get(suiteHash)!);
    try {
      await takeAll(page, table, suiteHash, range, rows);
      for (const row of rows.sorted()) hash.add(row);
    } finally {
      rows.close();
    }
  }
  return hash.hex();
}

async function takeAll(
  page: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>,
  table: string,
  suiteHash: string,
  { tenant, suite, fromMs, toMs }: ScoreRange,
  rows: VersionRows,
): Promise<void> {
  let after: readonly [string, bigint] = ['', -(2n ** 62n)];
  for (;;) {
    const found = await page((tx) =>
      tx.query<{ model: string; tick_ms: bigint; body: PublishedModel }>(
        `select model, tick_ms, body from ${table}
         where tenant = $1 and suite = $2 and suite_hash = $3 and published and tick_ms between $4 and $5 and (model, tick_ms) > ($6, $7)
         order by model, tick_ms limit $8`,
        [tenant, suite, suiteHash, fromMs, toMs, ...after, ROWS_PER_QUERY],
      ),
    );
    for (const { tick_ms: tickMs, body } of found) rows.add(Number(tickMs), body);
    const last = found.at(-1);
    if (last === undefined || found.length < ROWS_PER_QUERY) return;
    after = [last.model, last.tick_ms];
  }
}

/** The rows of one version. They come by model and tick; ticks that share a window share its rows. */
class VersionRows {
  readonly #suite: Suite;
  readonly #spool = new RowSpool();
  readonly #head: string;
  readonly #open = new Map<WindowName, { readonly end: string; readonly rows: Set<string> }>();
  #model = '';

  constructor(suite: Suite) {
    this.#suite = suite;
    this.#head = `${canonicalText([suite.name, suite.hash]).slice(0, -1)},`;
  }

  add(tickMs: number, model: PublishedModel): void {
    if (model.model !== this.#model) this.#closeWindows();
    this.#model = model.model;
    this.#put(null, formatRfc3339(tickMs), compositeRow(this.#suite, tickMs, model));
    for (const [name, window] of Object.entries(model.windows) as [WindowName, PublishedWindow][]) {
      if (this.#open.get(name)?.end !== window.end) this.#closeWindow(name);
      const open = this.#open.get(name) ?? { end: window.end, rows: new Set<string>() };
      this.#open.set(name, open);
      for (const row of windowRows(this.#suite, model.model, name, window)) open.rows.add(row);
    }
  }

  #closeWindows(): void {
    for (const name of [...this.#open.keys()]) this.#closeWindow(name);
  }

  #closeWindow(name: WindowName): void {
    const open = this.#open.get(name);
    if (open === undefined) return;
    this.#open.delete(name);
    for (const row of [...open.rows].sort()) this.#put(name, open.end, row);
  }

  #put(window: WindowName | null, end: string, row: string): void {
    this.#spool.add(this.#model, window, end, row.slice(this.#head.length));
  }

  *sorted(): Generator<string> {
    this.#closeWindows();
    for (const row of this.#spool.rows()) yield this.#head + row;
  }

  close(): void {
    this.#spool.close();
  }
}
