-- What GET /v1/events tells, and in which order.

-- Ticks that were published, and published again. The database writes them itself beside the scores, so that no writer of
-- scores can forget it. Identities are given in the order of writing, rows are seen in the order of commit: a reader goes by
-- (xact, tick_no) and takes only rows whose transaction is older than every one still running (pg_snapshot_xmin), so that
-- nothing is ever added behind it. No lock is taken for it, and none is held while a flush runs.
create table score_ticks (
  tick_no    bigint generated always as identity primary key,
  -- A bigint, not xid8: only comparisons that are known to leak nothing may use the index under row-level security.
  xact       bigint not null default (pg_current_xact_id()::text::bigint),
  tenant     text not null references tenants,
  suite      text not null,
  suite_hash text not null,
  tick_ms    bigint not null,
  -- Models whose scores at the tick were written by this statement.
  models     integer not null,
  -- Late data changed scores that were published before.
  revised    boolean not null,
  trace_id   text not null,
  emitted_at timestamptz not null default clock_timestamp()
);
create index score_ticks_in_order on score_ticks (tenant, xact, tick_no);

create function tell_score_ticks() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  insert into score_ticks (tenant, suite, suite_hash, tick_ms, models, revised, trace_id)
  select tenant, suite, suite_hash, tick_ms, count(*), tg_op = 'UPDATE', min(trace_id)
  from changed group by tenant, suite, suite_hash, tick_ms order by tenant, suite, suite_hash, tick_ms;
  return null;
end $$;
revoke execute on function tell_score_ticks() from public;
-- One statement with ON CONFLICT fires both, each with its own rows.
create trigger scores_published after insert on scores referencing new table as changed
  for each statement execute function tell_score_ticks();
create trigger scores_republished after update on scores referencing new table as changed
  for each statement execute function tell_score_ticks();

select secure_table('score_ticks');
grant select on score_ticks to merit_app;
grant select, insert on score_ticks to merit_engine;
grant usage on all sequences in schema public to merit_engine;

-- A tenant's events in order of the chain, without a look at those of others.
create index audit_events_of_tenant on audit_events (tenant, seq) where seq is not null;
