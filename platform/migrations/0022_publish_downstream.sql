-- Up to where the audit trail was published to downstream consumers. Published facts of the outbox are removed by their age.
create table publications (
  name     text primary key,
  next_seq bigint not null check (next_seq >= 0),
  moved_at timestamptz not null default clock_timestamp()
);
grant select, insert, update on publications to merit_engine;
create index outbox_published on outbox (published_at) where published_at is not null;
