-- Months are read by when transfers were recorded. They are appended in about that order, so a summary of block ranges finds them, and a new row costs it nothing; what
-- was settled, one or two rows for each attempt, is paged through in order.
create index transfers_by_time on transfers using brin (recorded_at);
create index transfers_settled on transfers (tenant, recorded_at, transfer_id) where kind = 'direct';

-- What a budget reached of its limit and was told: once in a period, and once more after the limit was changed.
create table budget_alerts (
  account_id        text not null,
  tenant            text not null references tenants,
  period_started_at timestamptz not null,
  limit_cents       bigint not null,
  percent           integer not null check (percent between 1 and 100),
  raised_at         timestamptz not null default now(),
  primary key (account_id, period_started_at, limit_cents, percent)
);
select secure_table('budget_alerts');
grant select, insert, delete on budget_alerts to merit_engine;
