import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Tx } from '../../platform/postgres.ts';
import { resolutionMinutes } from '../ingest/effects.sql.ts';
import type { PublishedModel, PublishedWindow, WindowName } from '../rules/published.ts';
import { windowSpec } from '../rules/windows.ts';
import type { FirstDifference, PaneDifference } from './result.ts';
import type { ScoreRange } from './score-checksum.sql.ts';

/** A body without how often late data changed it: that is no score, and hangs on the order of reading. */
export function settledBody(column: string): string {
  return `(${column} #- '{windows,1h,revision}' #- '{windows,24h,revision}' #- '{windows,7d,revision}')`;
}

/** Two tables in the shape of `scores`, and where each side's panes are. */
export interface Compared {
  readonly live: string;
  readonly replay: string;
  readonly livePanes: string;
  readonly replayPanes: string;
}

/**
 * The first tick and model of a version that differ, found by halving the range of ticks: each step compares one digest of all rows of a
 * half on both sides. undefined: nothing differs.
 */
export async function firstDifference(
  tx: Tx,
  tables: Compared,
  suiteHash: string,
  range: ScoreRange,
): Promise<FirstDifference | undefined> {
  const ticks = await tx.query<{ tick_ms: bigint }>(
    `select distinct tick_ms from (select tenant, suite, suite_hash, tick_ms, published from ${tables.live}
       union all select tenant, suite, suite_hash, tick_ms, published from ${tables.replay}) s
     where tenant = $1 and suite = $2 and suite_hash = $3 and published and tick_ms between $4 and $5 order by tick_ms`,
    [range.tenant, range.suite, suiteHash, range.fromMs, range.toMs],
  );
  const at = ticks.map((row) => Number(row.tick_ms));
  if (at.length === 0) return undefined;
  let steps = 1;
  if (await isEqual(tx, tables, suiteHash, range, at[0]!, at.at(-1)!)) return undefined;
  // The first that differs is in [low, high].
  let [low, high] = [0, at.length - 1];
  while (low < high) {
    const middle = (low + high) >>> 1;
    steps++;
    if (await isEqual(tx, tables, suiteHash, range, at[low]!, at[middle]!)) low = middle + 1;
    else high = middle;
  }
  return describe(tx, tables, suiteHash, range, at[low]!, steps);
}

async function isEqual(
  tx: Tx,
  { live, replay }: Compared,
  suiteHash: string,
  { tenant, suite }: ScoreRange,
  fromMs: number,
  toMs: number,
): Promise<boolean> {
  const digest = (table: string) => `
    select md5(string_agg(md5(model || ' ' || tick_ms || ' ' || ${settledBody('body')}::text), '' order by tick_ms, model)) from ${table}
    where tenant = $1 and suite = $2 and suite_hash = $3 and published and tick_ms between $4 and $5`;
  const rows = await tx.query<{ equal: boolean }>(
    `select (${digest(live)}) is not distinct from (${digest(replay)}) as equal`,
    [tenant, suite, suiteHash, fromMs, toMs],
  );
  return rows[0]!.equal;
}

async function describe(
  tx: Tx,
  tables: Compared,
  suiteHash: string,
  { tenant, suite }: ScoreRange,
  tickMs: number,
  steps: number,
): Promise<FirstDifference | undefined> {
  const rows = await tx.query<{ model: string; live: PublishedModel | null; replay: PublishedModel | null }>(
    `select model, ${settledBody('l.body')} as live, ${settledBody('r.body')} as replay
     from (select * from ${tables.live} where tenant = $1 and suite = $2 and suite_hash = $3 and tick_ms = $4 and published) l
       full join (select * from ${tables.replay} where tenant = $1 and suite = $2 and suite_hash = $3 and tick_ms = $4 and published) r using (model)
     where ${settledBody('l.body')} is distinct from ${settledBody('r.body')} order by model limit 1`,
    [tenant, suite, suiteHash, tickMs],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  const found = whereDiffers(row.live, row.replay);
  const pane =
    found.window === null
      ? null
      : await firstPane(
          tx,
          tables,
          { tenant, suiteHash, model: row.model, window: found.window, metric: found.metric },
          found.bounds!,
        );
  const { bounds: _, ...where } = found;
  return { suite, suiteHash, tick: formatRfc3339(tickMs), model: row.model, ...where, pane, steps };
}

interface Where {
  readonly window: WindowName | null;
  readonly metric: string | null;
  readonly live: unknown;
  readonly replay: unknown;
  readonly bounds: PublishedWindow | null;
}

/** The narrowest part in which the two differ: a metric of a window, a window, or the whole. */
function whereDiffers(live: PublishedModel | null, replay: PublishedModel | null): Where {
  const whole = { window: null, metric: null, live: standing(live), replay: standing(replay), bounds: null };
  if (live === null || replay === null) return whole;
  for (const name of ['1h', '24h', '7d'] as const) {
    const [one, other] = [live.windows[name], replay.windows[name]];
    if (JSON.stringify(one) === JSON.stringify(other)) continue;
    const bounds = one ?? other ?? null;
    if (one === undefined || other === undefined)
      return { window: name, metric: null, live: one ?? null, replay: other ?? null, bounds };
    for (const metric of Object.keys(one.metrics)) {
      const [a, b] = [one.metrics[metric], other.metrics[metric]];
      if (JSON.stringify(a) !== JSON.stringify(b)) return { window: name, metric, live: a, replay: b, bounds };
    }
    const { metrics: _a, ...a } = one;
    const { metrics: _b, ...b } = other;
    return { window: name, metric: null, live: a, replay: b, bounds };
  }
  return whole;
}

function standing(model: PublishedModel | null): unknown {
  if (model === null) return null;
  const { rank, status, composite, lower, upper } = model;
  return { rank, status, composite, lower, upper };
}

async function firstPane(
  tx: Tx,
  { livePanes, replayPanes }: Compared,
  of: {
    readonly tenant: string;
    readonly suiteHash: string;
    readonly model: string;
    readonly window: WindowName;
    readonly metric: string | null;
  },
  bounds: PublishedWindow,
): Promise<PaneDifference | null> {
  const minutes = resolutionMinutes(windowSpec(of.window).resolution);
  const panes = (schema: string) => `
    select p.start_ms, p.n, (p.n, p.weight, p.sum_wq, p.sum_wq2, p.q_min, p.q_max)::text as sums
    from ${schema}panes p join ${schema}series s using (series_id)
    where s.tenant = $1 and s.suite_hash = $2 and s.model = $3 and s.metric = $4 and p.resolution = $5 and p.start_ms >= $6 and p.start_ms < $7`;
  const rows = await tx.query<{ start_ms: bigint; live: bigint | null; replay: bigint | null }>(
    `select start_ms, l.n as live, r.n as replay from (${panes(livePanes)}) l full join (${panes(replayPanes)}) r using (start_ms)
     where l.sums is distinct from r.sums order by start_ms limit 1`,
    [of.tenant, of.suiteHash, of.model, of.metric ?? '', minutes, Date.parse(bounds.start), Date.parse(bounds.end)],
  );
  const row = rows[0];
  if (row === undefined) return null;
  const count = (n: bigint | null) => (n === null ? null : Number(n));
  return { minutes, start: formatRfc3339(Number(row.start_ms)), live: count(row.live), replay: count(row.replay) };
}
