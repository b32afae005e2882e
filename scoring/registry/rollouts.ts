import { randomBytes } from 'node:crypto';
import { ulid } from '../../core/ids.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import { suiteOf } from '../ingest/suite-state.sql.ts';
import { loadRecompute, type RecomputeProgress } from '../rollout/recompute-progress.sql.ts';
import { isComplete } from '../rules/rollout.ts';
import { lockSubject } from './lock-subject.ts';
import { type Requester, rolloutRuns } from './suites.ts';

/**
 * What requests do to a rollout. They say what is wanted; the consumer takes it up before its next report
 * (scoring/rollout/transitions.ts). Each is one audit event of the suite. All throw RefusedInput.
 */

export interface RolloutEntry {
  readonly rolloutId: string;
  readonly suite: string;
  /** The new version, and the one that was active when it started. */
  readonly suiteHash: string;
  readonly fromHash: string;
  readonly document: unknown;
  readonly state: 'running' | 'promoted' | 'rolled_back';
  /** Per cent of the models: as wanted, and as in force; 0: a shadow. */
  readonly share: number;
  readonly shareInForce: number;
  readonly forced: boolean;
  /** The consumer keeps the version beside the active one; false: not yet, or not any more. */
  readonly kept: boolean;
  /** Ticks of the new version up to it are scored. */
  readonly scoredTick: string | null;
  /** From this tick on each of its windows holds all reports; null: not known before it is kept. */
  readonly completeFrom: string | null;
  readonly complete: boolean;
  /** Reports that only the new version refused; they count for the active one. */
  readonly refused: number;
  /** Reports that the active version set aside and the new one would have taken. */
  readonly missed: number;
  /** Why Merit itself rolled it back. */
  readonly failure: string | null;
  /** Of the log's history, for the new version's windows; null: there was none, or it is not begun. */
  readonly recompute: RecomputeProgress | null;
  readonly startedBy: string;
  readonly startedAt: string;
  readonly changedBy: string;
  readonly changedAt: string;
}

export interface RolloutChange {
  readonly kind: 'created' | 'replaced' | 'unchanged';
  readonly entry: RolloutEntry;
}

export interface WantedShare {
  /** A whole per cent; 0: a shadow. */
  readonly share: number;
  /** It holds before the new version's windows are full. */
  readonly forced: boolean;
}

/** Starts a version beside the active one, or changes the share of the one that runs. */
export async function putRollout(
  tx: Tx,
  by: Requester,
  name: string,
  suite: Suite | undefined,
  wanted: WantedShare,
): Promise<RolloutChange> {
  const { tenant } = by;
  await lockSubject(tx, tenant, `suite/${name}`);
  const running = await runningRollout(tx, tenant, name);
  const hash = suite?.hash ?? running?.suiteHash;
  if (hash === undefined)
    throw refused('required', 'suite', 'is missing: no rollout of it runs', 'send the new version');
  if (running !== undefined && running.suiteHash !== hash) throw new RefusedInput([rolloutRuns(running.suiteHash)]);
  const active = await activeSuite(tx, tenant, name);
  if (active === undefined) throw refused('unknown_suite', 'name', 'does not exist', 'apply its first version');
  const next = suite ?? suiteOf(hash, running?.document);
  if (wanted.share > 0 && next.tickMs !== active.tickMs) {
    const problem = 'is not that of the active version: a board is of one tick';
    throw refused('tick', 'tick', problem, 'keep the tick, or run it as a shadow');
  }
  if (running !== undefined) return changeShare(tx, by, running, wanted);
  if (active.hash === hash) throw refused('active', 'suite', 'is the active version already', 'change something in it');
  await tx.execute(
    `insert into suites (tenant, suite, suite_hash, document, active, applied_by) values ($1, $2, $3, $4, false, $5) on conflict do nothing`,
    [tenant, name, hash, JSON.stringify(next.document), by.actor],
  );
  const rolloutId = ulid(by.nowMs, randomBytes(10));
  await tx.execute(
    `insert into suite_rollouts (rollout_id, tenant, suite, suite_hash, from_hash, state, share, forced, started_by, changed_by, trace_id)
     values ($1, $2, $3, $4, $5, 'running', $6, $7, $8, $8, $9)`,
    [rolloutId, tenant, name, hash, active.hash, wanted.share, wanted.forced, by.actor, by.traceId],
  );
  const entry = await newest(tx, tenant, name);
  await tell(tx, by, 'started', entry, { from: active.hash, to: hash, share: wanted.share, forced: wanted.forced });
  return { kind: 'created', entry };
}

async function changeShare(tx: Tx, by: Requester, running: RolloutEntry, wanted: WantedShare): Promise<RolloutChange> {
  if (running.share === wanted.share && running.forced === wanted.forced) return { kind: 'unchanged', entry: running };
  await tx.execute(
    `update suite_rollouts set share = $2, forced = $3, changed_by = $4, changed_at = clock_timestamp(), trace_id = $5 where rollout_id = $1`,
    [running.rolloutId, wanted.share, wanted.forced, by.actor, by.traceId],
  );
  const entry = await newest(tx, by.tenant, running.suite);
  const { share, forced } = wanted;
  await tell(tx, by, 'share', entry, {
    from: running.fromHash,
    to: running.suiteHash,
    before: running.share,
    share,
    forced,
  });
  return { kind: 'replaced', entry };
}

/**
 * Makes the new version the active one; it goes on with all it has. undefined: no rollout runs. One whose windows are not full
 * yet only where it is forced.
 */
export async function promoteRollout(
  tx: Tx,
  by: Requester,
  name: string,
  forced: boolean,
): Promise<RolloutEntry | undefined> {
  const { tenant } = by;
  await lockSubject(tx, tenant, `suite/${name}`);
  const running = await runningRollout(tx, tenant, name);
  if (running === undefined) return undefined;
  if (!running.kept)
    throw refused('not_started', 'rollout', 'is not taken up by the consumer yet', 'try again in a moment');
  if (!running.complete && !forced) {
    const problem = `has windows that are full only from ${running.completeFrom} on`;
    throw refused('incomplete', 'rollout', problem, 'wait until then, or force it');
  }
  await tx.execute('update suites set active = false where tenant = $1 and suite = $2 and active', [tenant, name]);
  await tx.execute('update suites set active = true where tenant = $1 and suite = $2 and suite_hash = $3', [
    tenant,
    name,
    running.suiteHash,
  ]);
  return end(tx, by, running, 'promoted', { from: running.fromHash, to: running.suiteHash });
}

/** Drops the new version; the active one decides for all models again. undefined: no rollout runs. */
export async function rollBack(tx: Tx, by: Requester, name: string): Promise<RolloutEntry | undefined> {
  await lockSubject(tx, by.tenant, `suite/${name}`);
  const running = await runningRollout(tx, by.tenant, name);
  if (running === undefined) return undefined;
  return end(tx, by, running, 'rolled_back', { from: running.suiteHash, to: running.fromHash });
}

async function end(
  tx: Tx,
  by: Requester,
  running: RolloutEntry,
  state: 'promoted' | 'rolled_back',
  versions: { readonly from: string; readonly to: string },
): Promise<RolloutEntry> {
  await tx.execute(
    `update suite_rollouts set state = $2, changed_by = $3, changed_at = clock_timestamp(), trace_id = $4 where rollout_id = $1`,
    [running.rolloutId, state, by.actor, by.traceId],
  );
  const entry = await newest(tx, by.tenant, running.suite);
  await tell(tx, by, state, entry, { ...versions, share: running.share, complete: running.complete });
  return entry;
}

async function tell(
  tx: Tx,
  by: Requester,
  what: 'started' | 'share' | 'promoted' | 'rolled_back',
  entry: RolloutEntry,
  data: { readonly [key: string]: string | number | boolean },
): Promise<void> {
  await appendAudit(tx, {
    tenant: by.tenant,
    subject: `suite/${entry.suite}`,
    type: `suite.rollout.${what}`,
    at: formatRfc3339(by.nowMs),
    actor: by.actor,
    trace: by.traceId,
    data: { suite: entry.suite, ...data, rollout: entry.rolloutId },
  });
}

function refused(code: string, field: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse(code, field, problem, mend)]);
}

async function activeSuite(tx: Tx, tenant: string, name: string): Promise<Suite | undefined> {
  const rows = await tx.query<{ suite_hash: string; document: unknown }>(
    'select suite_hash, document from suites where tenant = $1 and suite = $2 and active',
    [tenant, name],
  );
  return rows[0] === undefined ? undefined : suiteOf(rows[0].suite_hash, rows[0].document);
}

async function runningRollout(tx: Tx, tenant: string, name: string): Promise<RolloutEntry | undefined> {
  const entry = await getRollout(tx, tenant, name);
  return entry?.state === 'running' ? entry : undefined;
}

async function newest(tx: Tx, tenant: string, name: string): Promise<RolloutEntry> {
  return (await getRollout(tx, tenant, name)) as RolloutEntry;
}

/** The rollout of a suite that runs, else its last one; undefined: it never had one. */
export async function getRollout(tx: Tx, tenant: string, name: string): Promise<RolloutEntry | undefined> {
  const rows = await tx.query<RolloutRow>(
    `select r.*, d.document, o.share as share_in_force, o.scored_tick_ms, o.complete_tick_ms, o.refused, o.missed, o.ended
     from suite_rollouts r join suites d using (tenant, suite, suite_hash) left join rollout_states o using (rollout_id)
     where r.tenant = $1 and r.suite = $2 order by r.state = 'running' desc, r.started_at desc limit 1`,
    [tenant, name],
  );
  const row = rows[0];
  return row === undefined ? undefined : rolloutEntry(row, await loadRecompute(tx, row.rollout_id));
}

interface RolloutRow {
  readonly rollout_id: string;
  readonly suite: string;
  readonly suite_hash: string;
  readonly from_hash: string;
  readonly document: unknown;
  readonly state: RolloutEntry['state'];
  readonly share: number;
  readonly forced: boolean;
  readonly failure: string | null;
  readonly started_by: string;
  readonly started_at: Date;
  readonly changed_by: string;
  readonly changed_at: Date;
  /** The rest is null where the consumer has not taken it up. */
  readonly share_in_force: number | null;
  readonly scored_tick_ms: bigint | null;
  readonly complete_tick_ms: bigint | null;
  readonly refused: bigint | null;
  readonly missed: bigint | null;
  readonly ended: boolean | null;
}

function rolloutEntry(row: RolloutRow, recompute: RecomputeProgress | null): RolloutEntry {
  const instant = (ms: bigint | null) => (ms === null ? null : formatRfc3339(Number(ms)));
  const taken = row.ended !== null;
  const number = (value: bigint | null) => (value === null ? null : Number(value));
  return {
    rolloutId: row.rollout_id,
    suite: row.suite,
    suiteHash: row.suite_hash,
    fromHash: row.from_hash,
    document: row.document,
    state: row.state,
    share: row.share,
    shareInForce: row.state === 'running' ? (row.share_in_force ?? 0) : 0,
    forced: row.forced,
    kept: row.ended === false,
    scoredTick: instant(row.scored_tick_ms),
    completeFrom: instant(row.complete_tick_ms),
    complete: taken && isComplete(number(row.complete_tick_ms), number(row.scored_tick_ms)),
    refused: Number(row.refused ?? 0n),
    missed: Number(row.missed ?? 0n),
    failure: row.failure,
    recompute,
    startedBy: row.started_by,
    startedAt: row.started_at.toISOString(),
    changedBy: row.changed_by,
    changedAt: row.changed_at.toISOString(),
  };
}
