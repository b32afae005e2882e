-- Of which booking that ended this one is another go: the same job with the same file and code. Each has one at most, so that they are a chain.
alter table bookings add column retry_of text unique references bookings;
