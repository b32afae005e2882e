-- The log of an attempt, as far as it is kept: chunks in the object store, dense by byte offset. A row is written by the leader, in the
-- order of the bytes, so that nothing is there twice; `bytes` is where the copying goes on, in whatever process.
create table job_logs (
  booking_id text not null,
  attempt    integer not null,
  tenant     text not null references tenants,
  bytes      bigint not null default 0 check (bytes >= 0),
  -- complete: all there was; truncated: it is longer than a log may be; lost: its provider had gone before the rest was copied.
  ended      text check (ended in ('complete', 'truncated', 'lost')),
  -- Of all bytes, read back from the object store before the provider's own were let go.
  sha256     text check (sha256 ~ '^[0-9a-f]{64}$'),
  updated_at timestamptz not null default now(),
  primary key (booking_id, attempt),
  foreign key (booking_id, attempt) references attempts
);
create table log_chunks (
  booking_id text not null,
  attempt    integer not null,
  tenant     text not null references tenants,
  from_byte  bigint not null check (from_byte >= 0),
  size       integer not null check (size > 0),
  sha256     text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  object_key text not null,
  primary key (booking_id, attempt, from_byte),
  foreign key (booking_id, attempt) references job_logs
);
select secure_table('job_logs');
select secure_table('log_chunks');
grant select on job_logs, log_chunks to merit_app;
grant select, insert, update on job_logs to merit_engine;
grant select, insert, delete on log_chunks to merit_engine;
