-- By this the readers of a topic know their own strays: a message that says where its lines were read, and does not carry this key's seal, is
-- read like any other. Only the engine sees it; a topic that is made anew gets another.
create table ingest_keys (
  topic  text primary key,
  secret bytea not null check (length(secret) = 32)
);
grant select, insert, update, delete on ingest_keys to merit_engine;
