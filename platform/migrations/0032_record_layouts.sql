-- How many partitions a topic had before it got more, and how far they had been read then (as decisions record it), so that whoever reads it
-- again reads each stretch as it was read. null: of changes from before these columns nobody knows.
alter table ingest_alerts add column partitions integer check (partitions > 0), add column read_at jsonb;
-- What was read of a topic that was made anew since, and is in no archive.
alter table ingest_alerts drop constraint ingest_alerts_kind_check,
  add constraint ingest_alerts_kind_check check (kind in ('recreated', 'lost', 'raised', 'unarchived'));
-- How the archive names this life of the topic; null: by its identity.
alter table ingest_topics add column life text check (life ~ '^[A-Za-z0-9._-]{1,200}$');
