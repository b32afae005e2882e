-- A seat for each kind of loop, so that processes of different roles lead beside each other. Epochs come from one sequence: an epoch
-- belongs to one seat, and a writing transaction needs no more than the number to know whether it is fenced off.
create sequence leader_epoch_numbers as bigint;
select setval('leader_epoch_numbers', (select coalesce(max(epoch), 0) + 1 from leader_epochs), false);
grant usage on sequence leader_epoch_numbers to merit_engine;
-- Numbers that are never given, until somebody leads.
insert into leader_epochs (name, epoch) values ('audit', -1), ('ingest', -2), ('reconciler', -3);
create unique index leader_epochs_by_number on leader_epochs (epoch);
