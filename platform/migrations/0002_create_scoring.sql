-- Suites, models, reports' effects, scores, decisions. One consumer, the leader, writes all that follows from reports, in one
-- transaction a flush; requests write the registry only. Instants of event time are milliseconds since the epoch (bigint):
-- they are keys of exact arithmetic, not of a calendar.

create table suites (
  tenant     text not null references tenants,
  suite      text not null check (suite ~ '^[A-Za-z0-9._-]{1,64}$'),
  suite_hash text not null check (suite_hash ~ '^[0-9a-f]{64}$'),
  document   jsonb not null,
  active     boolean not null,
  applied_by text not null,
  applied_at timestamptz not null default clock_timestamp(),
  primary key (tenant, suite, suite_hash)
);
create unique index suites_one_active on suites (tenant, suite) where active;

create table models (
  tenant     text not null references tenants,
  model      text not null check (model ~ '^[A-Za-z0-9._-]{1,64}$'),
  division   text not null,
  suite      text not null,
  -- The job file that a retrain books; null: this model is never retrained by Merit.
  retrain    jsonb,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant, model),
  foreign key (tenant, division) references divisions
);

-- `version` is the name that reports carry as `model`: unique in the tenant.
create table model_versions (
  tenant     text not null references tenants,
  version    text not null check (version ~ '^[A-Za-z0-9._-]{1,64}$'),
  model      text not null,
  source     text not null check (source in ('manual', 'retrain')),
  booking_id text references bookings,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  retired_at timestamptz,
  primary key (tenant, version),
  foreign key (tenant, model) references models
);
create index model_versions_of on model_versions (tenant, model);

create table model_aliases (
  tenant     text not null references tenants,
  model      text not null,
  alias      text not null check (alias ~ '^[A-Za-z0-9._-]{1,64}$'),
  version    text not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant, model, alias),
  foreign key (tenant, model) references models,
  foreign key (tenant, version) references model_versions
);

-- A version that competes for a suite's seat. A request only adds the row; the consumer opens its challenge before the next
-- report, so that challenge starts and report effects have one writer and one order.
create table candidates (
  tenant     text not null references tenants,
  suite      text not null,
  version    text not null,
  state      text not null check (state in ('registered', 'open', 'withdrawn')),
  -- An operator's wish to seat it without a contest.
  seat       boolean not null default false,
  actor      text not null,
  trace_id   text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (tenant, suite, version),
  foreign key (tenant, version) references model_versions
);
create index candidates_waiting on candidates (tenant, suite) where state = 'registered';

-- Where the consumer stands with a suite. scored: ticks up to it are published; decided: promotion was judged up to it.
-- A decided tick behind scored waits for policy, or for its signature after a crash.
create table suite_states (
  tenant          text not null references tenants,
  suite           text not null,
  suite_hash      text not null,
  watermark_ms    bigint,
  max_observed_ms bigint,
  scored_tick_ms  bigint,
  decided_tick_ms bigint,
  trace_id        text,
  primary key (tenant, suite)
);

-- Challenges and seats: since when whose evidence counts (core of scoring/rules/promotion.ts WatchState).
create table watches (
  watch_id       text primary key,
  tenant         text not null references tenants,
  suite          text not null,
  suite_hash     text not null,
  model          text not null,
  role           text not null check (role in ('incumbent', 'candidate')),
  -- null: before the suite's first report.
  start_ms       bigint,
  run            integer not null default 0,
  guardrails     jsonb not null default '[]',
  opened_at      jsonb not null default '{}',
  closed_tick_ms bigint
);
create unique index watches_open on watches (tenant, suite, model) where closed_tick_ms is null;
create unique index watches_one_seat on watches (tenant, suite) where closed_tick_ms is null and role = 'incumbent';

create table seats (
  tenant     text not null references tenants,
  suite      text not null,
  version    text,
  since_ms   bigint,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant, suite),
  foreign key (tenant, version) references model_versions
);

-- Exact sums of round(s × 10^12), by tick (scoring/rules/evidence.ts). Late data adds to them like any other.
create table evidence_sums (
  watch_id text not null references watches,
  tenant   text not null references tenants,
  model    text not null,
  metric   text not null,
  tick_ms  bigint not null,
  n        bigint not null,
  weight   numeric not null,
  sum_ws   numeric not null,
  sum_ws2  numeric not null,
  beyond   bigint not null,
  primary key (watch_id, model, metric, tick_ms)
);

-- The edge (scoring/rules/edge.ts): the same sums of reports at or ahead of the suite's watermark, which a watch that starts at
-- the watermark counts too.
create table evidence_edge (
  tenant      text not null references tenants,
  suite       text not null,
  suite_hash  text not null,
  model       text not null,
  metric      text not null,
  observed_ms bigint not null,
  n           bigint not null,
  weight      numeric not null,
  sum_ws      numeric not null,
  sum_ws2     numeric not null,
  beyond      bigint not null,
  primary key (tenant, suite, suite_hash, model, metric, observed_ms)
);

-- Which ticks hold a report of a model: a tick without new data does not count for promotion.
create table tick_reports (
  tenant  text not null references tenants,
  suite   text not null,
  model   text not null,
  tick_ms bigint not null,
  n       bigint not null,
  primary key (tenant, suite, model, tick_ms)
);

-- One series: a metric of a model under one version of a suite; '' counts reports of any metric.
create table series (
  series_id  bigint generated always as identity primary key,
  tenant     text not null references tenants,
  suite      text not null,
  suite_hash text not null,
  model      text not null,
  metric     text not null,
  unique (tenant, suite_hash, model, metric)
);

-- Panes merge by addition in one INSERT … ON CONFLICT. Sums are numeric: Σwq² needs 128 bits, and numeric is exact, adds in
-- place and is what the audit query sums. Sketch buckets are rows, not packed bytes: the database adds them itself, so a
-- flush reads nothing, and late data touches only the buckets it changes. No foreign keys here: the one writer has just read
-- the series, and two checks a row are most of what such a row costs.
create table panes (
  series_id  bigint not null,
  tenant     text not null,
  resolution smallint not null check (resolution in (1, 15, 60)),
  start_ms   bigint not null,
  n          bigint not null,
  weight     numeric not null,
  sum_wq     numeric not null,
  sum_wq2    numeric not null,
  q_min      bigint not null,
  q_max      bigint not null,
  primary key (series_id, resolution, start_ms)
);
create table pane_buckets (
  series_id  bigint not null,
  tenant     text not null,
  resolution smallint not null,
  start_ms   bigint not null,
  bucket     integer not null,
  n          bigint not null,
  primary key (series_id, resolution, start_ms, bucket)
);

-- The dedup state, packed: 56 bytes a report (16 of the id's hash, 32 of the content's, 8 of event time), one block a flush,
-- shard and suite. Whole blocks go when their newest report is past the horizon.
create table dedup_blocks (
  block_id           bigint generated always as identity primary key,
  topic              text not null,
  partition          integer not null,
  shard              smallint not null,
  tenant             text not null references tenants,
  suite              text not null,
  newest_observed_ms bigint not null,
  entries            integer not null check (entries > 0),
  block              bytea not null check (octet_length(block) = entries * 56)
);
create index dedup_blocks_by_age on dedup_blocks (tenant, suite, newest_observed_ms);
create index dedup_blocks_by_shard on dedup_blocks (tenant, shard);

-- The next line to read: `next_line` lines of the message at `next_offset` are done. Only ever grows.
create table consumer_offsets (
  topic          text not null,
  partition      integer not null,
  next_offset    bigint not null check (next_offset >= 0),
  next_line      integer not null check (next_line >= 0),
  -- The greatest append time among the messages read.
  appended_at_ms bigint not null,
  primary key (topic, partition)
);
create function offsets_only_grow() returns trigger language plpgsql as $$
begin
  if (new.next_offset, new.next_line) <= (old.next_offset, old.next_line) then
    raise exception 'consumer offsets only grow' using errcode = 'MR002';
  end if;
  return new;
end $$;
create trigger consumer_offsets_grow before update on consumer_offsets for each row execute function offsets_only_grow();

create table watermarks (
  tenant       text not null references tenants,
  suite        text not null,
  topic        text not null,
  partition    integer not null,
  watermark_ms bigint not null,
  primary key (tenant, suite, topic, partition)
);

-- Published scores: the last value of each model at each final tick; `body` is scoring/rules/published.ts PublishedModel.
create table scores (
  tenant     text not null references tenants,
  suite      text not null,
  suite_hash text not null,
  model      text not null,
  tick_ms    bigint not null,
  status     text not null,
  rank       integer,
  composite  double precision,
  lower      double precision,
  upper      double precision,
  -- How often late data changed it after it was first published.
  revision   integer not null,
  body       jsonb not null,
  trace_id   text not null,
  emitted_at timestamptz not null default clock_timestamp(),
  primary key (tenant, suite, suite_hash, model, tick_ms)
);
create index scores_by_tick on scores (tenant, suite, tick_ms);
create index scores_of_model on scores (tenant, model, tick_ms);

-- Ticks to publish again because late data came, one range a suite, until all are done.
create table rescore_ranges (
  tenant  text not null references tenants,
  suite   text not null,
  from_ms bigint not null,
  to_ms   bigint not null,
  primary key (tenant, suite)
);

-- A tick at which a candidate lacks only SentinelNet's word: the intent is stored with the tick, the question asked outside.
create table policy_questions (
  question_id text primary key,
  tenant      text not null references tenants,
  suite       text not null,
  tick_ms     bigint not null,
  model       text not null,
  request     jsonb not null,
  state       text not null check (state in ('pending', 'answered', 'abandoned')),
  tries       integer not null default 0,
  next_try_ms bigint not null,
  last_error  text,
  answer      jsonb,
  created_at  timestamptz not null default clock_timestamp(),
  unique (tenant, suite, tick_ms, model)
);
create index policy_questions_pending on policy_questions (next_try_ms) where state = 'pending';

-- Signed and final. `bytes` is the RFC 8785 form of {record, keyId, signature}; decision_hash its SHA-256.
create table decisions (
  decision_hash    text primary key,
  tenant           text not null references tenants,
  suite            text not null,
  suite_hash       text not null,
  tick_ms          bigint not null,
  model            text not null,
  action           text not null check (action in ('promote', 'demote')),
  incumbent_before text,
  bytes            bytea not null,
  audit_event_id   text not null,
  trace_id         text not null,
  decided_at       timestamptz not null,
  unique (tenant, suite, tick_ms)
);
create index decisions_by_model on decisions (tenant, suite, model, tick_ms);
create trigger decisions_append_only before update or delete on decisions for each row execute function refuse_change();

-- Late data that would have flipped a decision.
create table decision_reviews (
  tenant        text not null references tenants,
  decision_hash text not null references decisions,
  tick_ms       bigint not null,
  found         jsonb not null,
  created_at    timestamptz not null default clock_timestamp(),
  primary key (decision_hash)
);

create table retrain_requests (
  request_id      text primary key,
  tenant          text not null references tenants,
  model           text not null,
  suite           text not null,
  -- The version the retrain will bring: named, and in the contest, from the request on.
  version         text,
  cause           text not null check (cause in ('demotion', 'manual')),
  decision_hash   text references decisions,
  cause_event_id  text,
  demoted_tick_ms bigint not null,
  state           text not null check (state in ('open', 'booked', 'done', 'failed')),
  attempts        integer not null default 0,
  next_try_ms     bigint not null,
  booking_id      text references bookings,
  failure         jsonb,
  requested_by    text not null,
  trace_id        text not null,
  created_at      timestamptz not null default clock_timestamp(),
  updated_at      timestamptz not null default clock_timestamp(),
  foreign key (tenant, model) references models,
  foreign key (tenant, version) references model_versions,
  check (state <> 'booked' or booking_id is not null)
);
create unique index retrain_one_open on retrain_requests (tenant, model) where state in ('open', 'booked');
create index retrain_due on retrain_requests (next_try_ms) where state in ('open', 'booked');
create index retrain_by_booking on retrain_requests (booking_id);

-- What was set aside, once per place in the log. A line past the size limit keeps its hash, size and first KiB.
create table quarantine (
  tenant     text not null references tenants,
  topic      text not null,
  partition  integer not null,
  log_offset bigint not null,
  line       integer not null,
  reason     text not null,
  field      text not null,
  position   integer not null,
  problem    text not null,
  producer   text,
  raw        bytea not null,
  raw_size   bigint not null,
  raw_sha256 text not null,
  trace_id   text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (topic, partition, log_offset, line)
);
create index quarantine_by_tenant on quarantine (tenant, created_at);

-- Each line counts once, in one of the first four; suite '' where a line names no suite of the tenant. late_archived: accepted,
-- but more than 7 days behind the watermark.
create table input_counters (
  tenant        text not null references tenants,
  suite         text not null,
  accepted      bigint not null default 0,
  quarantined   bigint not null default 0,
  duplicates    bigint not null default 0,
  conflicts     bigint not null default 0,
  late_archived bigint not null default 0,
  primary key (tenant, suite)
);

do $$
declare t text;
begin
  foreach t in array array['suites', 'models', 'model_versions', 'model_aliases', 'candidates', 'suite_states', 'watches', 'seats',
                           'evidence_sums', 'evidence_edge', 'tick_reports', 'series', 'panes', 'pane_buckets', 'dedup_blocks',
                           'watermarks', 'scores', 'rescore_ranges', 'policy_questions', 'decisions', 'decision_reviews',
                           'retrain_requests', 'quarantine', 'input_counters'] loop
    perform secure_table(t);
    execute format('grant select on %I to merit_app', t);
    execute format('grant select, insert on %I to merit_engine', t);
  end loop;
end $$;

grant select on consumer_offsets to merit_app;
grant select, insert, update on consumer_offsets to merit_engine;

-- What a request may write: the registry, and a wish for a retrain.
grant insert on suites, models, model_versions, model_aliases, candidates, retrain_requests to merit_app;
grant update on suites, models, model_aliases to merit_app;
grant update (retired_at) on model_versions to merit_app;
grant update (state, seat, actor, trace_id) on candidates to merit_app;

grant update on suites, models, model_versions, model_aliases, candidates, suite_states, watches, seats, evidence_sums, evidence_edge,
                tick_reports, series, panes, pane_buckets, watermarks, scores, rescore_ranges, policy_questions, retrain_requests,
                input_counters to merit_engine;
grant delete on evidence_sums, evidence_edge, tick_reports, panes, pane_buckets, dedup_blocks, rescore_ranges to merit_engine;
grant usage on all sequences in schema public to merit_engine;
