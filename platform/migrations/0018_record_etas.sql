-- The start time that the planner reckoned for a booking at the first look that left it waiting; null: it could tell none. When it did start is in
-- its attempts.
create table eta_records (
  booking_id text primary key references bookings,
  tenant     text not null references tenants,
  told_at    timestamptz not null,
  eta_at     timestamptz,
  record_no  bigint generated always as identity unique
);
create index eta_records_by_tenant on eta_records (tenant);
select secure_table('eta_records');
grant select on eta_records to merit_app;
grant select, insert, delete on eta_records to merit_engine;
