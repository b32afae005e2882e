import { OperatingError } from '../../core/operating-error.ts';
import type { Suite } from '../../core/suite.ts';
import type { Database } from '../../platform/postgres.ts';
import { NO_RECOMPUTE_METRICS, type RecomputeContext } from '../../scoring/batch/context.ts';
import { type RecomputeOptions, RecomputeWorker } from '../../scoring/batch/recompute-worker.ts';
import type { ScoringContext } from '../../scoring/context.ts';
import type { PublishedModel } from '../../scoring/rules/published.ts';
import { type DyingDatabase, EPOCH_MS, lineOf, parseSuite, random } from './scoring-online-support.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
export const MODELS = ['good', 'poor', 'rare'] as const;

const metrics = {
  accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true, valid: [-1, 2] },
  latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.9, floor: 1000, ceil: 100, valid: [0, 5000] },
};
const document = { apiVersion: 'merit/v1', kind: 'Suite', name: 'board', tick: '12h', minN: 5, metrics };

export const OLD = parseSuite(document);
/** Another scale, and a limit that some reports are beyond. */
export const NEXT = parseSuite({
  ...document,
  shrinkage: { kappa: 5, prior: 0.4 },
  metrics: {
    accuracy: { ...metrics.accuracy, scale: 4, floor: 0.2 },
    latency_ms: { ...metrics.latency_ms, valid: [0, 880] },
  },
});

/** Reports of one evaluation, close together: they share their panes. */
const BURST = 100;

/** What a client sends in the course of 11 days: good reports, repeats, conflicts, rubbish, late ones and ones that are too late, by `tooLateMs`. */
export function lines(count: number, seed = 1, tooLateMs = 7 * DAY_MS): string[] {
  const next = random(seed);
  const stepMs = (11 * DAY_MS) / count;
  const sent: string[] = [];
  const report = (i: number, aheadMs: number, id: string, extra: object = {}) =>
    lineOf({
      schemaVersion: 1,
      reportId: id,
      producer: 'ci',
      model: MODELS[next() < 0.02 ? 2 : i % 2],
      suite: 'board',
      observedAt: new Date(
        EPOCH_MS + Math.floor((i - (i % BURST)) * stepMs) + (i % BURST) * 50 + aheadMs,
      ).toISOString(),
      sampleSize: 1 + Math.floor(next() * 9),
      metrics: { accuracy: next(), latency_ms: 100 + Math.floor(next() * 800), unknown: i },
      ...extra,
    });
  for (let i = 0; i < count; i++) {
    const lot = next();
    sent.push(report(i, 0, `r-${i}`));
    if (lot < 0.05) sent.push(sent[Math.floor(next() * sent.length)]!);
    else if (lot < 0.08) sent.push(report(i, 0, `r-${Math.max(0, i - 5)}`));
    else if (lot < 0.1) sent.push('{"schemaVersion":1,\n');
    else if (lot < 0.12) sent.push(report(i, 0, `x-${i}`, { model: 'nobody' }));
    else if (lot < 0.14) sent.push(report(i, 0, `y-${i}`, { metrics: { accuracy: 7 } }));
    else if (lot < 0.15) sent.push(report(i, -2 * DAY_MS - (i % 3), `late-${i}`));
    else if (lot < 0.18) sent.push(report(i, -tooLateMs - (i % 500), `old-${i}`));
    else if (lot < 0.19) sent.push('\n');
    // An id that the consumer has forgotten by then is a new report's.
    if (i * stepMs > 10 * DAY_MS && lot > 0.9) sent.push(report(i, 0, `r-${i % 7}`));
  }
  return sent;
}

export function recomputeContext(ctx: ScoringContext, db: Database = ctx.db): RecomputeContext {
  const { clock, eventLog, log } = ctx;
  return { db, clock, eventLog, log, holder: 'test', metrics: NO_RECOMPUTE_METRICS };
}

/** Works until there is nothing left to do. */
export async function recompute(
  ctx: RecomputeContext,
  options: RecomputeOptions = {},
  signal = new AbortController().signal,
): Promise<void> {
  const worker = new RecomputeWorker(ctx, options);
  while (await worker.look(signal)) await worker.settled();
}

/** When the new version of a tenant's suite began, from which on it is judged. */
export async function judgedAfterMs(db: Database, tenant: string): Promise<number> {
  const rows = await db.asEngine((tx) =>
    tx.query<{ judged_after_ms: bigint }>('select judged_after_ms from rollout_states where tenant = $1', [tenant]),
  );
  return Number(rows[0]!.judged_after_ms);
}

/** Scores of a version at ticks after `afterMs`, without how often they changed. */
export async function scoresAfter(db: Database, tenant: string, suite: Suite, afterMs: number) {
  const rows = await db.asTenant(tenant, (tx) =>
    tx.query<{ tick_ms: bigint; body: PublishedModel }>(
      'select tick_ms, model, status, rank, composite, lower, upper, body from scores where suite_hash = $1 and tick_ms > $2 order by tick_ms, model',
      [suite.hash, afterMs],
    ),
  );
  return rows.map(({ body, ...row }) => ({
    ...row,
    body: {
      ...body,
      windows: Object.fromEntries(
        Object.entries(body.windows).map(([name, window]) => [name, { ...window, revision: 0 }]),
      ),
    },
  }));
}

/** A database under which a worker dies when it moves on: before a commit, behind one, and so again. */
export function dyingEngine(db: Database): DyingDatabase {
  const deaths = { before: 0, after: 0 };
  let moves = 0;
  const asEngine: Database['asEngine'] = async (work) => {
    let moved = 0;
    const result = await db.asEngine(async (tx) => {
      const execute: typeof tx.execute = (sql, values) => {
        if (sql.includes('update recomputes set next_offset')) moved = ++moves;
        return tx.execute(sql, values);
      };
      const done = await work({ ...tx, execute });
      if (DIES_BEFORE.includes(moved) && ++deaths.before > 0)
        throw new OperatingError('aborted', 'safe', 'dying before the commit');
      return done;
    });
    if (DIES_AFTER.includes(moved) && ++deaths.after > 0)
      throw new OperatingError('aborted', 'safe', 'dying after the commit');
    return result;
  };
  return { db: { ...db, asEngine }, deaths };
}

const DIES_BEFORE: readonly number[] = [1, 4];
const DIES_AFTER: readonly number[] = [3, 6];
