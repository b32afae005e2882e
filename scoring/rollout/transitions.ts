import { OperatingError } from '../../core/operating-error.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { newTrace } from '../../platform/trace.ts';
import { ENGINE_ACTOR } from '../context.ts';
import type { ReadOffsets } from '../ingest/positions.sql.ts';
import { type SuiteState, saveSuiteState } from '../ingest/suite-state.sql.ts';
import { closeWatches, loadWatches, openWatches, resetRuns } from '../promotion/watches.sql.ts';
import { lockSubject } from '../registry/lock-subject.ts';
import { completeTick, inShare, MAX_SHARE } from '../rules/rollout.ts';
import { tickAt } from '../rules/watermark.ts';
import { hasLeftovers, type VersionRef } from './leftovers.sql.ts';
import type { OpenRollout, WantedRollout } from './rollout-state.sql.ts';
import { type NextLane, nextLane } from './suite-lanes.ts';

/**
 * The steps of a rollout, each at one place in the order of the log: the consumer takes them before the first line of a
 * transaction that reads reports.
 */

/** A failure's text that is kept. */
const MAX_FAILURE_CHARS = 500;

/**
 * The new version starts beside the active one, at the watermark, with the same models in the contest: as if it had been made
 * the active one here. undefined: rows of an earlier life of this version are still there and must go first.
 */
export async function startNext(
  tx: Tx,
  clock: Clock,
  active: SuiteState,
  wanted: WantedRollout,
  read: ReadOffsets,
): Promise<NextLane | undefined> {
  const { tenant, watermarkMs } = active;
  const { rolloutId, suite } = wanted;
  const version = { tenant, suite: suite.name, suiteHash: suite.hash };
  if (await hasLeftovers(tx, version)) return undefined;
  await forget(tx, version, PROGRESS_TABLES);
  const startTickMs = watermarkMs === null ? null : tickAt(watermarkMs, suite.tickMs);
  const open: OpenRollout = {
    ...wanted,
    wantedState: 'running',
    shareInForce: 0,
    scoredTickMs: startTickMs,
    judgedAfterMs: startTickMs,
    completeTickMs: completeTick(suite, active.maxObservedMs),
  };
  await tx.execute(
    `insert into rollout_states (rollout_id, tenant, suite, suite_hash, share, scored_tick_ms, judged_after_ms, complete_tick_ms, opened_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [rolloutId, tenant, suite.name, suite.hash, 0, startTickMs, startTickMs, open.completeTickMs, JSON.stringify(read)],
  );
  const watches = await loadWatches(tx, tenant, suite.name, active.suite.hash);
  const incumbent = watches.find((watch) => watch.role === 'incumbent')?.model ?? null;
  const candidates = watches.map((watch) => watch.model).filter((model) => model !== incumbent);
  const next = nextLane(active, open);
  await openWatches(tx, clock, { state: next.state, incumbent, candidates, read });
  return next;
}

/**
 * Another share holds from here on. What a model's old decider counted under its own numbers, and without SentinelNet's word,
 * is not carried over: its challenge counts its ticks anew, and a question asked in the old one's name is given up.
 */
export async function setShareInForce(tx: Tx, active: SuiteState, next: NextLane, share: number): Promise<NextLane> {
  const { tenant, suite } = active;
  await tx.execute('update rollout_states set share = $2 where rollout_id = $1', [next.rolloutId, share]);
  const isMoved = (model: string) => inShare(suite.name, model, share) !== inShare(suite.name, model, next.share);
  await resetRuns(tx, active, isMoved);
  await resetRuns(tx, next.state, isMoved);
  await abandonQuestions(tx, tenant, suite.name, isMoved);
  return { ...next, share };
}

async function abandonQuestions(
  tx: Tx,
  tenant: string,
  suite: string,
  isAffected: (model: string) => boolean,
): Promise<void> {
  const pending = await tx.query<{ question_id: string; model: string }>(
    `select question_id, model from policy_questions where tenant = $1 and suite = $2 and state = 'pending'`,
    [tenant, suite],
  );
  const affected = pending.filter((question) => isAffected(question.model)).map((question) => question.question_id);
  if (affected.length === 0) return;
  await tx.execute(`update policy_questions set state = 'abandoned' where question_id = any($1::text[])`, [affected]);
}

/**
 * A request has made the new version the active one: it goes on with all it has, its windows, its published ticks and what
 * its challenges have seen. The version before it ends here.
 */
export async function adoptNext(
  tx: Tx,
  active: SuiteState,
  beforeHash: string,
  open: OpenRollout,
): Promise<SuiteState> {
  const { tenant, suite } = active;
  const next = nextLane(active, open);
  await setShareInForce(tx, active, next, MAX_SHARE);
  await closeWatches(tx, tenant, suite.name, beforeHash, active.decidedTickMs ?? 0);
  await forget(tx, { tenant, suite: suite.name, suiteHash: beforeHash }, ['evidence_edge', 'rescore_ranges']);
  await tx.execute('update rollout_states set ended = true, dropped = true where rollout_id = $1', [open.rolloutId]);
  await saveSuiteState(tx, next.state);
  return next.state;
}

/** The new version is not kept any more. Its panes go in steps (leftovers.sql.ts). */
export async function endNext(tx: Tx, active: SuiteState, next: NextLane): Promise<void> {
  const { tenant } = active;
  const { name, hash } = next.state.suite;
  await setShareInForce(tx, active, next, 0);
  await closeWatches(tx, tenant, name, hash, active.decidedTickMs ?? 0);
  await forget(tx, { tenant, suite: name, suiteHash: hash }, PROGRESS_TABLES);
  await tx.execute('update rollout_states set ended = true where rollout_id = $1', [next.rolloutId]);
  await stopRecompute(tx, next.rolloutId);
}

/** Waits for the transaction of a recompute that adds panes, and lets no other begin: nothing of it comes behind the panes' removal. */
async function stopRecompute(tx: Tx, rolloutId: string): Promise<void> {
  await tx.execute(
    `update recomputes set state = 'stopped', worker = null, lease_until = null, changed_at = clock_timestamp()
     where rollout_id = $1 and state in ('waiting', 'running')`,
    [rolloutId],
  );
}

/** What a version has under way; small, unlike its panes. */
const PROGRESS_TABLES = ['evidence_edge', 'rescore_ranges', 'tick_reports'] as const;

async function forget(
  tx: Tx,
  { tenant, suite, suiteHash }: VersionRef,
  tables: readonly (typeof PROGRESS_TABLES)[number][],
): Promise<void> {
  for (const table of tables) {
    await tx.execute(`delete from ${table} where tenant = $1 and suite = $2 and suite_hash = $3`, [
      tenant,
      suite,
      suiteHash,
    ]);
  }
}

/**
 * The consumer itself rolls back: the new version cannot be computed, or this server does not run rollouts. Throws where a
 * request has ended the rollout in the meantime: what is in hand was computed for another state of things.
 */
export async function rollBackByEngine(
  tx: Tx,
  clock: Clock,
  active: SuiteState,
  rolloutId: string,
  why: string,
): Promise<void> {
  const { tenant, suite } = active;
  const subject = `suite/${suite.name}`;
  await lockSubject(tx, tenant, subject);
  const trace = active.traceId ?? newTrace().traceId;
  const failure = why.slice(0, MAX_FAILURE_CHARS);
  const rows = await tx.query<{ suite_hash: string; share: number }>(
    `update suite_rollouts set state = 'rolled_back', failure = $2, changed_by = $3, changed_at = clock_timestamp(), trace_id = $4
     where rollout_id = $1 and state = 'running' returning suite_hash, share`,
    [rolloutId, failure, ENGINE_ACTOR, trace],
  );
  const row = rows[0];
  if (row === undefined) throw new OperatingError('conflict', 'safe', `rolling back a rollout of suite ${suite.name}`);
  await appendAudit(tx, {
    tenant,
    subject,
    type: 'suite.rollout.rolled_back',
    at: formatRfc3339(clock.now()),
    actor: ENGINE_ACTOR,
    trace,
    data: { rollout: rolloutId, suite: suite.name, from: row.suite_hash, to: suite.hash, share: row.share, failure },
  });
}
