-- Machines of a pool that take no new work, or that what runs there has to leave, by name: {"node-1": "cordoned", "node-2": "draining"}. Like the
-- pool's own state it is no part of the file, so that applying the file again opens nothing.
alter table pools add column machines jsonb not null default '{}';
