-- What several people have to sign before it happens, and what they signed. Which of the signatures count is decided by the signing policy that
-- stands when it happens.
create table proposals (
  proposal_id    text primary key,
  tenant         text not null references tenants,
  action         text not null check (action in ('allocation.apply', 'allocation.revoke', 'signing-policy.change')),
  subject        text not null,
  booking_id     text references bookings,
  requester      text not null,
  -- All names of whoever asked, none of whom counts.
  askers         text[] not null,
  reason         text,
  -- What SentinelNet asks for.
  asked          integer not null check (asked >= 0),
  statement      jsonb not null,
  statement_hash text not null,
  content        jsonb not null,
  -- met: enough people signed, and it is not used yet; done: used, once.
  state          text not null default 'open' check (state in ('open', 'met', 'done', 'rejected', 'expired', 'void')),
  created_at     timestamptz not null,
  expires_at     timestamptz not null,
  ended_at       timestamptz,
  check ((subject = 'booking/' || booking_id) is not false)
);
create unique index proposals_live on proposals (tenant, subject, action) where state in ('open', 'met');
create index proposals_by_time on proposals (tenant, created_at, proposal_id);
create index proposals_of_bookings on proposals (booking_id, created_at) where booking_id is not null;
create index proposals_by_expiry on proposals (expires_at) where state in ('open', 'met');

-- Of each key one signature under a proposal. People are counted, by the keys that are theirs then.
create table approvals (
  proposal_id text not null references proposals,
  tenant      text not null references tenants,
  person      text not null,
  key_id      text not null,
  signature   bytea not null check (octet_length(signature) = 64),
  signed_at   timestamptz not null,
  actor       text not null,
  primary key (proposal_id, key_id)
);
create trigger approvals_append_only before update or delete on approvals for each row execute function refuse_change();

-- What ended stays ended: a quorum is used once, whoever writes.
create function proposal_once() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  if old.state = 'open' or (old.state = 'met' and new.state in ('done', 'expired', 'void')) then
    return new;
  end if;
  raise exception 'proposal % is % and stays so', old.proposal_id, old.state;
end $$;
create trigger proposals_once before update on proposals for each row execute function proposal_once();
revoke execute on function proposal_once() from public;

do $$
declare t text;
begin
  foreach t in array array['proposals', 'approvals'] loop
    perform secure_table(t);
    execute format('grant select, insert on %I to merit_app', t);
    execute format('grant select on %I to merit_engine', t);
  end loop;
end $$;
grant update (state, ended_at) on proposals to merit_app, merit_engine;
grant insert on proposals to merit_engine;

alter table quota_documents drop constraint quota_documents_kind_check;
alter table quota_documents add constraint quota_documents_kind_check
  check (kind in ('Group', 'Division', 'PriorityClass', 'Budget', 'Scheduling', 'SigningPolicy'));
-- An apply holds the signing policy by which its signatures count (FOR SHARE asks for the right to write).
grant update (version) on quota_documents to merit_engine;
