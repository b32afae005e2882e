import { setImmediate as breathe } from 'node:timers/promises';
import type { Suite } from '../../core/suite.ts';
import { ANY_METRIC, RESOLUTION_MS, RESOLUTIONS } from '../rules/pane.ts';
import { newestBefore } from '../rules/rollout.ts';
import { MAX_SKEW_MS } from '../rules/watermark.ts';
import type { ShardRules } from './messages.ts';
import { SUM_LIMBS, wideAt } from './pane-deltas.ts';
import { type PaneFile, ROWS_AT_ONCE } from './pane-file.ts';

/** What a share of a history can have counted, beyond what any pane can be (sums-bounds.ts). */

const HOUR_MS = RESOLUTION_MS['1h'];
const HOURS = RESOLUTIONS.indexOf('1h');

interface HistoryBounds extends Pick<ShardRules, 'keptFrom' | 'onTimeFromMs'> {
  /** The version. */
  readonly suite: Suite;
  /** The version's first complete tick: its longest window begins behind all that was read before the version. */
  readonly completeTickMs: number | null;
}

/** Lets others go on meanwhile. undefined: none of it is beyond them. */
export async function shareProblem(file: PaneFile, bounds: HistoryBounds): Promise<string | undefined> {
  const { panes, head } = file;
  const newestMs = bounds.completeTickMs === null ? 0 : newestBefore(bounds.suite, bounds.completeTickMs);
  const untilMs = newestMs + MAX_SKEW_MS;
  const names = panes.series.map(named);
  const reports = new Map<string, number>();
  let counted = 0;
  const widths = new Widths(bounds.keptFrom['1m']);
  for (let row = 0; row < panes.n.length; row++) {
    if (row % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) await breathe();
    const { model, metric } = names[panes.seriesOf[row]!]!;
    const [startMs, n, resolution] = [panes.startMs[row]!, panes.n[row]!, panes.resolution[row]!];
    if (startMs > untilMs) return `has a pane of ${instant(startMs)}, after what the version began at`;
    if (startMs + RESOLUTION_MS[RESOLUTIONS[resolution]!] <= (bounds.onTimeFromMs ?? Number.NEGATIVE_INFINITY))
      return `has a pane of ${instant(startMs)}, before what is filled in`;
    if (!widths.take(file, row)) return 'has widths of panes that tell different sums';
    if (resolution !== HOURS || metric !== ANY_METRIC) continue;
    reports.set(`${model} ${startMs}`, n);
    counted += n;
  }
  if (!widths.end()) return 'has widths of panes that tell different sums';
  if (counted > head.counts.counted)
    return `has ${counted} reports in its panes, and says it counted ${head.counts.counted}`;
  for (let row = 0; row < panes.n.length; row++) {
    if (row % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) await breathe();
    if (panes.resolution[row] !== HOURS) continue;
    const { model } = names[panes.seriesOf[row]!]!;
    if (panes.n[row]! > (reports.get(`${model} ${panes.startMs[row]}`) ?? 0))
      return 'has more values of a metric than reports';
  }
  return undefined;
}

/** Models that a share has panes of. */
export function modelsOf({ panes }: PaneFile): readonly string[] {
  return [...new Set(panes.series.map((name) => named(name).model))];
}

function named(series: string): { readonly model: string; readonly metric: string } {
  const space = series.indexOf(' ');
  return { model: series.slice(0, space), metric: series.slice(space + 1) };
}

function instant(atMs: number): string {
  return Number.isNaN(new Date(atMs).getTime()) ? String(atMs) : new Date(atMs).toISOString();
}

/** Of a series, hour by hour, what each width sums to: all the same in hours that all widths are kept of. Rows come in the order of the file. */
class Widths {
  readonly #fromMs: number;
  #series = -1;
  #hours = new Map<number, bigint[]>();

  constructor(fromMs: number) {
    this.#fromMs = fromMs;
  }

  take({ panes }: PaneFile, row: number): boolean {
    const series = panes.seriesOf[row]!;
    const fits = series === this.#series || this.end();
    this.#series = series;
    const hour = Math.floor(panes.startMs[row]! / HOUR_MS);
    if (hour * HOUR_MS < this.#fromMs) return fits;
    let sums = this.#hours.get(hour);
    if (sums === undefined) {
      sums = Array.from({ length: RESOLUTIONS.length * SUMS }, () => 0n);
      this.#hours.set(hour, sums);
    }
    const at = panes.resolution[row]! * SUMS;
    sums[at]! += BigInt(panes.n[row]!);
    for (let sum = 1; sum < SUMS; sum++) sums[at + sum]! += wideAt(panes.sums, row * SUM_LIMBS + (sum - 1) * 2);
    return fits;
  }

  /** Do those of the series so far tell the same? */
  end(): boolean {
    const hours = [...this.#hours.values()];
    this.#hours.clear();
    return hours.every((sums) => sums.every((sum, i) => sum === sums[i % SUMS]));
  }
}

/** n, Σw, Σwq, Σwq². */
const SUMS = 4;
