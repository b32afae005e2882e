-- Rows that an index can say nothing of have no entry in it: of an audit event that has no place yet, and of a booking that retries nothing, which are
-- all of them when they are written. An event is written to one index less, a booking too, and again when it ends.
alter table audit_events drop constraint audit_events_seq_key;
create unique index audit_events_by_seq on audit_events (seq) where seq is not null;
alter table bookings drop constraint bookings_retry_of_key;
create unique index bookings_by_retry_of on bookings (retry_of) where retry_of is not null;
