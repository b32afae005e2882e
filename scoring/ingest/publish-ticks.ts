import { canonicalText } from '../../core/canonical.ts';
import type { Suite } from '../../core/suite.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Lane } from '../rollout/suite-lanes.ts';
import type { PublishedModel, PublishedWindow, WindowName } from '../rules/published.ts';
import { scoreModels } from '../rules/score-models.ts';
import { tickAt } from '../rules/watermark.ts';
import type { SuiteState } from './suite-state.sql.ts';
import { loadWindowSums } from './window-sums.sql.ts';

/** Ticks scored in one transaction; what is left follows in the next ones, before another line is read. */
export const MAX_TICKS_PER_TRANSACTION = 64;

export interface PublishedTicks {
  readonly state: SuiteState;
  /** Final ticks or late ones are still unpublished. */
  readonly more: boolean;
  /** Ticks whose values late data changed. */
  readonly changedTicks: readonly number[];
  /** Scored (model, tick) pairs. */
  readonly scored: number;
}

/**
 * Publishes ticks that late data touched, then final ones, at most MAX_TICKS_PER_TRANSACTION of both. `state` is not saved here.
 * Where two versions are kept both score every model; the one that decides for a model publishes.
 */
export async function publishTicks(tx: Tx, lane: Lane, traceId: string): Promise<PublishedTicks> {
  const { state } = lane;
  const { watermarkMs, scoredTickMs } = state;
  if (watermarkMs === null || scoredTickMs === null) return { state, more: false, changedTicks: [], scored: 0 };
  const late = await takeRescore(tx, state);
  const again = await publish(tx, lane, late.ticks, traceId);
  const target = tickAt(watermarkMs, state.suite.tickMs);
  const room = MAX_TICKS_PER_TRANSACTION - late.ticks.length;
  const fresh = await nextTicks(tx, state, scoredTickMs, target, room);
  const published = await publish(tx, lane, fresh.ticks, traceId);
  return {
    state: { ...state, scoredTickMs: fresh.reachedMs },
    more: late.more || fresh.reachedMs < target,
    changedTicks: again.changed,
    scored: again.scored + published.scored,
  };
}

async function takeRescore(
  tx: Tx,
  state: SuiteState,
): Promise<{ readonly ticks: readonly number[]; readonly more: boolean }> {
  const key = [state.tenant, state.suite.name, state.suite.hash];
  const rows = await tx.query<{ from_ms: bigint; to_ms: bigint }>(
    'select from_ms, to_ms from rescore_ranges where tenant = $1 and suite = $2 and suite_hash = $3',
    key,
  );
  const row = rows[0];
  if (row === undefined) return { ticks: [], more: false };
  const ticks: number[] = [];
  const toMs = Number(row.to_ms);
  let tick = Number(row.from_ms);
  for (; tick <= toMs && ticks.length < MAX_TICKS_PER_TRANSACTION; tick += state.suite.tickMs) ticks.push(tick);
  const here = 'where tenant = $1 and suite = $2 and suite_hash = $3';
  if (tick > toMs) await tx.execute(`delete from rescore_ranges ${here}`, key);
  else await tx.execute(`update rescore_ranges set from_ms = $4 ${here}`, [...key, tick]);
  return { ticks, more: tick <= toMs };
}

export async function addRescore(
  tx: Tx,
  tenant: string,
  suite: Suite,
  range: { readonly fromMs: number; readonly toMs: number },
): Promise<void> {
  await tx.execute(
    `insert into rescore_ranges (tenant, suite, suite_hash, from_ms, to_ms) values ($1, $2, $3, $4, $5)
     on conflict (tenant, suite, suite_hash) do update set from_ms = least(rescore_ranges.from_ms, excluded.from_ms), to_ms = greatest(rescore_ranges.to_ms, excluded.to_ms)`,
    [tenant, suite.name, suite.hash, range.fromMs, range.toMs],
  );
}

/** The next ticks after `fromMs`, or none and a jump over the stretch that no window's panes reach. */
async function nextTicks(
  tx: Tx,
  state: SuiteState,
  fromMs: number,
  targetMs: number,
  room: number,
): Promise<{ readonly ticks: readonly number[]; readonly reachedMs: number }> {
  const { tickMs } = state.suite;
  if (room <= 0 || fromMs >= targetMs) return { ticks: [], reachedMs: fromMs };
  const lastMs = Math.min(targetMs, fromMs + room * tickMs);
  const rows = await tx.query<{ before: boolean; next_ms: bigint | null }>(
    `select coalesce(bool_or(start_ms < $3 and start_ms >= $4), false) as before, min(start_ms) filter (where start_ms >= $3) as next_ms
     from panes where resolution = 60 and series_id in (select series_id from series where tenant = $1 and suite_hash = $2 and metric = '')`,
    [state.tenant, state.suite.hash, lastMs, fromMs - LOOK_BACK_MS],
  );
  if (rows[0]?.before === true) {
    const ticks: number[] = [];
    for (let tick = fromMs + tickMs; tick <= lastMs; tick += tickMs) ticks.push(tick);
    return { ticks, reachedMs: lastMs };
  }
  // Event time may jump by years: nothing is in any window until the next pane begins.
  const nextMs = rows[0]?.next_ms ?? null;
  const reachedMs = nextMs === null ? targetMs : Math.min(targetMs, Math.max(lastMs, tickAt(Number(nextMs), tickMs)));
  return { ticks: [], reachedMs };
}

/** The longest window, the hour its end is rounded to, and the hour of the pane. */
const LOOK_BACK_MS = (7 * 24 + 2) * 3_600_000;

async function publish(
  tx: Tx,
  lane: Lane,
  ticks: readonly number[],
  traceId: string,
): Promise<{ readonly changed: readonly number[]; readonly scored: number }> {
  if (ticks.length === 0) return { changed: [], scored: 0 };
  const { state } = lane;
  const { tenant, suite } = state;
  const sums = await loadWindowSums(tx, tenant, suite, ticks);
  const before = await loadPublished(tx, state, ticks);
  const rows: ScoreRow[] = [];
  const changed: number[] = [];
  let scored = 0;
  for (const tickMs of ticks) {
    const models = scoreModels({ suite, atMs: tickMs, models: sums.get(tickMs) ?? [] });
    scored += models.length;
    const updated = models
      .map((model) => revised(model, before.get(`${model.model} ${tickMs}`)))
      .filter((row) => row !== undefined);
    if (updated.length > 0) changed.push(tickMs);
    rows.push(...updated.map((row) => ({ ...row, tickMs })));
  }
  await savePublished(tx, lane, rows, traceId);
  return { changed, scored };
}

interface ScoreRow {
  readonly tickMs: number;
  readonly model: PublishedModel;
  readonly revision: number;
}

interface PublishedBefore {
  readonly model: PublishedModel;
  readonly revision: number;
}

/** The row to write, its revisions one higher where late data changed it; undefined where nothing changed. */
function revised(model: PublishedModel, before: PublishedBefore | undefined): Omit<ScoreRow, 'tickMs'> | undefined {
  if (before === undefined) return { model, revision: 0 };
  const windows: { [name in WindowName]?: PublishedWindow } = {};
  for (const [name, window] of Object.entries(model.windows) as [WindowName, PublishedWindow][]) {
    const old = before.model.windows[name];
    const same =
      old !== undefined && canonicalText({ ...old, revision: 0 }) === canonicalText({ ...window, revision: 0 });
    windows[name] = { ...window, revision: old === undefined ? 0 : same ? old.revision : old.revision + 1 };
  }
  const next = { ...model, windows };
  if (canonicalText(next) === canonicalText(before.model)) return undefined;
  return { model: next, revision: before.revision + 1 };
}

async function loadPublished(
  tx: Tx,
  state: SuiteState,
  ticks: readonly number[],
): Promise<ReadonlyMap<string, PublishedBefore>> {
  const rows = await tx.query<{ model: string; tick_ms: bigint; revision: number; body: PublishedModel }>(
    `select model, tick_ms, revision, body from scores where tenant = $1 and suite = $2 and suite_hash = $3 and tick_ms = any($4::bigint[])`,
    [state.tenant, state.suite.name, state.suite.hash, ticks],
  );
  return new Map(rows.map((row) => [`${row.model} ${row.tick_ms}`, { model: row.body, revision: row.revision }]));
}

/**
 * Whether a row counts as published is settled when it is first written: a share that changes later rewrites no history. The
 * second look is for ticks that late data makes a model appear at, which another version may have published for it already.
 */
async function savePublished(tx: Tx, lane: Lane, rows: readonly ScoreRow[], traceId: string): Promise<void> {
  if (rows.length === 0) return;
  const { state, decidesFor } = lane;
  await tx.execute(
    `insert into scores (tenant, suite, suite_hash, model, tick_ms, status, rank, composite, lower, upper, revision, body, trace_id, published)
     select $1, $2, $3, a.model, a.tick_ms, a.status, a.rank, a.composite, a.lower, a.upper, a.revision, a.body::jsonb, $4,
       a.decides and ($15 or not exists (select 1 from scores o where o.tenant = $1 and o.suite = $2 and o.suite_hash <> $3
                                           and o.model = a.model and o.tick_ms = a.tick_ms and o.published))
     from unnest($5::text[], $6::bigint[], $7::text[], $8::integer[], $9::float8[], $10::float8[], $11::float8[], $12::integer[], $13::text[], $14::boolean[])
       as a (model, tick_ms, status, rank, composite, lower, upper, revision, body, decides)
     order by a.tick_ms, a.model
     on conflict (tenant, suite, suite_hash, model, tick_ms) do update set status = excluded.status, rank = excluded.rank,
       composite = excluded.composite, lower = excluded.lower, upper = excluded.upper, revision = excluded.revision, body = excluded.body,
       trace_id = excluded.trace_id, emitted_at = clock_timestamp()`,
    [
      state.tenant,
      state.suite.name,
      state.suite.hash,
      traceId,
      rows.map((row) => row.model.model),
      rows.map((row) => row.tickMs),
      rows.map((row) => row.model.status),
      rows.map((row) => row.model.rank),
      rows.map((row) => row.model.composite),
      rows.map((row) => row.model.lower),
      rows.map((row) => row.model.upper),
      rows.map((row) => row.revision),
      rows.map((row) => JSON.stringify(row.model)),
      rows.map((row) => decidesFor === undefined || decidesFor(row.model.model)),
      decidesFor === undefined,
    ],
  );
}
