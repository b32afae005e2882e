-- What must hold of the ledger and the audit trail at every commit. Each query returns the rows that break its rule; none:
-- it holds. `-- name:` begins a query; ledger/invariants.ts runs them. Read by an engine's transaction, or by the owner.

-- name: conservation
-- What is debited is credited: per tenant and unit, pending and posted entries sum to zero.
select tenant, unit, sum(debits_posted) - sum(credits_posted) as posted, sum(debits_pending) - sum(credits_pending) as pending
from accounts group by tenant, unit
having sum(debits_posted) <> sum(credits_posted) or sum(debits_pending) <> sum(credits_pending)

-- name: balances_follow_from_transfers
with entries as (
  select t.debit_account, t.credit_account, t.kind, t.amount,
         t.kind = 'pending' and r.transfer_id is null as is_open
  from transfers t left join transfers r on r.pending_id = t.transfer_id
), sums as (
  select account_id, sum(dp) as dp, sum(d) as d, sum(cp) as cp, sum(c) as c from (
    select debit_account as account_id, case when is_open then amount else 0 end as dp,
           case when kind in ('direct', 'post', 'borrow', 'repay') then amount else 0 end as d, 0 as cp, 0 as c from entries
    union all
    select credit_account, 0, 0, case when is_open then amount else 0 end,
           case when kind in ('direct', 'post', 'borrow', 'repay') then amount else 0 end from entries
  ) sides group by account_id
)
select a.account_id, a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted, s.dp, s.d, s.cp, s.c
from accounts a left join sums s using (account_id)
where (a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted)
   is distinct from (coalesce(s.dp, 0), coalesce(s.d, 0), coalesce(s.cp, 0), coalesce(s.c, 0))

-- name: use_is_within_limit_and_debt
-- Drain debt is exactly what use exceeds the limit by.
select * from (
  select account_id, net_limit, drain_debt,
         case when kind in ('capacity', 'budget') then debits_pending + debits_posted - credits_posted
              else credits_pending + credits_posted - debits_posted + lender_debt end as use
  from accounts
) a
where drain_debt <> case when net_limit is null then 0 else greatest(0, use - net_limit) end or use < 0

-- name: what_is_used_past_local_is_owed
-- Of each node of a quota tree, to its parent; who has no parent owes nothing.
select account_id, parent_account, local_limit, lender_debt, use from (
  select *, credits_pending + credits_posted - debits_posted + lender_debt as use from accounts
) a
where lender_debt <> case when parent_account is null then 0 else greatest(0, use - local_limit) end

-- name: lender_debts_follow_from_entries
select a.account_id, a.lender_debt, coalesce(s.owed, 0) as owed
from accounts a left join (
  select account_id, sum(owed) as owed from (
    select debit_account as account_id, amount as owed from transfers where kind = 'borrow'
    union all
    select credit_account, -amount from transfers where kind = 'repay'
  ) entries group by account_id
) s using (account_id)
where a.lender_debt <> coalesce(s.owed, 0)

-- name: a_group_uses_what_its_children_owe
select g.account_id, g.credits_posted - g.debits_posted + g.lender_debt as use, coalesce(s.owed, 0) as owed
from accounts g left join (
  select parent_account, sum(lender_debt) as owed from accounts where parent_account is not null group by parent_account
) s on s.parent_account = g.account_id
where g.kind = 'group'
  and (g.credits_posted - g.debits_posted + g.lender_debt <> coalesce(s.owed, 0) or g.credits_pending <> 0 or g.debits_pending <> 0)

-- name: the_quota_tree_joins_one_flavour
-- Parents are groups, of the same tenant, pool, flavour and resource.
select a.account_id, p.account_id as parent from accounts a join accounts p on p.account_id = a.parent_account
where p.kind <> 'group' or (a.tenant, a.pool, a.flavour, a.unit) is distinct from (p.tenant, p.pool, p.flavour, p.unit)

-- name: debts_are_all_that_groups_take_part_in
select t.transfer_id, t.kind, d.kind as debit_kind, c.kind as credit_kind
from transfers t join accounts d on d.account_id = t.debit_account join accounts c on c.account_id = t.credit_account
where case t.kind when 'borrow' then d.kind not in ('quota', 'group') or c.kind <> 'group'
                  when 'repay' then d.kind <> 'group' or c.kind not in ('quota', 'group')
                  else 'group' in (d.kind, c.kind) end

-- name: transfers_join_one_tenant_and_unit
-- Accounts that are there.
select t.transfer_id, d.unit as debit_unit, c.unit as credit_unit
from transfers t left join accounts d on d.account_id = t.debit_account left join accounts c on c.account_id = t.credit_account
where d.unit is null or d.unit is distinct from c.unit or t.tenant is distinct from d.tenant or t.tenant is distinct from c.tenant

-- name: resolutions_fit_their_pending_transfer
select r.transfer_id, r.kind, r.amount, p.transfer_id as pending_id, p.kind as pending_kind, p.amount as pending_amount
from transfers r left join transfers p on p.transfer_id = r.pending_id
where r.pending_id is not null
  and (p.transfer_id is null or p.kind <> 'pending' or r.debit_account <> p.debit_account or r.credit_account <> p.credit_account
       or r.tenant <> p.tenant or r.booking_id is distinct from p.booking_id
       or case when r.kind = 'post' then r.amount > p.amount else r.amount <> p.amount end)

-- name: who_is_named_is_there
-- Of what has no foreign key: the tenants of events and evidence, the bookings of attempts.
select 'audit_events' as named_by, event_id as id from audit_events e where not exists (select from tenants t where t.tenant = e.tenant)
union all
select 'evidence', hash from evidence e where not exists (select from tenants t where t.tenant = e.tenant)
union all
select 'attempts', key from attempts a where not exists (select from bookings b where b.booking_id = a.booking_id and b.tenant = a.tenant)

-- name: open_pendings_are_listed
select transfer_id, o.transfer_id is not null as listed, u.transfer_id is not null as unresolved
from pending_transfers o
full join (select t.transfer_id from transfers t left join transfers r on r.pending_id = t.transfer_id
           where t.kind = 'pending' and r.transfer_id is null) u using (transfer_id)
where o.transfer_id is null or u.transfer_id is null

-- name: every_transition_has_its_event
-- A booking starts at version 1 with booking.created; each transition, and each step of an extension, adds 1 and one event. Flags do neither.
select b.booking_id, b.version, count(e.event_id) as events
from bookings b
left join audit_events e on e.tenant = b.tenant and e.subject = 'booking/' || b.booking_id
  and e.type in ('booking.created', 'booking.waiting', 'booking.awaiting_signatures', 'booking.reserved', 'booking.requesting',
                 'booking.confirming', 'booking.applied', 'booking.draining', 'booking.releasing', 'booking.released',
                 'booking.rejected', 'booking.infeasible', 'booking.failed', 'booking.expired', 'booking.cancelled', 'booking.revoked',
                 'booking.extension_asked', 'booking.extension_held', 'booking.extended', 'booking.extension_refused')
group by b.booking_id, b.version
having b.version <> count(e.event_id)

-- name: transitions_are_legal
with edges (from_state, to_state) as (values
  ('waiting', 'awaiting_signatures'), ('waiting', 'reserved'), ('waiting', 'rejected'), ('waiting', 'infeasible'),
  ('waiting', 'expired'), ('waiting', 'cancelled'),
  ('awaiting_signatures', 'waiting'), ('awaiting_signatures', 'rejected'), ('awaiting_signatures', 'expired'),
  ('awaiting_signatures', 'cancelled'),
  ('reserved', 'requesting'), ('reserved', 'releasing'),
  ('requesting', 'confirming'), ('requesting', 'releasing'),
  ('confirming', 'applied'), ('confirming', 'releasing'),
  ('applied', 'draining'), ('applied', 'releasing'),
  ('draining', 'releasing'),
  ('releasing', 'released'), ('releasing', 'rejected'), ('releasing', 'failed'), ('releasing', 'expired'),
  ('releasing', 'cancelled'), ('releasing', 'revoked'), ('releasing', 'waiting')
), steps as (
  select tenant, subject, subject_seq, case when type = 'booking.created' then 'waiting' else substr(type, 9) end as state,
         type = 'booking.created' as is_first,
         lag(case when type = 'booking.created' then 'waiting' else substr(type, 9) end)
           over (partition by tenant, subject order by subject_seq) as previous
  from audit_events
  where subject like 'booking/%'
    and type in ('booking.created', 'booking.waiting', 'booking.awaiting_signatures', 'booking.reserved', 'booking.requesting',
                 'booking.confirming', 'booking.applied', 'booking.draining', 'booking.releasing', 'booking.released',
                 'booking.rejected', 'booking.infeasible', 'booking.failed', 'booking.expired', 'booking.cancelled', 'booking.revoked')
)
select s.tenant, s.subject, s.subject_seq, s.previous, s.state from steps s
left join edges on edges.from_state = s.previous and edges.to_state = s.state
where case when s.previous is null then not s.is_first else s.is_first or edges.from_state is null end

-- name: a_booking_is_where_its_last_event_says
select b.booking_id, b.state, last.type
from bookings b left join lateral (
  select type from audit_events e
  where e.tenant = b.tenant and e.subject = 'booking/' || b.booking_id
    and e.type in ('booking.created', 'booking.waiting', 'booking.awaiting_signatures', 'booking.reserved', 'booking.requesting',
                   'booking.confirming', 'booking.applied', 'booking.draining', 'booking.releasing', 'booking.released',
                   'booking.rejected', 'booking.infeasible', 'booking.failed', 'booking.expired', 'booking.cancelled', 'booking.revoked')
  order by subject_seq desc limit 1
) last on true
where last.type is null
   or b.state <> case when last.type = 'booking.created' then 'waiting' else substr(last.type, 9) end

-- name: only_bookings_under_way_hold_pending_transfers
select b.booking_id, b.state, p.transfer_id
from pending_transfers p join bookings b using (booking_id)
where b.state not in ('reserved', 'requesting', 'confirming', 'applied', 'draining', 'releasing')

-- name: only_bookings_under_way_hold_quota
-- Capacity taken minus capacity returned, per quota account; money stays spent.
select b.booking_id, b.state, a.account_id,
       sum(case when t.credit_account = a.account_id then t.amount else -t.amount end) as held
from bookings b
join transfers t on t.booking_id = b.booking_id and t.kind in ('direct', 'post')
join accounts a on a.kind = 'quota' and a.account_id in (t.debit_account, t.credit_account)
where b.state not in ('reserved', 'requesting', 'confirming', 'applied', 'draining', 'releasing')
group by b.booking_id, b.state, a.account_id
having sum(case when t.credit_account = a.account_id then t.amount else -t.amount end) <> 0

-- name: events_of_a_subject_have_no_gap
select tenant, subject, count(*) as events, min(subject_seq) as first, max(subject_seq) as last
from audit_events group by tenant, subject
having min(subject_seq) <> 1 or max(subject_seq) <> count(*)

-- name: event_columns_are_what_the_bytes_say
select event_id from (
  select *, convert_from(bytes, 'UTF8')::jsonb as event from audit_events
) e
where (event_id, tenant, subject, subject_seq::text, type)
   is distinct from (event->>'id', event->>'tenant', event->>'subject', event->>'n', event->>'type')

-- name: the_sequence_has_no_gap
select count(seq) as sequenced, min(seq) as first, max(seq) as last
from audit_events where seq is not null
having count(seq) > 0 and (min(seq) <> 0 or max(seq) <> count(seq) - 1)

-- name: events_of_a_subject_keep_their_order
select tenant, subject, subject_seq, seq from (
  select tenant, subject, subject_seq, seq,
         lag(seq) over (partition by tenant, subject order by subject_seq) as previous,
         lag(subject_seq) over (partition by tenant, subject order by subject_seq) as previous_n
  from audit_events
) e
where previous_n is not null and seq is not null and (previous is null or previous >= seq)

-- name: leaves_are_the_hashes_of_their_events
select e.event_id, e.seq from audit_events e left join audit_nodes n on n.level = 0 and n.position = e.seq
where e.seq is not null
  and (e.leaf_hash is distinct from sha256('\x00'::bytea || e.bytes) or n.hash is distinct from e.leaf_hash)

-- name: nodes_are_the_hashes_of_their_children
select p.level, p.position from audit_nodes p
left join audit_nodes l on l.level = p.level - 1 and l.position = p.position * 2
left join audit_nodes r on r.level = p.level - 1 and r.position = p.position * 2 + 1
where p.level > 0 and p.hash is distinct from sha256('\x01'::bytea || l.hash || r.hash)

-- name: checkpoints_cover_what_exists
select tree_size from audit_checkpoints
where tree_size > (select count(*) from audit_events where seq is not null)

-- name: evidence_has_its_hash
select tenant, hash from evidence where hash <> encode(sha256(body), 'hex')

-- name: manifests_have_their_hash
select manifest_id from manifests where sha256 <> encode(sha256(bytes), 'hex')
