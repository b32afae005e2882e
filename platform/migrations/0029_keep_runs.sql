-- What was seen of the run of an attempt: when it began and ended, its exit code, and what it used over time, in a bounded series
-- (scheduler/apply/usage-series.ts). Kept when the attempt ended, and now and then while it runs.
create table attempt_runs (
  booking_id text not null,
  attempt    integer not null,
  tenant     text not null references tenants,
  began_at   timestamptz not null,
  ended_at   timestamptz,
  exit_code  integer,
  usage      jsonb not null,
  primary key (booking_id, attempt),
  foreign key (booking_id, attempt) references attempts
);
select secure_table('attempt_runs');
grant select on attempt_runs to merit_app;
grant select, insert, update on attempt_runs to merit_engine;
