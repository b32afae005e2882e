import type { Tx } from '../../platform/postgres.ts';
import { suiteOf } from '../ingest/suite-state.sql.ts';
import { keptFromMs } from '../rules/retention.ts';
import { MAX_WINDOW_WEIGHT } from '../rules/statistics.ts';

/** A published statistic that the stored panes do not give. */
export interface WrongStatistic {
  readonly model: string;
  readonly tickMs: number;
  readonly window: string;
  readonly metric: string;
  readonly statistic: 'n' | 'weight' | 'mean' | 'variance' | 'min' | 'max';
  readonly published: number | null;
  readonly fromPanes: number | null;
}

export interface ScoreAudit {
  /** (model, tick, window, metric) whose panes are still kept. */
  readonly checked: number;
  /** At most MAX_WRONG of them. */
  readonly wrong: readonly WrongStatistic[];
}

const MAX_WRONG = 1_000;

/**
 * Recomputes the statistics behind published scores from the panes, in Postgres alone: sums in numeric, then float8 in the
 * order of scoring/rules/statistics.ts. It shares no arithmetic with the consumer, so that a fault in one shows.
 */
const AUDIT_SQL = `
with published as (
  select s.model, s.tick_ms, w.key as window_name, m.key as metric, m.value as m,
         (extract(epoch from (w.value ->> 'start')::timestamptz) * 1000)::bigint as start_ms,
         (extract(epoch from (w.value ->> 'end')::timestamptz) * 1000)::bigint as end_ms,
         case w.key when '1h' then 1 when '24h' then 15 else 60 end as resolution
  from scores s, jsonb_each(s.body -> 'windows') w, jsonb_each(w.value -> 'metrics') m
  where s.tenant = $1 and s.suite = $2 and s.suite_hash = $3 and s.tick_ms between $4 and $5
), kept as (
  select p.*, f.factor from published p
    join unnest($6::text[], $7::float8[]) as f (metric, factor) using (metric)
    join unnest($8::integer[], $9::bigint[]) as k (resolution, from_ms) using (resolution)
  where p.start_ms >= k.from_ms
), summed as (
  select k.*, a.*
  from kept k
    left join series r on r.tenant = $1 and r.suite_hash = $3 and r.model = k.model and r.metric = k.metric
    cross join lateral (
      select coalesce(sum(n), 0) as n, coalesce(sum(weight), 0) as weight, sum(sum_wq) as wq, sum(sum_wq2) as wq2, min(q_min) as q_min, max(q_max) as q_max
      from panes where series_id = r.series_id and resolution = k.resolution and start_ms >= k.start_ms and start_ms < k.end_ms) a
), compared as (
  select s.model, s.tick_ms, s.window_name, s.metric, v.statistic, v.published, v.from_panes
  from summed s cross join lateral (values
    ('n', (m ->> 'n')::float8, n::float8),
    ('weight', (m ->> 'weight')::float8, weight::float8),
    ('mean', (m ->> 'mean')::float8, case when n > 0 and weight <= $10 then wq::float8 / weight::float8 / factor end),
    ('variance', (m ->> 'variance')::float8,
      case when n > 1 and weight <= $10 then (weight * wq2 - wq * wq)::float8 / weight::float8 / (n::float8 - 1) / factor / factor end),
    ('min', (m ->> 'min')::float8, case when n > 0 and weight <= $10 then q_min::float8 / factor end),
    ('max', (m ->> 'max')::float8, case when n > 0 and weight <= $10 then q_max::float8 / factor end)
  ) v (statistic, published, from_panes)
)
select (select count(*) from kept) as checked, c.* from (select 1) one
  left join (select * from compared where published is distinct from from_panes order by tick_ms, model, window_name, metric limit $11) c on true`;

/** Audits the published ticks of the active version of a suite between two instants. */
export async function auditScores(
  tx: Tx,
  tenant: string,
  suite: string,
  fromMs: number,
  toMs: number,
): Promise<ScoreAudit> {
  const heads = await tx.query<{ suite_hash: string; document: unknown; watermark_ms: bigint | null }>(
    `select s.suite_hash, s.document, t.watermark_ms from suites s left join suite_states t using (tenant, suite)
     where s.tenant = $1 and s.suite = $2 and s.active`,
    [tenant, suite],
  );
  const head = heads[0];
  if (head === undefined || head.watermark_ms === null) return { checked: 0, wrong: [] };
  const watermarkMs = Number(head.watermark_ms);
  const { metrics } = suiteOf(head.suite_hash, head.document);
  const rows = await tx.query<AuditRow>(AUDIT_SQL, [
    tenant,
    suite,
    head.suite_hash,
    fromMs,
    toMs,
    metrics.map((rule) => rule.name),
    metrics.map((rule) => rule.factor),
    [1, 15, 60],
    [keptFromMs('1m', watermarkMs), keptFromMs('15m', watermarkMs), keptFromMs('1h', watermarkMs)],
    MAX_WINDOW_WEIGHT.toString(),
    MAX_WRONG,
  ]);
  const wrong = rows.flatMap((row) => (row.model === null ? [] : [wrongStatistic(row, row.model)]));
  return { checked: Number(rows[0]?.checked ?? 0n), wrong };
}

interface AuditRow {
  readonly checked: bigint;
  readonly model: string | null;
  readonly tick_ms: bigint;
  readonly window_name: string;
  readonly metric: string;
  readonly statistic: WrongStatistic['statistic'];
  readonly published: number | null;
  readonly from_panes: number | null;
}

function wrongStatistic(row: AuditRow, model: string): WrongStatistic {
  return {
    model,
    tickMs: Number(row.tick_ms),
    window: row.window_name,
    metric: row.metric,
    statistic: row.statistic,
    published: row.published,
    fromPanes: row.from_panes,
  };
}
