-- What an operator wrote of the quota tree and of the planner's rules, one row a document. Enforced of it are the limits of accounts.

-- Of all documents: a document that was removed and made anew never has a version that it had before.
create sequence document_versions;

create table quota_documents (
  tenant  text not null references tenants,
  kind    text not null check (kind in ('Group', 'Division', 'PriorityClass', 'Budget', 'Scheduling')),
  name    text not null check (name ~ '^[A-Za-z0-9-]{1,72}$'),
  file    jsonb not null,
  version bigint not null default nextval('document_versions'),
  primary key (tenant, kind, name)
);

-- Of a budget with a period: what had been spent before the period began. The account's limit is the budget's and this.
create table budget_periods (
  tenant             text not null references tenants,
  division           text not null,
  currency           text not null,
  started_at         timestamptz not null,
  spent_before_cents bigint not null,
  primary key (tenant, division, currency),
  foreign key (tenant, division) references divisions
);

do $$
declare t text;
begin
  foreach t in array array['quota_documents', 'budget_periods'] loop
    perform secure_table(t);
    execute format('grant select, insert, update, delete on %I to merit_app', t);
  end loop;
end $$;
grant usage on sequence document_versions to merit_app;
grant select on quota_documents to merit_engine;
grant select, insert, update on budget_periods to merit_engine;

-- Takes no new work; where it drains, what runs there has to leave.
alter table pools add column cordoned boolean not null default false, add column draining boolean not null default false;

-- A division that was removed keeps its row for the bookings it had.
alter table divisions add column removed boolean not null default false;
grant update (removed) on divisions to merit_app;

-- Budgets that were set before they were documents.
insert into quota_documents (tenant, kind, name, file)
select tenant, 'Budget', division || '-' || unit, jsonb_build_object(
  'apiVersion', 'merit/v1', 'kind', 'Budget', 'division', division, 'currency', unit,
  'limit', (net_limit / 100)::text || '.' || lpad((net_limit % 100)::text, 2, '0'))
from accounts where kind = 'budget' and net_limit > 0;
