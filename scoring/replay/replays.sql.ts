import { randomBytes } from 'node:crypto';
import { ulid } from '../../core/ids.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import { lockSubject } from '../registry/lock-subject.ts';
import { MAX_LISTED, type Requester } from '../registry/suites.ts';
import type { ReplayPlan } from './plan.sql.ts';
import type { ReplayResult } from './result.ts';
import { type Claim, StaleReplay } from './shadow-database.ts';
import { type ReplaySpec, specHash } from './spec.ts';

/** Replays of a tenant whose tables are there: each may be as large as what is live. */
export const MAX_KEPT_REPLAYS = 8;

export type ReplayState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';

/** Why a replay ended before its end; `fault` where it is the archive that is not what it was. */
export interface ReplayFailure {
  readonly code: 'archive' | 'gone' | 'internal';
  readonly problem: string;
  readonly mend: string | null;
  readonly fault: {
    readonly object: string;
    readonly offset: string | null;
    readonly line: number | null;
    readonly problem: string;
  } | null;
}

export interface Replay {
  readonly replayId: string;
  readonly tenant: string;
  readonly spec: ReplaySpec;
  readonly state: ReplayState;
  readonly cancelWanted: boolean;
  readonly shadow: boolean;
  readonly plan: ReplayPlan | null;
  readonly cutsDone: number;
  readonly messagesDone: number;
  readonly messagesTotal: number;
  readonly reports: number;
  readonly result: ReplayResult | null;
  readonly failure: ReplayFailure | null;
  readonly startedBy: string;
  readonly traceId: string;
  readonly createdAt: Date;
  readonly changedAt: Date;
  readonly begunAt: Date | null;
  readonly endedAt: Date | null;
}

interface ReplayRow {
  readonly replay_id: string;
  readonly tenant: string;
  readonly spec: ReplaySpec;
  readonly state: ReplayState;
  readonly cancel_wanted: boolean;
  readonly shadow: boolean;
  readonly plan: ReplayPlan | null;
  readonly cuts_done: number;
  readonly messages_done: bigint;
  readonly messages_total: bigint;
  readonly reports: bigint;
  readonly result: ReplayResult | null;
  readonly failure: ReplayFailure | null;
  readonly started_by: string;
  readonly trace_id: string;
  readonly created_at: Date;
  readonly changed_at: Date;
  readonly begun_at: Date | null;
  readonly ended_at: Date | null;
}

function replayOf(row: ReplayRow): Replay {
  return {
    replayId: row.replay_id,
    tenant: row.tenant,
    spec: row.spec,
    state: row.state,
    cancelWanted: row.cancel_wanted,
    shadow: row.shadow,
    plan: row.plan,
    cutsDone: row.cuts_done,
    messagesDone: Number(row.messages_done),
    messagesTotal: Number(row.messages_total),
    reports: Number(row.reports),
    result: row.result,
    failure: row.failure,
    startedBy: row.started_by,
    traceId: row.trace_id,
    createdAt: row.created_at,
    changedAt: row.changed_at,
    begunAt: row.begun_at,
    endedAt: row.ended_at,
  };
}

/**
 * Starts a replay, or takes up the one that was asked for in the same words and has not come to its end: one that failed is tried again
 * from where it stands. Only who asked is written to the audit trail.
 */
export async function startReplay(
  tx: Tx,
  by: Requester,
  spec: ReplaySpec,
): Promise<{ readonly kind: 'created' | 'exists'; readonly replay: Replay }> {
  const hash = specHash(spec);
  await lockSubject(tx, by.tenant, 'replays');
  const open = await tx.query<{ replay_id: string }>(
    `select replay_id from replays where tenant = $1 and spec_hash = $2 and state in ('queued', 'running', 'failed') and not cancel_wanted`,
    [by.tenant, hash],
  );
  const known = open[0]?.replay_id;
  if (known !== undefined) {
    await tx.execute(
      `update replays set state = 'queued', failure = null, changed_at = clock_timestamp() where replay_id = $1 and state = 'failed'`,
      [known],
    );
    return { kind: 'exists', replay: (await getReplay(tx, by.tenant, known))! };
  }
  const kept = await tx.query<{ n: bigint }>(
    `select count(*) as n from replays where tenant = $1 and (shadow or state in ('queued', 'running'))`,
    [by.tenant],
  );
  if (Number(kept[0]!.n) >= MAX_KEPT_REPLAYS) {
    const mend = 'end one that is not needed any more: merit replay cancel ID';
    throw new RefusedInput([refuse('capacity', 'replays', `of this tenant are ${MAX_KEPT_REPLAYS} already`, mend)]);
  }
  const replayId = ulid(by.nowMs, randomBytes(10));
  await tx.execute(
    `insert into replays (replay_id, tenant, spec, spec_hash, state, started_by, trace_id) values ($1, $2, $3, $4, 'queued', $5, $6)`,
    [replayId, by.tenant, JSON.stringify(spec), hash, by.actor, by.traceId],
  );
  const { document: _, ...suite } = spec.suite ?? { document: null };
  await appendAudit(tx, {
    tenant: by.tenant,
    subject: `replay/${replayId}`,
    type: 'replay.started',
    at: formatRfc3339(by.nowMs),
    actor: by.actor,
    trace: by.traceId,
    data: { replay: replayId, spec: { ...spec, suite: spec.suite === null ? null : suite } },
  });
  return { kind: 'created', replay: (await getReplay(tx, by.tenant, replayId))! };
}

export async function getReplay(tx: Tx, tenant: string, replayId: string): Promise<Replay | undefined> {
  const rows = await tx.query<ReplayRow>('select * from replays where tenant = $1 and replay_id = $2', [
    tenant,
    replayId,
  ]);
  return rows[0] === undefined ? undefined : replayOf(rows[0]);
}

/** Newest first; those before `before`. */
export async function listReplays(
  tx: Tx,
  tenant: string,
  limit: number,
  before: string | undefined,
): Promise<readonly Replay[]> {
  const rows = await tx.query<ReplayRow>(
    `select * from replays where tenant = $1 and ($2::text is null or replay_id < $2) order by replay_id desc limit $3`,
    [tenant, before ?? null, Math.min(limit, MAX_LISTED)],
  );
  return rows.map(replayOf);
}

/** Asks for the end of a replay and of its tables; safe to repeat. undefined: there is none. */
export async function cancelReplay(tx: Tx, tenant: string, replayId: string): Promise<Replay | undefined> {
  await tx.execute(
    `update replays set cancel_wanted = true, changed_at = clock_timestamp()
     where tenant = $1 and replay_id = $2 and state <> 'cancelled' and not cancel_wanted`,
    [tenant, replayId],
  );
  return getReplay(tx, tenant, replayId);
}

/** Claims the oldest replay that nobody works on, or whose lease has run out; one that had ended has all its tries again. By the database's clock. */
export async function claimReplay(tx: Tx, worker: string, leaseMs: number): Promise<Replay | undefined> {
  const rows = await tx.query<ReplayRow>(
    `update replays r set state = 'running', worker = $1, lease_until = clock_timestamp() + $2 * interval '1 ms',
       tries = case when r.ended_at is null then r.tries else 0 end, begun_at = coalesce(r.begun_at, clock_timestamp()), ended_at = null, changed_at = clock_timestamp()
     from (select replay_id from replays
           where not cancel_wanted and (state = 'queued' or (state = 'running' and lease_until < clock_timestamp()))
           order by created_at limit 1 for update skip locked) free
     where r.replay_id = free.replay_id returning r.*`,
    [worker, leaseMs],
  );
  return rows[0] === undefined ? undefined : replayOf(rows[0]);
}

const OF_CLAIM = `replay_id = $1 and worker = $2 and state = 'running'`;

export interface Progress {
  readonly messagesDone: number;
  readonly reports: number;
}

/** Tells how far it is and holds the claim for another while; false where it is not ours any more, or is to end. */
export async function tellProgress(tx: Tx, claim: Claim, progress: Progress, leaseMs: number): Promise<boolean> {
  const told = await tx.execute(
    `update public.replays set messages_done = greatest(messages_done, $3), reports = greatest(reports, $4),
       tries = case when messages_done < $3 then 0 else tries end,
       lease_until = clock_timestamp() + $5 * interval '1 ms', changed_at = clock_timestamp()
     where ${OF_CLAIM} and not cancel_wanted`,
    [claim.replayId, claim.worker, progress.messagesDone, progress.reports, leaseMs],
  );
  return told === 1;
}

export async function savePlan(tx: Tx, claim: Claim, plan: ReplayPlan): Promise<void> {
  await tx.execute(
    `update public.replays set plan = $3, shadow = true, messages_total = $4, changed_at = clock_timestamp() where ${OF_CLAIM}`,
    [claim.replayId, claim.worker, JSON.stringify(plan), plan.messages],
  );
}

export async function saveCut(tx: Tx, claim: Claim, cutsDone: number): Promise<void> {
  await tx.execute(`update public.replays set cuts_done = $3 where ${OF_CLAIM}`, [
    claim.replayId,
    claim.worker,
    cutsDone,
  ]);
}

/** Throws StaleReplay where it is not ours any more. */
export async function finishReplay(tx: Tx, claim: Claim, result: ReplayResult): Promise<void> {
  const finished = await tx.execute(
    `update public.replays set state = 'done', result = $3, failure = null, worker = null, lease_until = null, messages_done = messages_total,
       ended_at = clock_timestamp(), changed_at = clock_timestamp() where ${OF_CLAIM}`,
    [claim.replayId, claim.worker, JSON.stringify(result)],
  );
  if (finished !== 1) throw new StaleReplay(`the replay ${claim.replayId} is not ours any more`);
}

export async function failReplay(tx: Tx, claim: Claim, failure: ReplayFailure): Promise<void> {
  await tx.execute(
    `update public.replays set state = 'failed', failure = $3, worker = null, lease_until = null, ended_at = clock_timestamp(),
       changed_at = clock_timestamp() where ${OF_CLAIM}`,
    [claim.replayId, claim.worker, JSON.stringify(failure)],
  );
}

/**
 * Gives the claim back, and tells what becomes of the replay: at the `maxTries`th fault of ours since the last step forward it has failed, until it is
 * asked for again. undefined: somebody else has it.
 */
export async function giveBack(
  tx: Tx,
  claim: Claim,
  failure: ReplayFailure | null,
  maxTries: number,
): Promise<'queued' | 'failed' | 'cancelled' | undefined> {
  const rows = await tx.query<{ state: 'queued' | 'failed'; cancel_wanted: boolean }>(
    `update public.replays set state = case when $3::jsonb is not null and tries + 1 >= $4 then 'failed' else 'queued' end,
       ended_at = case when $3::jsonb is not null and tries + 1 >= $4 then clock_timestamp() end,
       tries = tries + case when $3::jsonb is null then 0 else 1 end, failure = $3, worker = null, lease_until = null,
       changed_at = clock_timestamp() where ${OF_CLAIM} returning state, cancel_wanted`,
    [claim.replayId, claim.worker, failure === null ? null : JSON.stringify(failure), maxTries],
  );
  return rows[0]?.cancel_wanted === true ? 'cancelled' : rows[0]?.state;
}

/** Those whose tables are to go: somebody asked, or they ended long ago. */
export async function replaysToClose(tx: Tx, keptMs: number): Promise<readonly string[]> {
  const rows = await tx.query<{ replay_id: string }>(
    `select replay_id from replays
     where (cancel_wanted and state <> 'cancelled' and (state <> 'running' or lease_until < clock_timestamp()))
        or (shadow and state in ('done', 'failed') and ended_at < clock_timestamp() - $1 * interval '1 ms') order by replay_id`,
    [keptMs],
  );
  return rows.map((row) => row.replay_id);
}

/** Drops the tables of a replay; what it came to stays. One that had not come to its end begins anew where it is asked for again. */
export async function closeReplay(tx: Tx, replayId: string, schema: string): Promise<void> {
  const rows = await tx.query<{ state: ReplayState }>(
    `select state from replays where replay_id = $1 and (state <> 'running' or lease_until < clock_timestamp()) for update`,
    [replayId],
  );
  if (rows.length === 0) return;
  await tx.query('select close_shadow($1)', [schema]);
  await tx.execute(
    `update replays set shadow = false, worker = null, lease_until = null, changed_at = clock_timestamp(),
       plan = case when state = 'done' then plan end, cuts_done = case when state = 'done' then cuts_done else 0 end,
       messages_done = case when state = 'done' then messages_done else 0 end, reports = case when state = 'done' then reports else 0 end,
       state = case when cancel_wanted then 'cancelled' else state end, ended_at = coalesce(ended_at, clock_timestamp()) where replay_id = $1`,
    [replayId],
  );
}
