import type { BookingState, Outcome, Reason } from '../../core/booking.ts';
import { extendedMs } from '../../core/extension.ts';
import { attemptKey } from '../../core/ids.ts';
import type { Handle, Observation, Provider } from '../../providers/provider.ts';
import { ACTOR, type StepResult, undo } from './apply.saga.ts';
import type { Booking } from './booking-store.ts';
import type { StepContext } from './context.ts';
import { keepArtifacts } from './keep-artifacts.ts';
import { graceMs, HALTED_LOOK_MS, OBSERVE_EVERY_MS, PROVIDER_TIMEOUT_MS } from './limits.ts';

/**
 * `applied` and `draining`: looks at the running job. A job that ended well has its artifacts kept and its reports published
 * before it is released; one that failed goes to its next attempt or ends; one past its lease is drained.
 */
export async function watchRun(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'applied' | 'draining' }>,
): Promise<StepResult> {
  const key = attemptKey(booking.bookingId, state.attempt);
  let provider: Provider;
  let seen: Observation;
  try {
    provider = await ctx.providers.of(booking.tenant, state.placement.pool);
    const known: Handle = { ...state.handle, uid: state.handle.uid };
    seen = await provider.observe(key, AbortSignal.timeout(PROVIDER_TIMEOUT_MS), known);
  } catch (error) {
    // A provider that is away stops no clock: what is past its lease or its notice goes on to its release, which waits for it.
    const over = await timeIsUp(ctx, booking, state);
    if (over === undefined) throw error;
    return over;
  }
  if (seen.state === 'unknown-status') {
    ctx.log.warn(
      { booking: booking.bookingId, word: seen.word },
      'the provider used a status word that is not known; nothing is concluded from it',
    );
    return { kind: 'idle', againInMs: OBSERVE_EVERY_MS };
  }
  const pool = `${booking.tenant}/${state.placement.pool}`;
  if (seen.state === 'absent' && seen.certain !== true) {
    // A look may still miss what was taken just now.
    if (ctx.clock.now() - state.appliedAtMs < provider.consistencyWindowMs)
      return (await timeIsUp(ctx, booking, state)) ?? { kind: 'idle', againInMs: OBSERVE_EVERY_MS };
    const verdict = ctx.disappearances.missing(
      pool,
      key,
      ctx.runningIn(booking.tenant, state.placement.pool),
      ctx.clock.now(),
    );
    if (verdict === 'halted') {
      ctx.metrics.reclaimHalted();
      ctx.log.error(
        { pool, booking: booking.bookingId },
        'too many of its jobs are missing at once: none of them is given up',
      );
      return (await timeIsUp(ctx, booking, state)) ?? { kind: 'idle', againInMs: HALTED_LOOK_MS };
    }
    if (verdict === 'look_again') return { kind: 'idle', againInMs: OBSERVE_EVERY_MS };
  } else ctx.disappearances.seen(pool, key);
  if (seen.state === 'ended' || seen.state === 'absent') return runEnded(ctx, booking, state, provider, seen);
  ctx.logs.follow(booking, state.attempt, provider);
  ctx.runs.follow(booking, state.attempt, provider, beganAtMs(state, seen));
  const over = await timeIsUp(ctx, booking, state);
  if (over !== undefined) return over;
  if (state.state === 'draining') await provider.drain(key, state.deadlineMs, AbortSignal.timeout(PROVIDER_TIMEOUT_MS));
  return { kind: 'idle', againInMs: OBSERVE_EVERY_MS };
}

/** Past the notice it goes to its release; past the lease it gets its notice. undefined: neither. */
async function timeIsUp(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'applied' | 'draining' }>,
): Promise<StepResult | undefined> {
  const nowMs = ctx.clock.now();
  if (state.state === 'draining') {
    return nowMs >= state.deadlineMs ? undo(ctx, booking, state.outcome, state.reason) : undefined;
  }
  if (nowMs < state.leaseEndsAtMs) return undefined;
  const text = `its lease of ${Math.round((booking.spec.leaseMs + extendedMs(state)) / 1000)} s ran out`;
  const event = {
    type: 'drain',
    deadlineMs: nowMs + graceMs(booking.spec),
    outcome: 'expired',
    reason: { code: 'lease_expired', text, mend: 'book a longer lease, or extend it while the job runs' },
  } as const;
  const moved = await ctx.commit({ booking, event, actor: ACTOR, nowMs });
  return { kind: 'moved', booking: moved };
}

async function runEnded(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'applied' | 'draining' }>,
  provider: Provider,
  seen: Extract<Observation, { state: 'ended' | 'absent' }>,
): Promise<StepResult> {
  const endedAtMs = seen.state === 'ended' ? seen.endedAtMs : undefined;
  const end = (outcome: Outcome, reason: Reason) => undo(ctx, booking, outcome, reason, [], endedAtMs);
  await ctx.logs.complete(booking, state.attempt, provider, seen.state === 'absent');
  const run = { beganAtMs: beganAtMs(state, seen), endedAtMs: endedAtMs ?? ctx.clock.now() };
  const exitCode = seen.state === 'ended' ? seen.exitCode : undefined;
  await ctx.runs.complete(booking, state.attempt, provider, { ...run, exitCode });
  if (seen.state === 'ended' && seen.outcome === 'succeeded') {
    const kept = await keepArtifacts(ctx, booking, state);
    if (kept.kind === 'refused') return end('failed', kept.reason);
    return end('released', { code: 'succeeded', text: 'the job ended well', mend: 'nothing to do' });
  }
  if (state.state === 'draining') return end(state.outcome, state.reason);
  const reason = failure(seen);
  const again = await goesOn(ctx, booking, seen);
  return end(again ? 'retry' : 'failed', reason);
}

/** As the provider tells it, by its clock; else when it was taken. */
function beganAtMs({ appliedAtMs }: { readonly appliedAtMs: number }, seen: Observation): number {
  return (seen.state === 'running' || seen.state === 'ended' ? seen.startedAtMs : undefined) ?? appliedAtMs;
}

function failure(seen: Extract<Observation, { state: 'ended' | 'absent' }>): Reason {
  if (seen.state === 'absent' && seen.certain === true)
    return {
      code: 'preempted',
      text: 'the cluster that ran the job is gone, and another one is in its place',
      mend: 'it goes on from its checkpoint',
    };
  if (seen.state === 'absent')
    return {
      code: 'lost',
      text: 'the provider no longer knows the job',
      mend: 'see whether the cluster was restarted',
    };
  const exit = seen.exitCode === undefined ? '' : ` with exit code ${seen.exitCode}`;
  const said = seen.message === '' ? '' : `: ${seen.message}`;
  switch (seen.outcome) {
    case 'preempted':
      return {
        code: 'preempted',
        text: `the provider took the capacity back${said}`,
        mend: 'it goes on from its checkpoint',
      };
    case 'stopped':
      return { code: 'stopped', text: `the job was stopped at the provider${said}`, mend: 'see who stopped it' };
    case 'failed':
    case 'succeeded':
      return {
        code: 'job_failed',
        text: `the job failed${exit}${said}`,
        mend: 'read `merit logs`, mend the job, submit again',
      };
  }
}

/**
 * Another attempt? A job that failed has its restarts. One that the provider took the capacity of goes on as often as it may be
 * preempted; so does one that went down with its whole cluster. One that the cluster lost did not fail by itself: it goes on while restarts remain, and once in any case.
 */
async function goesOn(
  ctx: StepContext,
  booking: Booking,
  seen: Extract<Observation, { state: 'ended' | 'absent' }>,
): Promise<boolean> {
  const { maxRestarts, maxPreemptions } = booking.spec;
  const before = await ctx.desk.endedAttempts(booking.bookingId);
  if ((seen.state === 'ended' && seen.outcome === 'preempted') || (seen.state === 'absent' && seen.certain === true))
    return maxPreemptions === undefined || before.preempted < maxPreemptions;
  if (seen.state === 'ended' && seen.outcome === 'failed') return before.failed < maxRestarts;
  return before.failed < Math.max(1, maxRestarts);
}
