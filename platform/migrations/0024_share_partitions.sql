-- Any number of processes share the partitions of a topic. Who reads a partition is decided here and not by the broker: the row's epoch is
-- compared in each transaction that has an effect, so that a reader which was passed over changes nothing.

-- What is read, as it was last seen. `layout` grows with each change and is compared in each flush: all readers stop at the same point.
create table ingest_topics (
  topic      text primary key,
  layout     bigint not null default 1,
  -- Times that the topic was made anew under its name. What belongs to an older one carries its name with `.g<number>` behind it.
  generation integer not null default 0,
  -- Of the log; null where it cannot tell.
  identity   text,
  partitions integer not null check (partitions > 0),
  changed_at timestamptz not null default clock_timestamp()
);

-- Readers that were heard of within their lease.
create table ingest_members (
  topic       text not null,
  member      text not null,
  -- Host, process id and start of the process.
  holder      text not null,
  heard_at    timestamptz not null,
  lease_until timestamptz not null,
  primary key (topic, member)
);

create table ingest_partitions (
  topic        text not null,
  partition    integer not null,
  -- Grows with each reader.
  epoch        bigint not null default 0,
  member       text,
  -- The oldest message that the log still had.
  first_offset bigint not null default 0,
  claimed_at   timestamptz,
  primary key (topic, partition)
);

-- Up to which line of a source partition strays were taken in: one that was appended again twice is known by it.
create table ingest_strays (
  topic      text not null,
  partition  integer not null,
  source     integer not null,
  log_offset bigint not null,
  line       integer not null,
  primary key (topic, partition, source)
);

-- What somebody has to know of: a topic that was made anew, messages that were removed unread.
create table ingest_alerts (
  alert_id    bigint generated always as identity primary key,
  topic       text not null,
  kind        text not null check (kind in ('recreated', 'lost', 'raised')),
  partition   integer,
  from_offset bigint,
  to_offset   bigint,
  detail      text not null,
  identity    text,
  at          timestamptz not null default clock_timestamp()
);

grant select on ingest_topics, ingest_members, ingest_partitions, ingest_strays, ingest_alerts to merit_app;
grant select, insert, update on ingest_topics, ingest_members, ingest_partitions, ingest_strays, ingest_alerts to merit_engine;
grant update (topic) on quarantine to merit_engine;
grant delete on ingest_members, ingest_partitions, ingest_strays to merit_engine;

-- A decision is signed outside any transaction: until then no other reader takes in reports of its suite, so that it stands at the
-- offsets that it records. The hold of a reader that is gone runs out.
alter table suite_states
  add column held_by    text,
  add column held_until timestamptz;

-- Positions only grow, but for their topic's name once it was made anew.
create or replace function offsets_only_grow() returns trigger language plpgsql as $$
begin
  if new.topic = old.topic and (new.next_offset, new.next_line) <= (old.next_offset, old.next_line) then
    raise exception 'consumer offsets only grow' using errcode = 'MR002';
  end if;
  return new;
end $$;

-- Whoever takes a partition over reads the blocks of its shards.
create index dedup_blocks_of_shard on dedup_blocks (shard, block_id);

-- Nobody leads the consumer any more.
delete from leader_epochs where name = 'ingest';
