-- The archive of the report log: which stretches of it are in the object store. Of the whole installation, like the log itself. A row is what
-- counts: an object without one is taken up by whoever archives next, since its key says where it begins.
create table archive_segments (
  topic             text not null,
  -- Of a topic that was deleted and made anew offsets mean other messages.
  generation        text not null,
  partition         integer not null,
  -- Offsets [from, next).
  from_offset       bigint not null check (from_offset >= 0),
  next_offset       bigint not null check (next_offset > from_offset),
  messages          integer not null check (messages > 0),
  -- Of the values; of the stored object.
  bytes             bigint not null,
  size              bigint not null,
  sha256            text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  marks_sha256      text not null check (marks_sha256 ~ '^[0-9a-f]{64}$'),
  -- The chain: each manifest names the one before.
  manifest          bytea not null,
  manifest_sha256   text not null check (manifest_sha256 ~ '^[0-9a-f]{64}$'),
  previous          text check (previous ~ '^[0-9a-f]{64}$'),
  first_appended_ms double precision not null,
  last_appended_ms  double precision not null,
  archived_at       timestamptz not null default clock_timestamp(),
  -- Its time is over: its objects go, and then are gone. The row stays, for the chain.
  expired_at        timestamptz,
  deleted_at        timestamptz,
  primary key (topic, generation, partition, from_offset),
  unique (topic, generation, partition, next_offset),
  check (deleted_at is null or expired_at is not null)
);
-- One chain a partition: one segment is the first, and one follows each.
create unique index archive_segments_chain on archive_segments (topic, generation, partition, coalesce(previous, ''));
create index archive_segments_to_delete on archive_segments (expired_at) where expired_at is not null and deleted_at is null;
create index archive_segments_oldest on archive_segments (last_appended_ms) where expired_at is null;

create function archive_segments_stay() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  if tg_op = 'DELETE' or (old.expired_at is not null and new.expired_at is distinct from old.expired_at)
     or (to_jsonb(new) - 'expired_at' - 'deleted_at') is distinct from (to_jsonb(old) - 'expired_at' - 'deleted_at') then
    raise exception 'archive_segments is append-only' using errcode = 'MR001';
  end if;
  return new;
end $$;
revoke execute on function archive_segments_stay() from public;
create trigger archive_segments_append_only before update or delete on archive_segments
  for each row execute function archive_segments_stay();

grant select, insert on archive_segments to merit_engine;
grant update (expired_at, deleted_at) on archive_segments to merit_engine;

insert into leader_epochs (name, epoch) values ('archive', -4);
