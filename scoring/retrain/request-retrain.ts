import { RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { lockSubject } from '../registry/lock-subject.ts';
import type { Requester } from '../registry/suites.ts';
import { MAX_LISTED } from '../registry/suites.ts';
import { type RaisedRetrain, type RetrainCause, raiseRetrain } from './raise-retrain.ts';

/** A retrain that no demotion asked for, in the caller's transaction. Throws RefusedInput where the model is unknown, has no version, or no retrain job. */
export async function requestRetrain(
  tx: Tx,
  clock: Clock,
  by: Requester,
  model: string,
  cause: 'manual' | 'stale' | 'schedule' = 'manual',
): Promise<RaisedRetrain> {
  const { tenant } = by;
  await lockSubject(tx, tenant, `model/${model}`);
  const rows = await tx.query<{ suite: string; has_job: boolean; version: string | null; watermark_ms: bigint | null }>(
    `select m.suite, m.retrain is not null as has_job, t.watermark_ms,
            (select version from model_versions v where v.tenant = m.tenant and v.model = m.model order by created_at desc, version desc limit 1) as version
     from models m left join suite_states t using (tenant, suite) where m.tenant = $1 and m.model = $2`,
    [tenant, model],
  );
  const entry = rows[0];
  if (entry === undefined)
    throw new RefusedInput([refuse('unknown_model', 'model', 'is not registered', 'register the model first')]);
  if (!entry.has_job)
    throw new RefusedInput([
      refuse('no_retrain_job', 'model', 'has no retrain job', 'register it again with `retrain:`'),
    ]);
  if (entry.version === null)
    throw new RefusedInput([refuse('no_version', 'model', 'has no version yet', 'add a version first')]);
  const raised = await raiseRetrain(tx, clock, {
    tenant,
    suite: entry.suite,
    version: entry.version,
    cause: { kind: cause },
    demotedTickMs: Number(entry.watermark_ms ?? 0n),
    requestedBy: by.actor,
    traceId: by.traceId,
  });
  if (raised.kind !== 'raised') return raised;
  await appendAudit(tx, {
    tenant,
    subject: `model/${model}`,
    type: 'retrain.requested',
    at: formatRfc3339(by.nowMs),
    actor: by.actor,
    trace: by.traceId,
    data: { request: raised.requestId, version: raised.newVersion, cause },
  });
  return raised;
}

export interface RetrainEntry {
  readonly requestId: string;
  readonly model: string;
  readonly suite: string;
  readonly version: string | null;
  readonly cause: RetrainCause['kind'];
  readonly decision: string | null;
  readonly demotedAtTick: string;
  readonly state: 'open' | 'booked' | 'done' | 'failed';
  readonly attempts: number;
  readonly bookingId: string | null;
  readonly failure: unknown;
  /** From its booking to the start of its job. */
  readonly queueWaitMs: number | null;
  /** Of the manifest of what the job left. */
  readonly manifestSha256: string | null;
  readonly traceId: string;
  readonly createdAt: string;
}

/** Newest first. */
export async function listRetrains(
  tx: Tx,
  tenant: string,
  limit = MAX_LISTED,
  model?: string,
): Promise<readonly RetrainEntry[]> {
  const rows = await tx.query<RetrainRow>(
    `select request_id, model, suite, version, cause, decision_hash, demoted_tick_ms, state, attempts, booking_id, failure, queue_wait_ms, manifest_sha256,
       trace_id, created_at
     from retrain_requests where tenant = $1 and ($3::text is null or model = $3) order by created_at desc, request_id desc limit $2`,
    [tenant, Math.min(limit, MAX_LISTED), model ?? null],
  );
  return rows.map((row) => ({
    requestId: row.request_id,
    model: row.model,
    suite: row.suite,
    version: row.version,
    cause: row.cause,
    decision: row.decision_hash,
    demotedAtTick: formatRfc3339(Number(row.demoted_tick_ms)),
    state: row.state,
    attempts: row.attempts,
    bookingId: row.booking_id,
    failure: row.failure,
    queueWaitMs: row.queue_wait_ms === null ? null : Number(row.queue_wait_ms),
    manifestSha256: row.manifest_sha256,
    traceId: row.trace_id,
    createdAt: row.created_at.toISOString(),
  }));
}

interface RetrainRow {
  readonly request_id: string;
  readonly model: string;
  readonly suite: string;
  readonly version: string | null;
  readonly cause: RetrainCause['kind'];
  readonly decision_hash: string | null;
  readonly demoted_tick_ms: bigint;
  readonly state: 'open' | 'booked' | 'done' | 'failed';
  readonly attempts: number;
  readonly booking_id: string | null;
  readonly failure: unknown;
  readonly queue_wait_ms: bigint | null;
  readonly manifest_sha256: string | null;
  readonly trace_id: string;
  readonly created_at: Date;
}
