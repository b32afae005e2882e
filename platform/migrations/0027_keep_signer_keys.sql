-- Which key signed the audit trail when. One is in use; one that was asked for has no window yet, and gets it with the checkpoint by which the key
-- before it ends: that one seals the event which tells of the change.
create table signer_keys (
  key_id     text primary key,
  algorithm  text not null check (algorithm in ('ed25519', 'ecdsa-p256-sha256')),
  public_key bytea not null,
  -- Who asked for it, and for whose trail the event is written; null for the first key.
  of_tenant  text,
  actor      text,
  trace_id   text,
  asked_at   timestamptz not null default now(),
  -- Of the event, once it is written.
  event_id   text,
  valid_from timestamptz,
  valid_to   timestamptz,
  check (valid_from is not null or valid_to is null)
);
create unique index signer_key_in_use on signer_keys ((true)) where valid_from is not null and valid_to is null;
create unique index signer_key_asked_for on signer_keys ((true)) where valid_from is null;

-- A key never changes, and what was said of it once is not said anew. One that was asked for can be taken back until the trail tells of it.
create function refuse_key_change() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  if tg_op = 'DELETE' and old.event_id is null and old.valid_from is null then return old; end if;
  if tg_op = 'DELETE'
     or (new.key_id, new.algorithm, new.public_key, new.of_tenant, new.actor, new.trace_id, new.asked_at)
        is distinct from (old.key_id, old.algorithm, old.public_key, old.of_tenant, old.actor, old.trace_id, old.asked_at)
     or (old.event_id is not null and new.event_id is distinct from old.event_id)
     or (old.valid_from is not null and new.valid_from is distinct from old.valid_from)
     or (old.valid_to is not null and new.valid_to is distinct from old.valid_to) then
    raise exception 'signer_keys is append-only' using errcode = 'MR001';
  end if;
  return new;
end $$;
create trigger signer_keys_append_only before update or delete on signer_keys for each row execute function refuse_key_change();
revoke execute on function refuse_key_change() from public;
grant select, insert, update, delete on signer_keys to merit_engine;
