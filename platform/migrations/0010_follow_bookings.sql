-- Why an attempt ended, by code: preemptions are counted by it.
alter table attempts add column end_code text;
create index attempts_preempted on attempts (booking_id) where end_code = 'preempted';

-- Who waits for whom: a booking that ends wakes what depends on it.
create table booking_dependencies (
  booking_id text not null references bookings,
  tenant     text not null references tenants,
  needs      text not null references bookings,
  primary key (booking_id, needs)
);
create index booking_dependencies_by_needs on booking_dependencies (needs);
select secure_table('booking_dependencies');
grant select, insert on booking_dependencies to merit_app, merit_engine;
