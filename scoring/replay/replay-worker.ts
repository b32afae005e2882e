import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway } from '../../platform/postgres.ts';
import { runInTraceId, withSpan } from '../../platform/trace.ts';
import { AlteredSegment } from '../archive/stored-segment.ts';
import { newId } from '../context.ts';
import type { ReplayContext } from './context.ts';
import {
  claimReplay,
  closeReplay,
  failReplay,
  finishReplay,
  giveBack,
  type Replay,
  type ReplayFailure,
  replaysToClose,
} from './replays.sql.ts';
import { LEASE_MS, type RunOptions, runReplay } from './run-replay.ts';
import { type Claim, StaleReplay, shadowSchema } from './shadow-database.ts';

/** Between two looks for replays. One is worked on at a time in a process: it is a consumer's work. */
const LOOK_MS = 2_000;
/** A replay that fails this often without a step forward is given up, until it is asked for again. */
const MAX_REPLAY_TRIES = 3;
/** After a failure. */
const RETRY_MS = 1_000;
/** The tables of a replay that has ended are kept so long, for who looks into them. */
const KEPT_MS = 7 * 86_400_000;
const MAX_FAILURE_CHARS = 500;

/** Works off the replays that are asked for, until `signal`. Any number of processes may run it. It throws nothing. */
export async function runReplays(ctx: ReplayContext, signal: AbortSignal, options: RunOptions = {}): Promise<void> {
  while (!signal.aborted) {
    try {
      if (await workOffOne(ctx, signal, options)) continue;
    } catch (error) {
      ctx.log[isDatabaseAway(error) ? 'warn' : 'error']({ error: String(error) }, 'a look for replays failed');
    }
    await ctx.clock.sleep(LOOK_MS, signal);
  }
}

/** Closes what is to be closed, and works off one replay where there is one. False where there was nothing. */
export async function workOffOne(ctx: ReplayContext, signal: AbortSignal, options: RunOptions = {}): Promise<boolean> {
  const { db, log, metrics } = ctx;
  for (const replayId of await db.asEngine((tx) => replaysToClose(tx, KEPT_MS)))
    await db.asEngine((tx) => closeReplay(tx, replayId, shadowSchema(replayId)));
  const worker = `${ctx.holder}/${newId(ctx.clock)}`;
  const replay = await db.asEngine((tx) => claimReplay(tx, worker, options.leaseMs ?? LEASE_MS));
  if (replay === undefined) return false;
  const claim = { replayId: replay.replayId, worker };
  const of = { replay: replay.replayId, tenant: replay.tenant };
  log.info(of, 'a replay goes on');
  metrics.running(1);
  try {
    const run = () => runReplay(ctx, replay, claim, signal, options);
    const result = await runInTraceId(replay.traceId, () => withSpan('replay.run', { replay: replay.replayId }, run));
    if (result === undefined) {
      await db.asEngine((tx) => giveBack(tx, claim, null, MAX_REPLAY_TRIES));
      metrics.brokenOff('stopped');
    } else {
      await db.asEngine((tx) => finishReplay(tx, claim, result));
      metrics.ended(replay.spec.suite !== null ? 'other_suite' : result.equal ? 'equal' : 'different');
      log.info({ ...of, equal: result.equal }, 'a replay ended');
    }
  } catch (error) {
    await release(ctx, replay, claim, error, signal);
  } finally {
    metrics.running(0);
  }
  return true;
}

async function release(
  { clock, db, log, metrics }: ReplayContext,
  replay: Replay,
  claim: Claim,
  error: unknown,
  signal: AbortSignal,
): Promise<void> {
  const of = { replay: replay.replayId, tenant: replay.tenant };
  const failure = failureOf(error);
  const stale = error instanceof StaleReplay;
  if (!stale) log.warn({ ...of, error: String(error) }, 'a replay was broken off');
  const away = stale || signal.aborted || isDatabaseAway(error) || failure === null;
  const isForGood = !away && failure.code !== 'internal';
  const became = await db
    .asEngine(async (tx) => {
      if (!isForGood) return giveBack(tx, claim, away ? null : failure, MAX_REPLAY_TRIES);
      await failReplay(tx, claim, failure);
      return 'failed';
    })
    .catch((cause: unknown) => {
      // The lease runs out by itself.
      log.warn({ ...of, error: String(cause) }, 'a claimed replay could not be given back');
      return 'queued';
    });
  if (became === 'failed' || became === 'cancelled') metrics.ended(became);
  else if (became === undefined) metrics.brokenOff('taken_over');
  else metrics.brokenOff(signal.aborted ? 'stopped' : away ? 'away' : 'fault');
  if (!signal.aborted && !stale) await clock.sleep(RETRY_MS, signal);
}

/** null: it is the world's, and tried again for as long as it takes. */
function failureOf(error: unknown): ReplayFailure | null {
  const problem = (error instanceof Error ? error.message : String(error)).slice(0, MAX_FAILURE_CHARS);
  if (error instanceof AlteredSegment) {
    const { object, offset, line, problem: what } = error.fault;
    const fault = { object, offset: offset === null ? null : String(offset), line, problem: what };
    return { code: 'archive', problem, mend: error.mend ?? null, fault };
  }
  if (error instanceof OperatingError)
    return error.retry === 'never' ? { code: 'gone', problem, mend: error.mend ?? null, fault: null } : null;
  return { code: 'internal', problem, mend: null, fault: null };
}
