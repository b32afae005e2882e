-- What jobs counted of a partition is merged hour by hour of event time, some hours a transaction. Hours since 1970 of which all panes up to `until` are in,
-- whoever counts the rest: what is read from next_offset on adds none to them.
alter table recomputes add column merged_hours integer[] not null default '{}';
