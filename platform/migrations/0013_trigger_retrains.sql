-- A retrain may also be due by age or by the clock, and its request keeps what came of it.
alter table models add column retrain_when jsonb;
create index models_retrained_by_time on models (tenant, model) where retrain_when is not null;

alter table retrain_requests drop constraint retrain_requests_cause_check;
alter table retrain_requests add constraint retrain_requests_cause_check check (cause in ('demotion', 'manual', 'stale', 'schedule'));
-- From its booking to the start of its job, and the manifest of what the job left.
alter table retrain_requests add column queue_wait_ms bigint check (queue_wait_ms >= 0);
alter table retrain_requests add column manifest_sha256 text;
create index retrain_by_model on retrain_requests (tenant, model, created_at);
