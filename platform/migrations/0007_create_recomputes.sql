-- The history of a version that is kept beside the active one, filled from the report log: one row a partition that had been read when
-- the rollout was taken up. What the log holds before `until` is added by the recompute, what came after by the consumer; panes
-- are exact sums, so the two meet without a gap or a report that counts twice. Any process may work on a row: it is its own
-- fence, locked and compared in each transaction that adds panes.
create table recomputes (
  rollout_id   text not null references suite_rollouts,
  topic        text not null,
  partition    integer not null,
  tenant       text not null references tenants,
  -- Lines before it are this row's work: all of the messages before, and `until_line` lines of the message there.
  until_offset bigint not null,
  until_line   integer not null,
  state        text not null check (state in ('waiting', 'running', 'done', 'failed', 'stopped')),
  -- Messages before it are in the panes.
  next_offset  bigint not null default 0,
  -- Lines of the suite that the consumer had accepted: in the panes, too late for any score, refused by the new version, of panes
  -- that are kept no more.
  counted      bigint not null default 0,
  late         bigint not null default 0,
  refused      bigint not null default 0,
  outdated     bigint not null default 0,
  -- Of `failed`; or of the last try.
  failure      text,
  tries        integer not null default 0,
  -- The claim that holds it; a lease that has run out may be taken over.
  worker       text,
  lease_until  timestamptz,
  created_at   timestamptz not null default clock_timestamp(),
  changed_at   timestamptz not null default clock_timestamp(),
  -- The version's ticks were given to the consumer to be published again.
  finished_at  timestamptz,
  primary key (rollout_id, topic, partition),
  check (state <> 'running' or (worker is not null and lease_until is not null)),
  check (next_offset <= until_offset + 1)
);
create index recomputes_to_claim on recomputes (created_at) where state in ('waiting', 'running');
create index recomputes_to_finish on recomputes (rollout_id) where state = 'done' and finished_at is null;

select secure_table('recomputes');
grant select on recomputes to merit_app;
grant select, insert, update on recomputes to merit_engine;
