-- Tenancy, ledger, bookings, audit, event log, artifacts. Run by merit_owner; the server works as merit_app (one tenant a
-- transaction, by row-level security) and merit_engine (planner, consumers, sweeps; sees all tenants by explicit policy).

create table tenants (
  tenant     text primary key check (tenant ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  created_at timestamptz not null default now()
);

create table divisions (
  tenant   text not null references tenants,
  division text not null check (division ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  primary key (tenant, division)
);

-- Fencing: whoever leads mints epoch + 1 here, and every writing transaction of the engine reads the row FOR SHARE.
create table leader_epochs (
  name   text primary key,
  epoch  bigint not null default 0,
  holder text
);

create table pools (
  tenant          text not null references tenants,
  pool            text not null check (pool ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  provider        text not null,
  file            jsonb not null,
  version         bigint not null default 1,
  created_at      timestamptz not null default now(),
  primary key (tenant, pool)
);

create table flavours (
  tenant              text not null,
  pool                text not null,
  flavour             text not null check (flavour ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  position            integer not null,
  resource            text not null check (resource in ('gpu', 'cpu')),
  capacity_milli      bigint not null check (capacity_milli >= 0),
  spot                boolean not null default false,
  currency            text not null check (currency ~ '^[A-Z]{3}$'),
  cents_per_unit_hour bigint not null check (cents_per_unit_hour >= 0),
  primary key (tenant, pool, flavour),
  foreign key (tenant, pool) references pools
);

-- One row a balance. A limit is enforced by CHECK, so no code path can over-commit. `drain_debt` is what use exceeds a
-- lowered limit by; each release pays it down first.
create table accounts (
  account_id      text primary key,
  tenant          text not null references tenants,
  kind            text not null check (kind in ('capacity', 'quota', 'budget', 'spend')),
  division        text,
  pool            text,
  flavour         text,
  unit            text not null,
  net_limit       bigint check (net_limit >= 0),
  drain_debt      bigint not null default 0 check (drain_debt >= 0),
  debits_pending  bigint not null default 0 check (debits_pending >= 0),
  debits_posted   bigint not null default 0 check (debits_posted >= 0),
  credits_pending bigint not null default 0 check (credits_pending >= 0),
  credits_posted  bigint not null default 0 check (credits_posted >= 0),
  -- capacity and budget give (debits), quota and spend take (credits)
  constraint within_limit check (
    net_limit is null
    or case when kind in ('capacity', 'budget') then debits_pending + debits_posted - credits_posted
            else credits_pending + credits_posted - debits_posted end <= net_limit + drain_debt),
  constraint never_negative check (
    case when kind in ('capacity', 'budget') then debits_posted - credits_posted - credits_pending
         else credits_posted - debits_posted - debits_pending end >= 0)
);
create index accounts_by_tenant on accounts (tenant, kind, division);

-- Append-only. `pending` waits for exactly one of post, void, expire; `direct` moves at once.
create table transfers (
  transfer_id    text primary key,
  tenant         text not null references tenants,
  booking_id     text,
  attempt        integer,
  kind           text not null check (kind in ('pending', 'direct', 'post', 'void', 'expire')),
  pending_id     text references transfers,
  debit_account  text not null references accounts,
  credit_account text not null references accounts,
  amount         bigint not null check (amount >= 0),
  expires_at     timestamptz,
  recorded_at    timestamptz not null default clock_timestamp(),
  check (debit_account <> credit_account),
  check ((kind in ('post', 'void', 'expire')) = (pending_id is not null))
);
create unique index transfers_resolve_once on transfers (pending_id) where pending_id is not null;
create index transfers_by_booking on transfers (booking_id);

-- What of the above is not resolved yet: the expiry sweep reads this, not the history.
create table pending_transfers (
  transfer_id text primary key references transfers,
  tenant      text not null references tenants,
  booking_id  text,
  expires_at  timestamptz
);
create index pending_transfers_due on pending_transfers (expires_at) where expires_at is not null;
create index pending_transfers_by_booking on pending_transfers (booking_id);

create table bookings (
  booking_id  text primary key,
  tenant      text not null references tenants,
  division    text not null,
  job_name    text not null,
  requester   text not null,
  trace_id    text not null,
  spec        jsonb not null,
  spec_hash   text not null,
  state       text not null check (state in ('waiting', 'awaiting_signatures', 'reserved', 'requesting', 'confirming',
                 'applied', 'draining', 'releasing', 'released', 'rejected', 'infeasible', 'failed', 'expired', 'cancelled', 'revoked')),
  -- The fields that exist in this state (core/booking.ts), as canonical JSON.
  data        jsonb not null,
  version     bigint not null,
  created_at  timestamptz not null,
  updated_at  timestamptz not null,
  foreign key (tenant, division) references divisions
);
create index bookings_live on bookings (created_at)
  where state not in ('released', 'rejected', 'infeasible', 'failed', 'expired', 'cancelled', 'revoked');
create index bookings_by_tenant on bookings (tenant, created_at desc, booking_id);

-- Each try at a provider; the key is m-<booking>-<attempt>.
create table attempts (
  booking_id text not null references bookings,
  attempt    integer not null,
  tenant     text not null references tenants,
  pool       text not null,
  flavour    text not null,
  provider   text not null,
  key        text not null unique,
  handle     jsonb,
  started_at timestamptz,
  ended_at   timestamptz,
  outcome    text,
  message    text,
  primary key (booking_id, attempt)
);

-- Answers of peers and other content that audit events name by hash, kept whole for the receipt.
create table evidence (
  tenant     text not null references tenants,
  hash       text not null,
  body       bytea not null,
  created_at timestamptz not null default now(),
  primary key (tenant, hash)
);

-- Canonical bytes, written in the transaction of the change they tell of; seq is given later by the one fenced sequencer.
create table audit_events (
  event_id    text primary key,
  tenant      text not null references tenants,
  subject     text not null,
  subject_seq bigint not null,
  type        text not null,
  bytes       bytea not null,
  recorded_at timestamptz not null default clock_timestamp(),
  -- The order of recording; unlike the time it never goes back.
  recorded_no bigint generated always as identity,
  seq         bigint unique,
  leaf_hash   bytea,
  unique (tenant, subject, subject_seq)
);
create index audit_unsequenced on audit_events (recorded_no) where seq is null;

-- The Merkle tree's complete nodes, leaves at level 0: never changed once written, and of all tenants, so that a tenant's
-- proof needs no event of another.
create table audit_nodes (
  level    smallint not null,
  position bigint not null,
  hash     bytea not null check (octet_length(hash) = 32),
  primary key (level, position)
);

create table audit_checkpoints (
  tree_size  bigint primary key,
  root_hash  bytea not null,
  note       text not null,
  created_at timestamptz not null default clock_timestamp()
);

create table manifests (
  manifest_id text primary key,
  tenant      text not null references tenants,
  booking_id  text not null,
  attempt     integer not null,
  sha256      text not null,
  bytes       bytea not null,
  created_at  timestamptz not null default now(),
  unique (booking_id, attempt)
);

create table manifest_files (
  manifest_id text not null references manifests,
  tenant      text not null references tenants,
  path        text not null,
  size        bigint not null,
  sha256      text not null,
  object_key  text not null,
  primary key (manifest_id, path)
);

-- The embedded event log: offsets are dense per partition because the appender holds the partition's row.
create table log_partitions (
  topic       text not null,
  partition   integer not null,
  next_offset bigint not null default 0,
  primary key (topic, partition)
);
create table log_messages (
  topic       text not null,
  partition   integer not null,
  log_offset  bigint not null,
  tenant      text not null references tenants,
  key         text not null,
  value       bytea,
  headers     jsonb not null default '{}',
  appended_at timestamptz not null default clock_timestamp(),
  primary key (topic, partition, log_offset)
);

create table idempotency_keys (
  tenant     text not null references tenants,
  key        text not null,
  route      text not null,
  body_hash  text not null,
  status     integer,
  headers    jsonb,
  reply      bytea,
  hits       bigint not null default 0,
  created_at timestamptz not null default now(),
  primary key (tenant, key)
);

-- Published facts for downstream consumers; drained in order.
create table outbox (
  outbox_id  bigint generated always as identity primary key,
  tenant     text not null references tenants,
  topic      text not null,
  key        text not null,
  body       jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  published_at timestamptz
);
create index outbox_unpublished on outbox (outbox_id) where published_at is null;

-- What is written stays written: transfers never change; an audit event gets its seq and leaf once, nothing else.
create function refuse_change() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'MR001';
end $$;
create trigger transfers_append_only before update or delete on transfers for each row execute function refuse_change();
create trigger nodes_append_only before update or delete on audit_nodes for each row execute function refuse_change();
create trigger checkpoints_append_only before update or delete on audit_checkpoints for each row execute function refuse_change();
create trigger manifests_append_only before update or delete on manifests for each row execute function refuse_change();
create trigger manifest_files_append_only before update or delete on manifest_files for each row execute function refuse_change();
create trigger evidence_append_only before update or delete on evidence for each row execute function refuse_change();

create function audit_sequence_once() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  if tg_op = 'DELETE' or old.seq is not null or new.seq is null
     or (new.event_id, new.tenant, new.subject, new.subject_seq, new.type, new.bytes, new.recorded_at, new.recorded_no)
        is distinct from
        (old.event_id, old.tenant, old.subject, old.subject_seq, old.type, old.bytes, old.recorded_at, old.recorded_no) then
    raise exception 'audit_events is append-only' using errcode = 'MR001';
  end if;
  return new;
end $$;
create trigger audit_append_only before update or delete on audit_events for each row execute function audit_sequence_once();

-- Row-level security. `secure_table` is what every later migration calls for a tenant's table.
create function secure_table(name text) returns void language plpgsql set search_path = public, pg_temp as $$
begin
  execute format('alter table %I enable row level security', name);
  execute format('alter table %I force row level security', name);
  execute format($p$create policy app_own_tenant on %I to merit_app
    using (tenant = current_setting('merit.tenant', true)) with check (tenant = current_setting('merit.tenant', true))$p$, name);
  execute format('create policy engine_all on %I to merit_engine using (true) with check (true)', name);
  execute format('create policy owner_all on %I to merit_owner using (true) with check (true)', name);
end $$;

revoke execute on function refuse_change(), audit_sequence_once(), secure_table(text) from public;

do $$
declare t text;
begin
  foreach t in array array['tenants', 'divisions', 'pools', 'flavours', 'accounts', 'transfers', 'pending_transfers', 'bookings', 'attempts', 'evidence',
                           'audit_events', 'manifests', 'manifest_files', 'log_messages', 'idempotency_keys', 'outbox'] loop
    perform secure_table(t);
  end loop;
end $$;

grant usage on schema public to merit_app, merit_engine;
grant select on all tables in schema public to merit_app, merit_engine;
grant insert on divisions, pools, flavours, accounts, transfers, pending_transfers, bookings, evidence, audit_events, log_messages, idempotency_keys, outbox to merit_app;
grant update on pools, flavours, accounts, bookings, idempotency_keys, log_partitions to merit_app;
grant insert on all tables in schema public to merit_engine;
grant update on leader_epochs, pools, flavours, accounts, bookings, attempts, audit_events, log_partitions, idempotency_keys, outbox to merit_engine;
grant delete on idempotency_keys, outbox, log_messages, flavours to merit_engine;
grant delete on pending_transfers to merit_app, merit_engine;
grant usage on all sequences in schema public to merit_app, merit_engine;
insert into leader_epochs (name) values ('engine');
