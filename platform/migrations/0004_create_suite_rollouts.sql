-- Two versions of a suite side by side. The rows that the consumer keeps of the active version it keeps of the new one too, by
-- hash; requests write `suite_rollouts` (what is wanted), the consumer `rollout_states` (what is in force), so that each change
-- has one place in the order of the log. Starting, promoting and rolling back change rows only.

create table suite_rollouts (
  rollout_id text primary key,
  tenant     text not null references tenants,
  suite      text not null,
  -- The new version, and the one that was active when it started.
  suite_hash text not null,
  from_hash  text not null,
  state      text not null check (state in ('running', 'promoted', 'rolled_back')),
  -- Per cent of the models that the new version is to decide for; 0: a shadow.
  share      integer not null check (share between 0 and 100),
  -- The share holds before the new version's windows are full.
  forced     boolean not null,
  -- Why the consumer rolled it back; null: a request did, or nobody.
  failure    text,
  started_by text not null,
  started_at timestamptz not null default clock_timestamp(),
  changed_by text not null,
  changed_at timestamptz not null default clock_timestamp(),
  trace_id   text not null,
  foreign key (tenant, suite, suite_hash) references suites,
  foreign key (tenant, suite, from_hash) references suites,
  check (suite_hash <> from_hash)
);
create unique index suite_rollouts_one_running on suite_rollouts (tenant, suite) where state = 'running';
create index suite_rollouts_of on suite_rollouts (tenant, suite, started_at);

create table rollout_states (
  rollout_id       text primary key references suite_rollouts,
  tenant           text not null references tenants,
  suite            text not null,
  suite_hash       text not null,
  -- In force.
  share            integer not null check (share between 0 and 100),
  scored_tick_ms   bigint,
  -- Ticks after it are judged; null: any.
  judged_after_ms  bigint,
  -- From this tick on every window holds all its reports; null: from the first on.
  complete_tick_ms bigint,
  -- Reports that only the new version refused, and those that only the active one set aside.
  refused          bigint not null default 0,
  missed           bigint not null default 0,
  -- Where the log stood when it was taken up.
  opened_at        jsonb not null,
  ended            boolean not null default false,
  -- Its panes are gone; of an ended one.
  dropped          boolean not null default false
);
create unique index rollout_states_one_open on rollout_states (tenant, suite) where not ended;
create index rollout_states_to_drop on rollout_states (rollout_id) where ended and not dropped;

-- What a version would have decided about a model that another version decides for: once a challenge or seat.
create table would_be_decisions (
  watch_id         text not null references watches,
  action           text not null check (action in ('promote', 'demote')),
  tenant           text not null references tenants,
  rollout_id       text not null references suite_rollouts,
  suite            text not null,
  suite_hash       text not null,
  tick_ms          bigint not null,
  model            text not null,
  incumbent_before text,
  evidence         jsonb not null,
  recorded_at      timestamptz not null default clock_timestamp(),
  primary key (watch_id, action)
);
create index would_be_decisions_of on would_be_decisions (rollout_id, tick_ms);

-- One watch a model and one seat, under each version that is kept.
drop index watches_open;
create unique index watches_open on watches (tenant, suite, suite_hash, model) where closed_tick_ms is null;
drop index watches_one_seat;
create unique index watches_one_seat on watches (tenant, suite, suite_hash) where closed_tick_ms is null and role = 'incumbent';

-- Ticks are a version's own.
alter table tick_reports add column suite_hash text;
update tick_reports r set suite_hash = t.suite_hash from suite_states t where t.tenant = r.tenant and t.suite = r.suite;
delete from tick_reports where suite_hash is null;
alter table tick_reports alter column suite_hash set not null;
alter table tick_reports drop constraint tick_reports_pkey;
alter table tick_reports add primary key (tenant, suite, suite_hash, model, tick_ms);

alter table rescore_ranges add column suite_hash text;
update rescore_ranges r set suite_hash = t.suite_hash from suite_states t where t.tenant = r.tenant and t.suite = r.suite;
delete from rescore_ranges where suite_hash is null;
alter table rescore_ranges alter column suite_hash set not null;
alter table rescore_ranges drop constraint rescore_ranges_pkey;
alter table rescore_ranges add primary key (tenant, suite, suite_hash);

-- Is this version the one that decided for the model when the tick was first scored? At most one row of a model and tick is.
alter table scores add column published boolean not null default true;
-- Events tell of published scores only.
create or replace function tell_score_ticks() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  insert into score_ticks (tenant, suite, suite_hash, tick_ms, models, revised, trace_id)
  select tenant, suite, suite_hash, tick_ms, count(*), tg_op = 'UPDATE', min(trace_id)
  from changed where published group by tenant, suite, suite_hash, tick_ms order by tenant, suite, suite_hash, tick_ms;
  return null;
end $$;

do $$
declare t text;
begin
  foreach t in array array['suite_rollouts', 'rollout_states', 'would_be_decisions'] loop
    perform secure_table(t);
    execute format('grant select on %I to merit_app', t);
    execute format('grant select, insert on %I to merit_engine', t);
  end loop;
end $$;
grant insert on suite_rollouts to merit_app;
grant update (state, share, forced, changed_by, changed_at, trace_id) on suite_rollouts to merit_app;
grant update (state, failure, changed_by, changed_at, trace_id) on suite_rollouts to merit_engine;
grant update on rollout_states to merit_engine;
-- Of a dropped version what was never published goes with its panes.
grant delete on scores to merit_engine;
