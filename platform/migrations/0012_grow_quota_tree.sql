-- The quota tree in the ledger: groups have accounts, and what a node uses past its local part is owed to the account above it. The
-- debt is a column that entries of the kinds `borrow` (child to parent) and `repay` (back) prove. The row's own CHECK lets a node keep no
-- more than its local part, so that no code path can use a parent's quota without an entry that the parent's limit counts.
alter table accounts
  add column parent_account text references accounts,
  -- What of its quota the node keeps for itself; null: it has no parent, and owes nothing.
  add column local_limit bigint check (local_limit >= 0),
  add column lender_debt bigint not null default 0;
create index accounts_by_parent on accounts (parent_account) where parent_account is not null;

alter table accounts
  drop constraint accounts_kind_check,
  drop constraint within_limit,
  drop constraint never_negative,
  add constraint accounts_kind_check check (kind in ('capacity', 'quota', 'group', 'budget', 'spend')),
  -- capacity and budget give (debits); quota, group and spend take (credits). What is owed to the parent left by a debit, and is used.
  add constraint within_limit check (
    net_limit is null
    or case when kind in ('capacity', 'budget') then debits_pending + debits_posted - credits_posted
            else credits_pending + credits_posted - debits_posted + lender_debt end <= net_limit + drain_debt),
  add constraint never_negative check (
    case when kind in ('capacity', 'budget') then debits_posted - credits_posted - credits_pending
         else credits_posted - debits_posted - debits_pending + lender_debt end >= 0),
  add constraint tree_of_quota check (
    (parent_account is null) = (local_limit is null) and parent_account <> account_id
    and (parent_account is null or kind in ('quota', 'group'))),
  add constraint owes_what_is_past_local check (
    lender_debt = case when local_limit is null then 0
                       else greatest(0, credits_pending + credits_posted - debits_posted + lender_debt - local_limit) end);

alter table transfers
  drop constraint transfers_kind_check,
  add constraint transfers_kind_check check (kind in ('pending', 'direct', 'post', 'void', 'expire', 'borrow', 'repay'));
