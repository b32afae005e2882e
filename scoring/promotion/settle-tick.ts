import { assert } from '../../core/assert.ts';
import { contentHash } from '../../core/canonical.ts';
import type { Fence, Tx } from '../../platform/postgres.ts';
import { newTrace, runInTraceId } from '../../platform/trace.ts';
import type { ConsumerContext, PromotionQuestion, PromotionVerdict } from '../context.ts';
import { loadPositions, type ReadOffsets, readOffsets } from '../ingest/positions.sql.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import {
  holdSuite,
  loadSuites,
  releaseSuite,
  requireHold,
  type SuiteRef,
  type SuiteState,
} from '../ingest/suite-state.sql.ts';
import { type SuiteLanes, storedLanes } from '../rollout/suite-lanes.ts';
import type { PolicyAnswer } from '../rules/promotion.ts';
import { MAX_RECORDED_TICKS, RECORDED_BACK_MS } from '../rules/retention.ts';
import { commitDecision } from './commit-decision.ts';
import { decisionRecord, signDecision } from './decision-record.ts';
import { keepTick, keepWouldBe, loadTick, openTicks, type SuiteTick } from './suite-tick.ts';

/**
 * Policy and signature are asked outside any transaction. The flush that made a tick final stored the question (the
 * intent) and stopped before the tick; this asks, judges the tick again on what is stored now, signs, and commits the
 * decision in one transaction, at the offsets it records. Meanwhile the suite is held: no reader takes in reports of it, so that what is
 * signed stands at those offsets. A reader that is alone takes in nothing between a flush and the first try here: then they are the
 * offsets of the very line that made the tick final. Where SentinelNet does not answer, the hold ends, and reports go on being read and
 * scored; only this suite's decisions wait, in order, and record the later offsets.
 */
export type Settled =
  /** A tick was judged; there may be more. */
  | { readonly kind: 'judged'; readonly action: 'promote' | 'demote' | null }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'waiting'; readonly untilMs: number };

export const POLICY_TIMEOUT_MS = 5_000;
/** Longer than an answer and a signature take; one that a reader left behind ends by itself. */
export const HOLD_MS = 15_000;
/** Another reader settles the suite. */
const HELD_RETRY_MS = 200;
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;
/** Ticks with data that may wait behind an unanswered question; then it counts as not allowed, and decisions go on. */
export const MAX_WAITING_TICKS = 96;

interface View {
  readonly lanes: SuiteLanes;
  readonly tick: SuiteTick;
  readonly questions: readonly Question[];
  readonly read: ReadOffsets;
  readonly waitingTicks: number;
  readonly compositeByTick: ReadonlyMap<number, number>;
  /** Of the message that made the tick final. */
  readonly traceId: string;
}

interface Question {
  readonly question_id: string;
  readonly model: string;
  readonly request: PromotionQuestion;
  readonly state: 'pending' | 'answered' | 'abandoned';
  readonly tries: number;
  readonly next_try_ms: bigint;
  readonly answer: PromotionVerdict | null;
}

/** Whose work it is. */
export interface Settler {
  readonly member: string;
  /** Of each of its transactions. */
  readonly fence: Fence;
}

/** What settling works with. */
type Context = ConsumerContext & { readonly by: Settler };

/** Judges the next undecided tick of a suite, asking and signing where it takes that. Throws StaleOwner, SuiteHeld. */
export async function settleTick(
  ctx: ConsumerContext,
  by: Settler,
  ref: SuiteRef,
  signal: AbortSignal,
): Promise<Settled> {
  const held = await ctx.db.asFenced(by.fence, (tx) => holdSuite(tx, ref, by.member, HOLD_MS));
  if (!held) return { kind: 'waiting', untilMs: ctx.clock.now() + HELD_RETRY_MS };
  try {
    return await settle({ ...ctx, by }, ref, signal);
  } finally {
    // It ends by itself where this fails.
    await ctx.db.asEngine((tx) => releaseSuite(tx, ref, by.member)).catch(() => {});
  }
}

async function settle(ctx: Context, ref: SuiteRef, signal: AbortSignal): Promise<Settled> {
  const view = await ctx.db.asEngine((tx) => loadView(tx, ref));
  if (view === undefined) return { kind: 'nothing' };
  const { decided, lanes } = view.tick;
  if (decided?.decision.action !== 'demotion') {
    const wanted = lanes.flatMap(({ outcome }) => outcome.policyWanted);
    const open = view.questions.filter((one) => one.state === 'pending' && wanted.includes(one.model));
    const wait = open.length === 0 ? undefined : await ask(ctx, view, open, signal);
    if (wait !== undefined) return wait;
    if (open.length > 0) return settle(ctx, ref, signal);
  }
  const action = await commit(ctx, view);
  if (action !== null) ctx.metrics.decision(action);
  return { kind: 'judged', action };
}

async function loadView(tx: Tx, ref: SuiteRef): Promise<View | undefined> {
  const loaded = (await loadSuites(tx, [ref]))[0];
  // A new version of the suite, and the end of a rollout, are taken up by the consumer first.
  if (loaded === undefined || loaded.isNew || loaded.hashChanged) return undefined;
  if (loaded.rollout.open !== null && loaded.rollout.open.wantedState !== 'running') return undefined;
  const lanes = storedLanes(loaded);
  const ticks = await openTicks(tx, lanes, MAX_WAITING_TICKS + 1);
  const tickMs = ticks[0];
  if (tickMs === undefined) return undefined;
  const questions = await tx.query<Question>(
    'select question_id, model, request, state, tries, next_try_ms, answer from policy_questions where tenant = $1 and suite = $2 and tick_ms = $3',
    [ref.tenant, ref.name, tickMs],
  );
  const tick = await loadTick(tx, lanes, tickMs, answersOf(questions));
  const { state } = tick.decided?.by.lane ?? { state: lanes.active };
  const read = readOffsets(await loadPositions(tx, REPORTS_TOPIC));
  const compositeByTick =
    tick.decided === null
      ? new Map<number, number>()
      : await loadComposites(tx, state, tick.decided.decision.model, tickMs, tick.decided.decision.evidence.run);
  const traces = await tx.query<{ trace_id: string }>(
    'select trace_id from scores where tenant = $1 and suite = $2 and suite_hash = $3 and tick_ms = $4 order by model limit 1',
    [ref.tenant, ref.name, state.suite.hash, tickMs],
  );
  const traceId = traces[0]?.trace_id ?? state.traceId ?? newTrace().traceId;
  return { lanes, tick, questions, read, waitingTicks: ticks.length, compositeByTick, traceId };
}

function answersOf(questions: readonly Question[]): ReadonlyMap<string, PolicyAnswer> {
  const known = new Map<string, PolicyAnswer>();
  for (const { model, answer } of questions) if (answer !== null) known.set(model, answer.allow ? 'allow' : 'deny');
  return known;
}

/**
 * The composites of the counted ticks: the last `run` ones that hold a report of the model. How far they may reach back is
 * bounded by event time, so that it does not hang on when old rows were deleted last.
 */
async function loadComposites(
  tx: Tx,
  state: SuiteState,
  model: string,
  tickMs: number,
  run: number,
): Promise<ReadonlyMap<number, number>> {
  const rows = await tx.query<{ tick_ms: bigint; composite: number }>(
    `select s.tick_ms, s.composite from scores s join tick_reports r using (tenant, suite, suite_hash, model, tick_ms)
     where s.tenant = $1 and s.suite = $2 and s.suite_hash = $3 and s.model = $4 and s.tick_ms between $5 and $6 and s.composite is not null
     order by s.tick_ms desc limit $7`,
    [
      state.tenant,
      state.suite.name,
      state.suite.hash,
      model,
      tickMs - RECORDED_BACK_MS,
      tickMs,
      Math.min(Math.max(run, 1), MAX_RECORDED_TICKS),
    ],
  );
  return new Map(rows.map((row) => [Number(row.tick_ms), row.composite]));
}

/** Asks what is due; undefined where every question has an answer now. */
async function ask(
  ctx: Context,
  view: View,
  open: readonly Question[],
  signal: AbortSignal,
): Promise<Settled | undefined> {
  if (view.waitingTicks > MAX_WAITING_TICKS) {
    ctx.log.warn(
      { suite: view.lanes.active.suite.name, tickMs: view.tick.tickMs },
      'SentinelNet did not answer in time: the tick does not count',
    );
    await saveAll(ctx, view, open, `update policy_questions set state = 'abandoned' where question_id = $1`, () => []);
    return undefined;
  }
  for (const question of open) {
    const dueMs = Number(question.next_try_ms);
    if (dueMs > ctx.clock.now()) return { kind: 'waiting', untilMs: dueMs };
    let verdict: PromotionVerdict;
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(POLICY_TIMEOUT_MS)]);
      verdict = await runInTraceId(view.traceId, () => ctx.policy(question.request, limit));
    } catch (error) {
      const untilMs = ctx.clock.now() + Math.min(FIRST_RETRY_MS * 2 ** question.tries, MAX_RETRY_MS);
      const text = error instanceof Error ? error.message : String(error);
      ctx.log.warn(
        { suite: view.lanes.active.suite.name, model: question.model, error: text },
        'the policy question of a promotion is unanswered',
      );
      await saveAll(
        ctx,
        view,
        [question],
        'update policy_questions set tries = tries + 1, next_try_ms = $2, last_error = $3 where question_id = $1',
        () => [untilMs, text.slice(0, 500)],
      );
      return { kind: 'waiting', untilMs };
    }
    await saveAll(
      ctx,
      view,
      [question],
      `update policy_questions set state = 'answered', tries = tries + 1, answer = $2 where question_id = $1`,
      () => [JSON.stringify(verdict)],
    );
  }
  return undefined;
}

async function saveAll(
  ctx: Context,
  view: View,
  questions: readonly Question[],
  sql: string,
  values: () => readonly unknown[],
): Promise<void> {
  await ctx.db.asFenced(ctx.by.fence, async (tx) => {
    // The next question has its time, too.
    await holdSuite(tx, refOf(view), ctx.by.member, HOLD_MS);
    for (const question of questions) await tx.execute(sql, [question.question_id, ...values()]);
  });
}

function refOf({ lanes }: View): SuiteRef {
  return { tenant: lanes.active.tenant, name: lanes.active.suite.name };
}

async function commit(ctx: Context, view: View): Promise<'promote' | 'demote' | null> {
  const { lanes, tick, read, traceId } = view;
  if (tick.decided === null) {
    await ctx.db.asFenced(ctx.by.fence, async (tx) => {
      await requireHold(tx, refOf(view), ctx.by.member);
      await keepTick(tx, lanes, tick);
      await finish(tx, lanes.active, tick.tickMs);
    });
    return null;
  }
  const { by, decision } = tick.decided;
  const verdict = view.questions.find((one) => one.model === decision.model)?.answer ?? undefined;
  assert(decision.action === 'demotion' || verdict?.allow === true, 'commit: a promotion was allowed by name');
  const policyEvidence = decision.action === 'demotion' ? undefined : verdict?.evidence;
  const record = decisionRecord({
    tenant: lanes.active.tenant,
    decision,
    incumbentBefore: by.watches.find((watch) => watch.role === 'incumbent')?.model ?? null,
    compositeByTick: view.compositeByTick,
    policy:
      policyEvidence === undefined || verdict === undefined
        ? null
        : {
            decisionId: verdict.decisionId,
            policyVersion: verdict.policyVersion,
            evidence: contentHash(policyEvidence),
          },
    read,
    nowMs: ctx.clock.now(),
  });
  const signed = await signDecision(ctx.signer, record);
  await ctx.db.asFenced(ctx.by.fence, async (tx) => {
    await requireHold(tx, refOf(view), ctx.by.member);
    const { outcome } = by;
    await keepWouldBe(tx, lanes, tick);
    await commitDecision(tx, ctx.clock, { lanes, tickMs: tick.tickMs, outcome, signed, policyEvidence, traceId });
    await finish(tx, lanes.active, tick.tickMs);
  });
  return record.action;
}

/** The suite is held, so what was loaded a moment ago still stands; the row count says so. */
async function finish(tx: Tx, state: SuiteState, tickMs: number): Promise<void> {
  const moved = await tx.execute(
    'update suite_states set decided_tick_ms = $4 where tenant = $1 and suite = $2 and decided_tick_ms = $3 and suite_hash = $5',
    [state.tenant, state.suite.name, state.decidedTickMs, tickMs, state.suite.hash],
  );
  assert(moved === 1, 'settleTick: the suite was moved on by somebody else');
  await tx.execute(
    `update policy_questions set state = 'abandoned' where tenant = $1 and suite = $2 and tick_ms <= $3 and state = 'pending'`,
    [state.tenant, state.suite.name, tickMs],
  );
}
