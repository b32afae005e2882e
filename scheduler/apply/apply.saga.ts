import { advance, type BookingState, type Outcome, type PolicyAnswer, type Reason } from '../../core/booking.ts';
import { attemptKey } from '../../core/ids.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { ProviderError } from '../../providers/provider.ts';
import { restsData, restsOn } from '../signatures/await-signatures.ts';
import { attemptSpec } from './attempt-spec.ts';
import { type Booking, leaseMsOf } from './booking-store.ts';
import type { StepContext } from './context.ts';
import { QuorumLost, TrailNotSealed } from './group-commit.ts';
import { APPLY_DEADLINE_MS, PEER_TIMEOUT_MS, PROVIDER_TIMEOUT_MS } from './limits.ts';
import { billingEnd, holdId, LedgerRefusal, postTransfers } from './money.ts';
import { allocationRequest, deniedReason, policyAnswer } from './reserve.ts';

/**
 * The apply saga from `reserved` on (reserve.ts does what comes before):
 *
 *   reserved    → Finance holds the money              → requesting
 *   requesting  → the provider takes the attempt's key → confirming
 *   confirming  → Finance confirms, policy is re-checked, transfers are posted, the trail is sealed → applied
 *
 * The state is the stored intent of the call that follows it; every call carries an id made from booking and attempt, so a
 * call repeated after a crash has one effect. Whatever fails goes to `releasing` (release.saga.ts), which undoes in reverse.
 */
export type StepResult =
  | { readonly kind: 'moved'; readonly booking: Booking }
  | { readonly kind: 'idle'; readonly againInMs: number }
  /** The world did not answer: the same step is repeated with back-off. */
  | { readonly kind: 'retry'; readonly why: string };

export const ACTOR = 'merit/allocator';

type In<S extends BookingState['state']> = Extract<BookingState, { state: S }>;

/** `reserved`: asks Finance to hold the whole lease's price. A refusal ends the booking; silence is asked again by the same id. */
export async function holdMoney(ctx: StepContext, booking: Booking, state: In<'reserved'>): Promise<StepResult> {
  if (isPastDeadline(ctx, booking)) return undo(ctx, booking, 'retry', gaveUp('Finance did not answer'));
  const id = holdId(booking.bookingId, state.attempt);
  const answer = await ctx.finance.hold(
    {
      holdId: id,
      tenant: booking.tenant,
      division: booking.division,
      bookingId: booking.bookingId,
      attempt: state.attempt,
      amountCents: state.placement.holdCents,
      currency: state.placement.currency,
    },
    AbortSignal.timeout(PEER_TIMEOUT_MS),
  );
  switch (answer.kind) {
    case 'held':
      break;
    case 'unknown':
      return { kind: 'retry', why: answer.cause.message };
    case 'reversed':
      return undo(
        ctx,
        booking,
        'retry',
        { code: 'finance_reversed', text: 'Finance had reversed this hold', mend: 'it is tried again by itself' },
        [answer.evidence],
      );
    case 'refused':
    case 'conflict':
    case 'invalid':
      return undo(ctx, booking, 'rejected', financeReason(answer.reason), [answer.evidence]);
  }
  const moved = await ctx.commit({
    booking,
    event: { type: 'hold_granted', holdId: id },
    actor: ACTOR,
    nowMs: ctx.clock.now(),
    evidence: [answer.evidence],
    data: { key: attemptKey(booking.bookingId, state.attempt), holdId: id },
  });
  return { kind: 'moved', booking: moved };
}

/** `requesting`: looks for the attempt's key, then submits it. Time-outs are unknown, never failed. */
export async function requestProvider(
  ctx: StepContext,
  booking: Booking,
  state: In<'requesting'>,
): Promise<StepResult> {
  const key = attemptKey(booking.bookingId, state.attempt);
  const late = isPastDeadline(ctx, booking);
  try {
    const provider = await ctx.providers.of(booking.tenant, state.placement.pool);
    const seen = await provider.observe(key, AbortSignal.timeout(PROVIDER_TIMEOUT_MS));
    const lookAgain =
      seen.state === 'absent' && state.unknown && ctx.clock.now() - booking.updatedAtMs < provider.consistencyWindowMs;
    if (lookAgain) return { kind: 'idle', againInMs: 1_000 };
    if (seen.state === 'absent' && late)
      return undo(ctx, booking, 'retry', gaveUp('the provider did not take the job'));
    const handle =
      seen.state === 'absent'
        ? await provider.submit(await attemptSpec(ctx, booking, state), AbortSignal.timeout(PROVIDER_TIMEOUT_MS))
        : seen.handle;
    const nowMs = ctx.clock.now();
    const stored = {
      provider: handle.provider,
      id: handle.id,
      ...(handle.uid === undefined ? {} : { uid: handle.uid }),
    };
    const moved = await ctx.commit({
      booking,
      event: { type: 'accepted', handle: stored },
      actor: ACTOR,
      nowMs,
      attempt: { kind: 'started', handle: stored },
      data: { handle: stored },
    });
    ctx.metrics.requestLatency('submitted', (nowMs - booking.createdAtMs) / 1000);
    return { kind: 'moved', booking: moved };
  } catch (error) {
    return requestFailed(ctx, booking, state, error, late);
  }
}

async function requestFailed(
  ctx: StepContext,
  booking: Booking,
  state: In<'requesting'>,
  error: unknown,
  late: boolean,
): Promise<StepResult> {
  if (!(error instanceof ProviderError || error instanceof OperatingError)) throw error;
  const text = error.message;
  const code = error instanceof ProviderError ? error.code : 'transient';
  switch (code) {
    case 'no_capacity':
    case 'quota_exceeded':
      return undo(ctx, booking, 'retry', {
        code,
        text: `the provider has no room: ${text}`,
        mend: 'it is tried again by itself',
      });
    case 'preempted':
      return undo(ctx, booking, 'retry', {
        code,
        text: `the provider took the capacity back: ${text}`,
        mend: 'it is tried again by itself',
      });
    case 'invalid':
      return undo(ctx, booking, 'rejected', {
        code: 'provider_refused',
        text: `the provider refused the job: ${text}`,
        mend: 'mend the job file and submit again',
      });
    case 'auth':
      return undo(ctx, booking, 'retry', {
        code: 'provider_auth',
        text: `the provider refused our credentials: ${text}`,
        mend: 'mend the pool’s token; the booking goes on by itself',
      });
    case 'transient':
    case 'not_found':
      break;
  }
  const unknown = error instanceof ProviderError && error.effect !== 'none';
  // Nothing can have started: the capacity goes back at once rather than be held for a provider that is away.
  if (!unknown && (late || (!state.unknown && error instanceof ProviderError))) {
    return undo(ctx, booking, 'retry', {
      code: 'provider_unreachable',
      text,
      mend: 'start or mend the provider; the booking goes on by itself',
    });
  }
  const flagged = advance(state, { type: 'request_unknown' });
  if (unknown && !state.unknown && flagged !== undefined) {
    await ctx.desk.note(booking, flagged, ctx.clock.now());
  }
  return { kind: 'retry', why: text };
}

/** `confirming`: Finance confirms, SentinelNet's version is looked at again, and one transaction makes it `applied`. */
export async function confirmAndApply(
  ctx: StepContext,
  booking: Booking,
  state: In<'confirming'>,
): Promise<StepResult> {
  if (isPastDeadline(ctx, booking)) return undo(ctx, booking, 'retry', gaveUp('the booking could not be confirmed'));
  const confirmed = await ctx.finance.confirm(state.holdId, AbortSignal.timeout(PEER_TIMEOUT_MS));
  switch (confirmed.kind) {
    case 'done':
      break;
    case 'unknown':
      return { kind: 'retry', why: confirmed.cause.message };
    case 'absent':
    case 'conflict':
    case 'invalid':
      return undo(ctx, booking, 'rejected', financeReason(confirmed.reason), [confirmed.evidence]);
  }
  const recheck = await recheckPolicy(ctx, booking, state);
  if (recheck.kind === 'deny') return undo(ctx, booking, 'rejected', recheck.reason, [recheck.evidence]);
  const rests = await restsOn(ctx, booking, state, recheck.policy.policyVersion);
  if (rests.kind === 'lost') return undo(ctx, booking, 'retry', rests.reason);
  // Not before people signed it, whichever clock is behind.
  const nowMs = Math.max(ctx.clock.now(), rests.kind === 'quorum' ? rests.quorum.signedAtMs : 0);
  let moved: Booking;
  try {
    moved = await ctx.commit({
      booking,
      event: { type: 'apply', atMs: nowMs, leaseEndsAtMs: nowMs + leaseMsOf(booking), policy: recheck.policy },
      actor: ACTOR,
      nowMs,
      needsSealedTrail: true,
      evidence: [
        confirmed.evidence,
        ...(recheck.evidence === undefined ? [] : [recheck.evidence]),
        ...(rests.kind === 'quorum' ? [rests.quorum.evidence] : []),
      ],
      transfers: postTransfers(booking, state.attempt),
      data: { policyVersion: recheck.policy.policyVersion, ...restsData(rests) },
      ...(rests.kind === 'quorum' ? { quorum: { proposal: rests.proposal, signers: rests.quorum.signers } } : {}),
    });
  } catch (error) {
    if (error instanceof LedgerRefusal && error.outcome.kind === 'expired')
      return undo(ctx, booking, 'retry', {
        code: 'apply_timeout',
        text: 'the quota and money it held had expired before it was confirmed',
        mend: 'it is tried again by itself',
      });
    if (error instanceof QuorumLost) return { kind: 'retry', why: 'what was signed has to be counted anew' };
    if (!(error instanceof TrailNotSealed)) throw error;
    return { kind: 'retry', why: 'the audit trail is not sealed: its signer or sequencer is behind' };
  }
  ctx.metrics.requestLatency('applied', (nowMs - booking.createdAtMs) / 1000);
  ctx.metrics.applied('applied');
  return { kind: 'moved', booking: moved };
}

type Recheck =
  | { readonly kind: 'allow'; readonly policy: PolicyAnswer; readonly evidence: object | undefined }
  | { readonly kind: 'deny'; readonly reason: Reason; readonly evidence: object };

/** The version in force must be the one that allowed it; a newer one is asked the same question again. */
async function recheckPolicy(ctx: StepContext, booking: Booking, state: In<'confirming'>): Promise<Recheck> {
  const version = await ctx.sentinelNet.currentPolicyVersion(AbortSignal.timeout(PEER_TIMEOUT_MS));
  if (version === state.policy.policyVersion) return { kind: 'allow', policy: state.policy, evidence: undefined };
  const verdict = await ctx.sentinelNet.decide(
    allocationRequest(booking, state.attempt, state.placement),
    AbortSignal.timeout(PEER_TIMEOUT_MS),
  );
  if (verdict.kind === 'deny') {
    const reason = deniedReason(verdict);
    return {
      kind: 'deny',
      reason: { ...reason, text: `the policy changed before it was applied: ${reason.text}` },
      evidence: verdict.evidence,
    };
  }
  if (verdict.signatures > state.policy.signatures) {
    const text = `the policy now asks for ${verdict.signatures} signatures`;
    return { kind: 'deny', reason: { code: 'policy_changed', text, mend: 'submit again' }, evidence: verdict.evidence };
  }
  return { kind: 'allow', policy: policyAnswer(verdict), evidence: verdict.evidence };
}

/**
 * To `releasing`, which undoes what was done. `endedAtMs`: when the provider says the run ended.
 */
export async function undo(
  ctx: StepContext,
  booking: Booking,
  outcome: Outcome,
  reason: Reason,
  evidence: readonly object[] = [],
  endedAtMs?: number,
): Promise<StepResult> {
  const nowMs = ctx.clock.now();
  const atMs =
    'appliedAtMs' in booking.state ? billingEnd(booking.state.appliedAtMs ?? nowMs, endedAtMs, nowMs) : nowMs;
  const moved = await ctx.commit({
    booking,
    event: { type: 'release', outcome, reason, atMs },
    actor: ACTOR,
    nowMs,
    evidence,
  });
  if (booking.state.state !== 'applied' && booking.state.state !== 'draining') ctx.metrics.applied('undone');
  return { kind: 'moved', booking: moved };
}

export function financeReason(reason: Reason): Reason {
  return {
    ...reason,
    code: reason.code.startsWith('finance') ? reason.code : 'finance_refused',
    text: `Finance: ${reason.text}`,
  };
}

export function isPastDeadline(ctx: StepContext, booking: Booking): boolean {
  return ctx.clock.now() - booking.updatedAtMs > APPLY_DEADLINE_MS;
}

export function gaveUp(what: string): Reason {
  return {
    code: 'apply_timeout',
    text: `${what} within ${APPLY_DEADLINE_MS / 60_000} minutes`,
    mend: 'it is tried again by itself',
  };
}
