-- A sketch is one row: a row a bucket cost 11 µs each to add (an index entry, a dead row and 100 bytes for 12 of content), and a
-- flush of 2,000 reports has 5 buckets a report. The writer reads, merges and writes whole sketches; it holds the pane's row meanwhile
-- (scoring/ingest/add-panes.sql.ts). Readers still see rows: pane_buckets is a view now.
create table pane_sketches (
  series_id  bigint not null,
  tenant     text not null,
  resolution smallint not null check (resolution in (1, 15, 60)),
  start_ms   bigint not null,
  -- Indexes ascend; a count for each.
  buckets    integer[] not null,
  counts     bigint[] not null,
  primary key (series_id, resolution, start_ms),
  check (cardinality(buckets) > 0 and cardinality(buckets) = cardinality(counts))
  -- Room for the next version of a row beside it; all but the widest sketches stay in their row, uncompressed.
) with (fillfactor = 70, toast_tuple_target = 8160);

insert into pane_sketches (series_id, tenant, resolution, start_ms, buckets, counts)
select series_id, min(tenant), resolution, start_ms, array_agg(bucket order by bucket), array_agg(n order by bucket)
from pane_buckets group by series_id, resolution, start_ms order by series_id, resolution, start_ms;

drop table pane_buckets;
create view pane_buckets with (security_invoker = true) as
  select s.series_id, s.tenant, s.resolution, s.start_ms, b.bucket, b.n
  from pane_sketches s cross join lateral unnest(s.buckets, s.counts) as b (bucket, n);

select secure_table('pane_sketches');
grant select on pane_sketches, pane_buckets to merit_app, merit_engine;
grant insert, update, delete on pane_sketches to merit_engine;
