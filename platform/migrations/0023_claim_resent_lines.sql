-- Which leader is about to append a line once more, and since when: others leave it alone for a while. Of lines that a replay has to leave out, as they
-- were left out then, only the bytes go with their retention.
alter table quarantine
  add column resend_by bigint,
  add column resend_claimed_at timestamptz,
  add column bytes_gone boolean not null default false;
drop index quarantine_by_age;
create index quarantine_by_age on quarantine (created_at) where not bytes_gone;
grant update (resend_by, resend_claimed_at, raw, bytes_gone) on quarantine to merit_engine;
