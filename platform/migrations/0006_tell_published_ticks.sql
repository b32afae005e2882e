-- Of two versions of a suite that are kept, only what was published of each is told.
create or replace function tell_score_ticks() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  insert into score_ticks (tenant, suite, suite_hash, tick_ms, models, revised, trace_id)
  select tenant, suite, suite_hash, tick_ms, count(*), tg_op = 'UPDATE', min(trace_id)
  from changed where published group by tenant, suite, suite_hash, tick_ms order by tenant, suite, suite_hash, tick_ms;
  return null;
end $$;
