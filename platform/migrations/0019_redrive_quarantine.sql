-- A line that was set aside can be appended to the log once more. It keeps what was done: when, by whom, and where it stands in the log now; a line
-- that is set aside again names the one that it came from. `suite` and `producer` are as the line says; `sender` is the authenticated one, which a
-- second reading is held to again.
alter table quarantine
  add column suite text,
  add column sender text,
  add column redriven_at timestamptz,
  add column redriven_by text,
  add column resent_partition integer,
  add column resent_offset bigint,
  add column redrive_of text;
create index quarantine_redrive_of on quarantine (tenant, redrive_of) where redrive_of is not null;
create index quarantine_by_age on quarantine (created_at);
grant update (awaits, resend, redriven_at, redriven_by) on quarantine to merit_app;
grant update (redriven_at, redriven_by, resent_partition, resent_offset) on quarantine to merit_engine;
grant delete on quarantine to merit_engine;
