import type { MetricRule } from '../../core/suite.ts';
import type { Tx } from '../../platform/postgres.ts';
import { keptFromMs } from '../rules/retention.ts';
import { bucketValue, MAX_BUCKET } from '../rules/sketch.ts';
import { MAX_WINDOW_WEIGHT } from '../rules/statistics.ts';
import { type AuditedTicks, MAX_WRONG, type ScoreAudit, type WrongNumber } from './audit-scores.sql.ts';

/**
 * From panes to metrics: sums in numeric, then float8 in the order of scoring/rules (statistics.ts, normalise.ts), the maps and their
 * constants written out here once more. $6: one object a metric; $10, $11: the table of bucket values.
 */
const AUDIT_SQL = `
with published as (
  select s.model, s.tick_ms, w.key as window_name, m.key as metric, m.value as m,
         (extract(epoch from (w.value ->> 'start')::timestamptz) * 1000)::bigint as start_ms,
         (extract(epoch from (w.value ->> 'end')::timestamptz) * 1000)::bigint as end_ms,
         case w.key when '1h' then 1 when '24h' then 15 else 60 end as resolution
  from scores s, jsonb_each(s.body -> 'windows') w, jsonb_each(w.value -> 'metrics') m
  where s.tenant = $1 and s.suite = $2 and s.suite_hash = $3 and s.tick_ms between $4 and $5
), bucket_values as (
  select * from unnest($10::integer[], $11::float8[]) as t (bucket, value)
), kept as (
  select p.*, f.* from published p
    join jsonb_to_recordset($6::jsonb) as f (rule text, factor float8, quantile float8, bottom float8, top float8,
                                             median float8, mad float8, mean_ad float8, sign float8) on f.rule = p.metric
    join unnest($7::integer[], $8::bigint[]) as k (size, from_ms) on k.size = p.resolution
  where p.start_ms >= k.from_ms
), summed as (
  select k.*, a.*, b.*, a.n > 0 and a.weight <= $9::numeric as there
  from kept k
    left join series r on r.tenant = $1 and r.suite_hash = $3 and r.model = k.model and r.metric = k.metric
    cross join lateral (
      select coalesce(sum(n), 0)::float8 as n, coalesce(sum(weight), 0) as weight, sum(sum_wq) as wq, sum(sum_wq2) as wq2,
             min(q_min)::float8 as q_min, max(q_max)::float8 as q_max
      from panes where series_id = r.series_id and resolution = k.resolution and start_ms >= k.start_ms and start_ms < k.end_ms) a
    cross join lateral (
      select min(bucket) filter (where seen >= greatest(ceil(a.n * 0.5::float8), 1)) as b50,
             min(bucket) filter (where seen >= greatest(ceil(a.n * 0.95::float8), 1)) as b95,
             min(bucket) filter (where seen >= greatest(ceil(a.n * k.quantile), 1)) as bp
      from (select bucket, (sum(sum(n)) over (order by bucket))::float8 as seen from pane_buckets
            where series_id = r.series_id and resolution = k.resolution and start_ms >= k.start_ms and start_ms < k.end_ms
            group by bucket) c) b
), valued as (
  select s.*, v.* from summed s
    left join bucket_values v50 on v50.bucket = s.b50
    left join bucket_values v95 on v95.bucket = s.b95
    left join bucket_values vp on vp.bucket = s.bp
    left join lateral (
      select wq::float8 / weight::float8 / factor as mean, q_min / factor as low, q_max / factor as high,
             (weight * wq2 - wq * wq)::float8 / weight::float8 / nullif(n - 1, 0) / factor / factor as variance,
             least(greatest(v50.value / factor, q_min / factor), q_max / factor) as p50,
             least(greatest(v95.value / factor, q_min / factor), q_max / factor) as p95,
             least(greatest(vp.value / factor, q_min / factor), q_max / factor) as p) v on s.there
), scored as (
  select v.*, case when v.bottom is not null then least(greatest((x - bottom) / (top - bottom), 0), 1) else 0.5 * (1 + z / (1 + abs(z))) end as s
  from valued v
    cross join lateral (select case when quantile is null then mean else p end as x) value
    cross join lateral (select case when mad <> 0 then 1.4826::float8 * mad else 1.2533::float8 * mean_ad end as deviation) d
    cross join lateral (
      select sign * case when deviation = 0 then 0 else least(greatest((x - median) / deviation, -6), 6) end as z) robust
), compared as (
  select c.model, c.tick_ms, c.window_name, c.metric, v.statistic, v.published, v.recomputed
  from scored c cross join lateral (values
    ('n', (m ->> 'n')::float8, n),
    ('weight', (m ->> 'weight')::float8, weight::float8),
    ('mean', (m ->> 'mean')::float8, mean),
    ('variance', (m ->> 'variance')::float8, variance),
    ('min', (m ->> 'min')::float8, low),
    ('max', (m ->> 'max')::float8, high),
    ('p50', (m ->> 'p50')::float8, p50),
    ('p95', (m ->> 'p95')::float8, p95),
    ('score', (m ->> 'score')::float8,
      case when there and n >= $12::float8 and weight::float8 >= $13::float8 then (n * s + $14::float8 * $15::float8) / (n + $14::float8) end),
    ('lower', (m ->> 'lower')::float8, least((m ->> 'lower')::float8, (m ->> 'score')::float8)),
    ('upper', (m ->> 'upper')::float8, greatest((m ->> 'upper')::float8, (m ->> 'score')::float8))
  ) v (statistic, published, recomputed)
)
select (select count(*) from kept) as checked, c.* from (select 1) one
  left join (select * from compared where published is distinct from recomputed
             order by tick_ms, model, window_name, metric, statistic limit $16) c on true`;

/** Statistics and scores of metrics in windows whose panes are still kept. */
export async function auditMetrics(tx: Tx, ticks: AuditedTicks): Promise<ScoreAudit> {
  const { tenant, suite, watermarkMs, fromMs, toMs } = ticks;
  const buckets = Array.from({ length: 2 * MAX_BUCKET + 1 }, (_, i) => i - MAX_BUCKET);
  const rows = await tx.query<AuditRow>(AUDIT_SQL, [
    tenant,
    suite.name,
    suite.hash,
    fromMs,
    toMs,
    JSON.stringify(suite.metrics.map(ruleRow)),
    [1, 15, 60],
    [keptFromMs('1m', watermarkMs), keptFromMs('15m', watermarkMs), keptFromMs('1h', watermarkMs)],
    MAX_WINDOW_WEIGHT.toString(),
    buckets,
    buckets.map(bucketValue),
    suite.minN,
    suite.minWeight,
    suite.shrinkage.kappa,
    suite.shrinkage.prior,
    MAX_WRONG,
  ]);
  const wrong = rows.flatMap((row) => (row.model === null ? [] : [wrongNumber(row, row.model)]));
  return { checked: Number(rows[0]?.checked ?? 0n), wrong };
}

function ruleRow({ name, factor, statistic, map, direction }: MetricRule) {
  const place =
    map.kind === 'anchors'
      ? { bottom: map.floor, top: map.ceil }
      : { median: map.median, mad: map.mad, mean_ad: map.meanAd, sign: direction === 'lower' ? -1 : 1 };
  return { rule: name, factor, quantile: statistic.kind === 'quantile' ? statistic.p : null, ...place };
}

interface AuditRow {
  readonly checked: bigint;
  readonly model: string | null;
  readonly tick_ms: bigint;
  readonly window_name: string;
  readonly metric: string;
  readonly statistic: WrongNumber['statistic'];
  readonly published: number | null;
  readonly recomputed: number | null;
}

function wrongNumber(row: AuditRow, model: string): WrongNumber {
  const { window_name: window, metric, statistic, published, recomputed } = row;
  return { model, tickMs: Number(row.tick_ms), window, metric, statistic, published, recomputed };
}
