import type { Statement, TenantReads } from '../../platform/postgres-reads.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import { STATE_VERSION } from '../ingest/suite-state.sql.ts';
import { numberOrNull } from '../rollout/rollout-state.sql.ts';
import type { LiveWindow } from '../rules/live.ts';
import { ANY_METRIC, NO_SUMS, type Sums } from '../rules/pane.ts';
import { inShare } from '../rules/rollout.ts';
import { windowSpec } from '../rules/windows.ts';
import type { ReadSketches } from './sketch-book.ts';

/** What one statement sees of a suite and a model, in one snapshot. */
export interface LiveHead {
  /** The version that decides for the model: the active one, or the one kept beside it; null: no such suite. */
  readonly suiteHash: string | null;
  /** null: no report of the suite was ever accepted. */
  readonly watermarkMs: number | null;
  /** Of that version. */
  readonly scoredTickMs: number | null;
  /** Changes with every transaction of the consumer that changes panes or scores of the suite: they write its state row, too. As stateVersion. */
  readonly state: string;
  /** Likewise of a version that is kept beside the active one, and of the shards of a recompute; '' where there is none. */
  readonly beside: string;
  /** undefined: the model is not registered. */
  readonly retired: boolean | undefined;
  /** Partition → [offset of the next message, lines done of it], as committed by the consumer. */
  readonly positions: readonly (readonly [partition: number, offset: string, lines: number])[];
}

/** The exact sums of one model in one live window, without buckets: those are in the sketches. */
export interface ReadWindow {
  /** Which of the windows asked for. */
  readonly place: number;
  readonly any: Sums;
  readonly metrics: ReadonlyMap<string, Sums>;
}

/** The live windows of one model, and the lower bounds of the last published board, in one snapshot. */
export interface LiveRead {
  readonly head: LiveHead;
  readonly windows: readonly ReadWindow[];
  /** Those written since the horizon that was given; all where none was. */
  readonly sketches: readonly ReadSketches[];
  /** The oldest transaction that still runs. */
  readonly horizon: string;
  /** Ascending. */
  readonly lowers: Float64Array;
  /** The model's own among them. */
  readonly own: number | null;
}

/** $1 tenant, $2 suite, $3 model, $4 topic. */
const HEAD_SQL = `
  select s.suite_hash, t.watermark_ms, t.scored_tick_ms,
         o.suite_hash as next_hash, o.share, o.scored_tick_ms as next_scored_ms,
         ${STATE_VERSION} as state,
         concat_ws(' ', o.xmin, (
           select string_agg(concat(c.xmin, c.ctid), ' ' order by c.rollout_id, c.topic, c.partition)
           from recomputes c join suite_rollouts r using (rollout_id)
           where r.tenant = $1 and r.suite = $2 and c.finished_at is null)) as beside,
         v.version is not null as known, v.retired_at is not null as retired,
         (select json_agg(json_build_array(partition, next_offset::text, next_line) order by partition)
          from consumer_offsets where topic = $4) as positions
  from (select) one
    left join suites s on s.tenant = $1 and s.suite = $2 and s.active
    left join suite_states t on t.tenant = $1 and t.suite = $2
    left join rollout_states o on o.tenant = $1 and o.suite = $2 and not o.ended
    left join model_versions v on v.tenant = $1 and v.version = $3`;

/**
 * $5 the suite's version; $6 to $9 its windows: place, resolution, start and end; $10 the horizon since which sketches are wanted, or
 * null. Everything in one statement, so in one snapshot: watermark, sums, sketches and board belong together whatever is committed
 * meanwhile. A pane's sketch is written with the pane, so only the panes are looked through. The tenant is named at panes and
 * sketches, although their series are its own: row-level security then compares texts, where it would ask for the setting at each of
 * some thousand rows.
 */
const LIVE_SQL = `
  with w as (select * from unnest($6::integer[], $7::smallint[], $8::bigint[], $9::bigint[]) as w (place, resolution, from_ms, to_ms)),
       s as (select series_id, metric from series where tenant = $1 and suite_hash = $5 and model = $3),
       h as (select h.*, case when h.next_hash = $5 then h.next_scored_ms else h.scored_tick_ms end as tick_ms from (${HEAD_SQL}) h),
       p as (select w.place, w.resolution, s.series_id, s.metric, a.*
             from w cross join s cross join lateral (
               select sum(n)::bigint as n, sum(weight) as weight, sum(sum_wq) as wq, sum(sum_wq2) as wq2, min(q_min) as q_min, max(q_max) as q_max,
                      array_agg(start_ms) filter (where $10::xid is null or age(xmin) <= age($10::xid)) as changed
               from panes where tenant = $1 and series_id = s.series_id and resolution = w.resolution
                 and start_ms >= w.from_ms and start_ms < w.to_ms) a
             where a.n > 0)
  select h.*, pg_snapshot_xmin(pg_current_snapshot())::xid::text as horizon,
    (select json_agg(json_build_array(place, metric, n, weight::text, wq::text, wq2::text, q_min, q_max)) from p) as sums,
    (select json_agg(json_build_array(p.place, p.metric, k.list))
     from p cross join lateral (
       select json_agg(json_build_array(start_ms, buckets, counts)) as list from pane_sketches
       where tenant = $1 and series_id = p.series_id and resolution = p.resolution and start_ms = any(p.changed)) k
     where p.metric <> '' and k.list is not null) as sketches,
    (select array_agg(c.lower order by c.lower) from scores c
     where c.tenant = $1 and c.suite = $2 and c.suite_hash = $5 and c.tick_ms = h.tick_ms and c.lower is not null) as lowers,
    (select c.lower from scores c
     where c.tenant = $1 and c.suite = $2 and c.suite_hash = $5 and c.tick_ms = h.tick_ms and c.model = $3) as own
  from h`;

const HEAD: Statement = { name: 'live-head', text: HEAD_SQL };
const LIVE: Statement = { name: 'live-windows', text: LIVE_SQL, isLong: true };

interface HeadRow {
  readonly suite_hash: string | null;
  readonly watermark_ms: bigint | null;
  readonly scored_tick_ms: bigint | null;
  readonly next_hash: string | null;
  /** Per cent of the models that the version beside the active one decides for. */
  readonly share: number | null;
  readonly next_scored_ms: bigint | null;
  readonly state: string;
  readonly beside: string;
  readonly known: boolean;
  readonly retired: boolean;
  readonly positions: LiveHead['positions'] | null;
}

interface LiveRow extends HeadRow {
  readonly sums: readonly SumsRow[] | null;
  readonly sketches: readonly ReadSketches[] | null;
  readonly horizon: string;
  readonly lowers: readonly number[] | null;
  readonly own: number | null;
}

type SumsRow = readonly [
  place: number,
  metric: string,
  n: number,
  weight: string,
  sumWq: string,
  sumWq2: string,
  min: number,
  max: number,
];

export interface LiveKey {
  readonly tenant: string;
  readonly suite: string;
  readonly model: string;
}

/** One small statement: what decides whether windows in memory are still those of the database. */
export async function readHead(reads: TenantReads, key: LiveKey): Promise<LiveHead> {
  const { tenant, suite, model } = key;
  const rows = await reads.read<HeadRow>(tenant, HEAD, [tenant, suite, model, REPORTS_TOPIC]);
  return headOf(key, rows[0]!);
}

export async function readLive(
  reads: TenantReads,
  key: LiveKey,
  suiteHash: string,
  windows: readonly LiveWindow[],
  since: string | null,
): Promise<LiveRead> {
  const { tenant, suite, model } = key;
  const rows = await reads.read<LiveRow>(tenant, LIVE, [
    tenant,
    suite,
    model,
    REPORTS_TOPIC,
    suiteHash,
    windows.map((_, i) => i),
    windows.map(({ name }) => windowSpec(name).stepMs / MINUTE_MS),
    windows.map(({ bounds }) => bounds.startMs),
    windows.map(({ bounds }) => bounds.endMs),
    since,
  ]);
  const row = rows[0]!;
  return {
    head: headOf(key, row),
    windows: windowsOf(row.sums ?? []),
    sketches: row.sketches ?? [],
    horizon: row.horizon,
    lowers: Float64Array.from(row.lowers ?? []),
    own: row.own,
  };
}

const DOCUMENT: Statement = {
  name: 'live-suite',
  text: 'select document from suites where tenant = $1 and suite = $2 and suite_hash = $3',
};

/** Versions never go, so one that was named a moment ago is there. */
export async function readSuiteDocument(
  reads: TenantReads,
  tenant: string,
  suite: string,
  hash: string,
): Promise<unknown> {
  const rows = await reads.read<{ document: unknown }>(tenant, DOCUMENT, [tenant, suite, hash]);
  return rows[0]?.document;
}

/** `panes.resolution` is in minutes; a window's step is the resolution of its panes. */
const MINUTE_MS = 60_000;

function headOf({ suite, model }: LiveKey, row: HeadRow): LiveHead {
  const isNext = row.share !== null && inShare(suite, model, row.share);
  return {
    suiteHash: isNext ? row.next_hash : row.suite_hash,
    watermarkMs: numberOrNull(row.watermark_ms),
    scoredTickMs: numberOrNull(isNext ? row.next_scored_ms : row.scored_tick_ms),
    state: row.state,
    beside: row.beside,
    retired: row.known ? row.retired : undefined,
    positions: row.positions ?? [],
  };
}

function windowsOf(rows: readonly SumsRow[]): readonly ReadWindow[] {
  const found = new Map<number, { any: Sums; readonly metrics: Map<string, Sums> }>();
  for (const [place, metric, n, weight, sumWq, sumWq2, min, max] of rows) {
    const window = found.get(place) ?? { any: NO_SUMS, metrics: new Map<string, Sums>() };
    found.set(place, window);
    const exact = { weight: BigInt(weight), sumWq: BigInt(sumWq), sumWq2: BigInt(sumWq2) };
    const sums: Sums = { n, ...exact, min, max, buckets: [] };
    if (metric === ANY_METRIC) window.any = sums;
    else window.metrics.set(metric, sums);
  }
  return Array.from(found, ([place, window]) => ({ place, ...window }));
}
