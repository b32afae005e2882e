-- What is checked of rows is checked of all rows of a statement at once, and what a transition changes stays out of the indexes. Of 1,000
-- transfers in one insert, the checks of four foreign keys were three quarters of the time: each row probes each referenced table by a
-- query of its own and locks what it finds. In their place:
--
--   who never goes     an account, a booking and a tenant are never removed and never renamed (triggers below), so nothing that names one
--                      can become an orphan later, and no lock of it is needed;
--   who is there       the accounts, tenants and bookings that new rows name are looked up by one query a statement, in the
--                      database, whoever writes; of transfers it asks more than the foreign keys did: same tenant, same unit, and that
--                      what is resolved is a pending transfer of the same accounts;
--   who is still open  pending_transfers is written by the same trigger and by nobody else, so the list cannot differ from its transfers.
--
-- ledger/invariants.sql asks the same of the whole history.

create function refuse_removal() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  raise exception '% are neither removed nor renamed', tg_table_name using errcode = 'MR001';
end $$;
create trigger tenants_stay before delete or update of tenant on tenants for each row execute function refuse_removal();
create trigger accounts_stay before delete or update of account_id, tenant, unit on accounts for each row execute function refuse_removal();
create trigger bookings_stay before delete or update of booking_id, tenant on bookings for each row execute function refuse_removal();
create trigger accounts_stay_all before truncate on accounts for each statement execute function refuse_removal();

-- Each look-up is a scalar subquery, so that it stays a probe of an index however many rows come and whenever the plan was made. As the
-- owner: what it sees does not depend on who writes, and nobody else can write pending_transfers.
create function enter_transfers() returns trigger language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  wrong text;
begin
  select n.transfer_id into wrong from added n
  where (select d.tenant = n.tenant and c.tenant = n.tenant and d.unit = c.unit from accounts d, accounts c
         where d.account_id = n.debit_account and c.account_id = n.credit_account) is not true
     or (n.pending_id is not null
         and (select p.kind = 'pending' and p.tenant = n.tenant and p.debit_account = n.debit_account and p.credit_account = n.credit_account
              from transfers p where p.transfer_id = n.pending_id) is not true)
  limit 1;
  if found then
    raise exception 'transfer % names an account or a pending transfer that is not there, or not of its tenant and unit', wrong
      using errcode = 'foreign_key_violation';
  end if;
  delete from pending_transfers
  where transfer_id = any(array(select n.pending_id from added n where n.pending_id is not null));
  insert into pending_transfers (transfer_id, tenant, booking_id, expires_at)
  select n.transfer_id, n.tenant, n.booking_id, n.expires_at from added n
  where n.kind = 'pending' and not exists (select from added r where r.pending_id = n.transfer_id);
  return null;
end $$;
create trigger transfers_entered after insert on transfers referencing new table as added for each statement execute function enter_transfers();

alter table transfers
  drop constraint transfers_tenant_fkey,
  drop constraint transfers_pending_id_fkey,
  drop constraint transfers_debit_account_fkey,
  drop constraint transfers_credit_account_fkey;
alter table pending_transfers
  drop constraint pending_transfers_transfer_id_fkey,
  drop constraint pending_transfers_tenant_fkey;
drop index pending_transfers_by_booking;
revoke insert, delete on pending_transfers from merit_app, merit_engine;

create function require_tenants() returns trigger language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  if exists (select from (select distinct n.tenant from added n) a where (select true from tenants t where t.tenant = a.tenant) is not true) then
    raise exception '% name a tenant that is not there', tg_table_name using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;
create trigger audit_of_tenants after insert on audit_events referencing new table as added for each statement execute function require_tenants();
create trigger evidence_of_tenants after insert on evidence referencing new table as added for each statement execute function require_tenants();
alter table audit_events drop constraint audit_events_tenant_fkey;
alter table evidence drop constraint evidence_tenant_fkey;

create function require_bookings() returns trigger language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  if exists (select from added n where (select b.tenant from bookings b where b.booking_id = n.booking_id) is distinct from n.tenant) then
    raise exception '% name a booking that is not there, or not of their tenant', tg_table_name using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;
create trigger attempts_of_bookings after insert on attempts referencing new table as added for each statement execute function require_bookings();
alter table attempts
  drop constraint attempts_booking_id_fkey,
  drop constraint attempts_tenant_fkey;
-- The division is of the tenant, by a foreign key of its own.
alter table bookings drop constraint bookings_tenant_fkey;

revoke execute on function refuse_removal(), enter_transfers(), require_tenants(), require_bookings() from public;

-- A transition changes no column that an index is made of, nor one of its condition, and finds room on its page: it writes no index.
alter table bookings set (fillfactor = 40);
alter table bookings
  add column ended boolean not null
    generated always as (state in ('released', 'rejected', 'infeasible', 'failed', 'expired', 'cancelled', 'revoked')) stored;
drop index bookings_live;
create index bookings_live on bookings (created_at) where not ended;
alter table accounts set (fillfactor = 50);
alter table attempts set (fillfactor = 70);
