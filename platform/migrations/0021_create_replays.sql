-- Which version of a suite held from which place of the log on, so that a replay takes each up where it was taken up. `read_at` is as
-- decisions record it: offsets of the next messages, and lines done of those that were half read.
create table suite_turns (
  turn_no    bigint generated always as identity primary key,
  tenant     text not null references tenants,
  suite      text not null,
  suite_hash text not null,
  read_at    jsonb not null,
  -- It had been kept beside the one before: its panes are older than this.
  rollout    boolean not null,
  turned_at  timestamptz not null default clock_timestamp(),
  foreign key (tenant, suite, suite_hash) references suites
);
create index suite_turns_of on suite_turns (tenant, suite, turn_no);
-- Of suites from before this table the version that holds is taken to have held from the beginning.
insert into suite_turns (tenant, suite, suite_hash, read_at, rollout)
select tenant, suite, suite_hash, '{"offsets": {}, "lines": {}}', false from suite_states order by tenant, suite;

-- Reports read again into tables of their own. The row is the claim of the process that works on it, and its fence.
create table replays (
  replay_id      text primary key check (replay_id ~ '^[0-9a-hjkmnp-tv-z]{26}$'),
  tenant         text not null references tenants,
  spec           jsonb not null,
  spec_hash      text not null,
  state          text not null check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
  cancel_wanted  boolean not null default false,
  -- The schema of its tables is there.
  shadow         boolean not null default false,
  -- Where it begins and ends, and what was live when it began.
  plan           jsonb,
  cuts_done      integer not null default 0,
  messages_done  bigint not null default 0,
  messages_total bigint not null default 0,
  reports        bigint not null default 0,
  result         jsonb,
  failure        jsonb,
  tries          integer not null default 0,
  worker         text,
  lease_until    timestamptz,
  started_by     text not null,
  trace_id       text not null,
  created_at     timestamptz not null default clock_timestamp(),
  changed_at     timestamptz not null default clock_timestamp(),
  -- A process first took it up; it ended.
  begun_at       timestamptz,
  ended_at       timestamptz,
  check (state <> 'running' or (worker is not null and lease_until is not null))
);
create unique index replays_one_open on replays (tenant, spec_hash) where state in ('queued', 'running', 'failed');
create index replays_to_claim on replays (created_at) where state in ('queued', 'running');
create index replays_of on replays (tenant, created_at);

select secure_table('suite_turns');
select secure_table('replays');
grant select on suite_turns, replays to merit_app;
grant select, insert on suite_turns to merit_engine;
grant insert on replays to merit_app;
grant update (state, cancel_wanted, failure, changed_at) on replays to merit_app;
grant select, update on replays to merit_engine;

-- The tables of a replay: empty twins of the installation's own, under the same names, in a schema that its transactions look into first. No
-- trigger and no foreign key comes with them, so nothing that is written there does anything elsewhere. What is never written by
-- scoring stays what it is.
create function open_shadow(name text) returns void language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  t record;
begin
  if name !~ '^replay_[0-9a-hjkmnp-tv-z]{26}$' then
    raise exception 'open_shadow: % is no name of a replay', name using errcode = '22023';
  end if;
  execute format('create schema %I', name);
  execute format('grant usage on schema %I to merit_engine', name);
  for t in select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
           and relname not in ('tenants', 'leader_epochs', 'replays', 'pgmigrations') order by relname loop
    execute format('create table %I.%I (like public.%I including all)', name, t.relname, t.relname);
  end loop;
  execute format('create table %I.live_scores (like public.scores including all)', name);
  execute format('create table %I.live_decisions (like public.decisions including all)', name);
  for t in select c.relname, pg_get_viewdef(c.oid) as body from pg_class c
           where c.relnamespace = 'public'::regnamespace and c.relkind = 'v' order by c.relname loop
    perform set_config('search_path', format('%I, public, pg_catalog', name), true);
    execute format('create view %I.%I as %s', name, t.relname, t.body);
    perform set_config('search_path', 'pg_catalog, public, pg_temp', true);
  end loop;
  execute format('grant select, insert, update, delete on all tables in schema %I to merit_engine', name);
end $$;

create function close_shadow(name text) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if name !~ '^replay_[0-9a-hjkmnp-tv-z]{26}$' then
    raise exception 'close_shadow: % is no name of a replay', name using errcode = '22023';
  end if;
  execute format('drop schema if exists %I cascade', name);
end $$;
revoke execute on function open_shadow(text), close_shadow(text) from public;
grant execute on function open_shadow(text), close_shadow(text) to merit_engine;
