import type { Tx } from '../../platform/postgres.ts';
import { type AuditedTicks, MAX_WRONG, type WrongNumber } from './audit-scores.sql.ts';

/**
 * From metrics to windows, composites and ranks: weighted means of the published parts, added as float8 in code-point order of metrics
 * and then 1h, 24h, 7d, divided last; rank = 1 + lower bounds above my upper one.
 */
const AUDIT_SQL = `
with published as (
  select model, tick_ms, rank, composite, lower, upper, body from scores
  where tenant = $1 and suite = $2 and suite_hash = $3 and tick_ms between $4 and $5
), windows as (
  select p.model, p.tick_ms, r.window_name, r.place, r.weight, p.body -> 'windows' -> r.window_name as w
  from published p cross join unnest($6::text[], $7::float8[]) with ordinality as r (window_name, weight, place)
), ends (name) as (values ('score'), ('lower'), ('upper')
), window_means as (
  select w.model, w.tick_ms, w.window_name, w.place, w.weight, e.name, (w.w ->> e.name)::float8 as published,
         case when not bool_or(r.required and m.value is null)
              then sum(r.weight * m.value order by r.metric collate "C") / nullif(sum(r.weight order by r.metric collate "C") filter (where m.value is not null), 0)
         end as recomputed
  from windows w cross join ends e
    cross join unnest($8::text[], $9::float8[], $10::boolean[]) as r (metric, weight, required)
    cross join lateral (select (w.w -> 'metrics' -> r.metric ->> e.name)::float8 as value) m
  group by w.model, w.tick_ms, w.window_name, w.place, w.weight, w.w, e.name
), composites as (
  select model, tick_ms, name, sum(weight * published order by place) / nullif(sum(weight order by place) filter (where published is not null), 0) as recomputed
  from window_means group by model, tick_ms, name
), compared as (
  select model, tick_ms, window_name, name as statistic, published, recomputed from window_means
  union all
  select c.model, c.tick_ms, null, c.name, case c.name when 'score' then p.composite when 'lower' then p.lower else p.upper end, c.recomputed
  from composites c join published p using (model, tick_ms)
  union all
  select p.model, p.tick_ms, null, 'rank', p.rank::float8,
         case when p.upper is not null then 1 + (select count(*) from published o where o.tick_ms = p.tick_ms and o.lower > p.upper)::float8 end
  from published p
)
select * from compared where published is distinct from recomputed order by tick_ms, model, window_name nulls last, statistic limit $11`;

interface AuditRow {
  readonly model: string;
  readonly tick_ms: bigint;
  readonly window_name: string | null;
  readonly statistic: WrongNumber['statistic'];
  readonly published: number | null;
  readonly recomputed: number | null;
}

/** Windows, composites and ranks of every published tick, from the published numbers beneath them. */
export async function auditWholes(tx: Tx, ticks: AuditedTicks): Promise<readonly WrongNumber[]> {
  const { tenant, suite, fromMs, toMs } = ticks;
  const rows = await tx.query<AuditRow>(AUDIT_SQL, [
    tenant,
    suite.name,
    suite.hash,
    fromMs,
    toMs,
    suite.windows.map((rule) => rule.name),
    suite.windows.map((rule) => rule.weight),
    suite.metrics.map((rule) => rule.name),
    suite.metrics.map((rule) => rule.weight),
    suite.metrics.map((rule) => rule.required),
    MAX_WRONG,
  ]);
  return rows.map(({ model, tick_ms, window_name: window, statistic, published, recomputed }) => {
    return { model, tickMs: Number(tick_ms), window, metric: null, statistic, published, recomputed };
  });
}
