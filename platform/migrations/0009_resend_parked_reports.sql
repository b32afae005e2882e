-- A report whose model or suite was not registered waits in the quarantine under that name. Registration turns `awaits` into `resend`;
-- the consumer then appends the line to the log again, and it is read as any other.
alter table quarantine
  add column awaits text,
  add column resend boolean not null default false;
create index quarantine_awaits on quarantine (tenant, reason, awaits) where awaits is not null;
create index quarantine_resend on quarantine (created_at, topic, partition, log_offset, line) where resend;
grant update (awaits, resend) on quarantine to merit_engine;
