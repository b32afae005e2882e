import type { BookingState, PolicyAnswer, Reason } from '../../core/booking.ts';
import { extendedMs, type OpenExtension, openExtension } from '../../core/extension.ts';
import { attemptKey } from '../../core/ids.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { moneyOf } from '../../peers/money.ts';
import { ProviderError } from '../../providers/provider.ts';
import { signaturesAsked } from '../signatures/await-signatures.ts';
import { ACTOR, financeReason, type StepResult } from './apply.saga.ts';
import type { Booking } from './booking-store.ts';
import type { StepContext } from './context.ts';
import { extensionCents, extensionHoldId, extensionPendingId, extensionTransfer } from './extension-money.ts';
import { TrailNotSealed } from './group-commit.ts';
import { APPLY_DEADLINE_MS, OBSERVE_EVERY_MS, PEER_TIMEOUT_MS, PROVIDER_TIMEOUT_MS } from './limits.ts';
import { LedgerRefusal } from './money.ts';
import { allocationRequest, deniedReason, policyAnswer } from './reserve.ts';
import { watchRun } from './run.saga.ts';

/**
 * A longer lease of what runs, as apply.saga.ts books a new one:
 *
 *   asked    → SentinelNet is asked about the whole lease, its price is made pending → holding
 *   holding  → Finance holds and confirms it, policy is re-checked, the provider is told, the trail is sealed, the transfer is posted → granted
 *
 * The stored extension is the intent of the call that follows it, and ids are made from booking, attempt and its number, so that a repeat has
 * one effect. Whatever fails refuses the extension, after what it held is given back, and the lease stays as it was. An attempt that leaves
 * meanwhile takes no more time; release.saga.ts gives back what its extension holds.
 */
type Applied = Extract<BookingState, { state: 'applied' }>;

/** Looks at the running job, then goes on with what was asked for its lease. */
export async function watchLease(ctx: StepContext, booking: Booking, state: Applied): Promise<StepResult> {
  const seen = await watchRun(ctx, booking, state);
  const open = openExtension(state);
  if (seen.kind !== 'idle' || open === undefined) return seen;
  // Whoever does not answer is asked again at the next look, which does not wait for them.
  const again = { kind: 'idle', againInMs: Math.min(seen.againInMs, OBSERVE_EVERY_MS) } as const;
  try {
    const step =
      open.state === 'asked' ? await hold(ctx, booking, state, open) : await grant(ctx, booking, state, open);
    return step ?? again;
  } catch (error) {
    if (!(error instanceof OperatingError || error instanceof ProviderError)) throw error;
    ctx.log.warn(
      { booking: booking.bookingId, trace: booking.traceId, error: error.message },
      'a longer lease waits for a part that is away; it is tried again',
    );
    return again;
  }
}

/** `asked`. undefined: the same again, later. */
async function hold(
  ctx: StepContext,
  booking: Booking,
  state: Applied,
  open: OpenExtension,
): Promise<StepResult | undefined> {
  if (isLate(ctx, open)) return refuse(ctx, booking, open, gaveUp('SentinelNet did not answer'));
  const { bookingId, spec } = booking;
  const holdCents = String(extensionCents(spec, state.placement, state, open.byMs));
  const verdict = await askPolicy(ctx, booking, state, open, holdCents);
  if (verdict.kind === 'deny') return refuse(ctx, booking, open, verdict.reason, { evidence: [verdict.evidence] });
  const nowMs = ctx.clock.now();
  const money = { placement: state.placement, holdCents, nowMs };
  try {
    const moved = await ctx.commit({
      booking,
      event: { type: 'hold_extension', holdCents, policy: verdict.policy },
      actor: ACTOR,
      nowMs,
      evidence: [verdict.evidence],
      transfers: [extensionTransfer(booking, state.attempt, open.n, money)],
      data: { extension: open.n, holdCents, holdId: extensionHoldId(bookingId, state.attempt, open.n) },
    });
    return { kind: 'moved', booking: moved };
  } catch (error) {
    if (!(error instanceof LedgerRefusal)) throw error;
    return refuse(ctx, booking, open, noMoney(booking, state, holdCents, error));
  }
}

/** `holding`. undefined: the same again, later. */
async function grant(
  ctx: StepContext,
  booking: Booking,
  state: Applied,
  open: Extract<OpenExtension, { state: 'holding' }>,
): Promise<StepResult | undefined> {
  if (isLate(ctx, open)) return giveBack(ctx, booking, state, open, gaveUp('it could not be confirmed'));
  const { bookingId, tenant, division } = booking;
  const { attempt, placement } = state;
  const holdId = extensionHoldId(bookingId, attempt, open.n);
  const ask = {
    holdId,
    tenant,
    division,
    bookingId,
    attempt,
    amountCents: open.holdCents,
    currency: placement.currency,
  };
  const held = await ctx.finance.hold(ask, AbortSignal.timeout(PEER_TIMEOUT_MS));
  if (held.kind === 'unknown') return undefined;
  if (held.kind !== 'held') {
    const text = 'Finance had reversed this hold';
    const reason = held.kind === 'reversed' ? { code: 'finance_reversed', text, mend: 'ask again' } : held.reason;
    return giveBack(ctx, booking, state, open, financeReason(reason), [held.evidence]);
  }
  const confirmed = await ctx.finance.confirm(holdId, AbortSignal.timeout(PEER_TIMEOUT_MS));
  if (confirmed.kind === 'unknown') return undefined;
  if (confirmed.kind !== 'done')
    return giveBack(ctx, booking, state, open, financeReason(confirmed.reason), [confirmed.evidence]);
  const evidence: object[] = [held.evidence, confirmed.evidence];
  const version = await ctx.sentinelNet.currentPolicyVersion(AbortSignal.timeout(PEER_TIMEOUT_MS));
  if (version !== open.policy.policyVersion) {
    const verdict = await askPolicy(ctx, booking, state, open, open.holdCents);
    if (verdict.kind === 'deny') return giveBack(ctx, booking, state, open, verdict.reason, [verdict.evidence]);
    evidence.push(verdict.evidence);
  }
  const provider = await ctx.providers.of(tenant, placement.pool);
  const leaseMs = booking.spec.leaseMs + extendedMs(state) + open.byMs;
  // Before the grant: a provider that gives more time than Merit does harm to nobody.
  await provider.extend?.(attemptKey(bookingId, attempt), leaseMs, AbortSignal.timeout(PROVIDER_TIMEOUT_MS));
  return commitGrant(ctx, booking, state, open, evidence, version);
}

async function commitGrant(
  ctx: StepContext,
  booking: Booking,
  state: Applied,
  open: Extract<OpenExtension, { state: 'holding' }>,
  evidence: readonly object[],
  policyVersion: string,
): Promise<StepResult | undefined> {
  const pendingId = extensionPendingId(booking, state.attempt, open.n);
  try {
    const moved = await ctx.commit({
      booking,
      event: { type: 'grant_extension' },
      actor: ACTOR,
      nowMs: ctx.clock.now(),
      needsSealedTrail: true,
      evidence,
      transfers: [{ id: `${pendingId}-post`, kind: 'post', pendingId }],
      data: {
        extension: open.n,
        byMs: open.byMs,
        leaseEndsAt: new Date(state.leaseEndsAtMs + open.byMs).toISOString(),
        holdId: extensionHoldId(booking.bookingId, state.attempt, open.n),
        policyVersion,
      },
    });
    ctx.metrics.extended('granted');
    return { kind: 'moved', booking: moved };
  } catch (error) {
    if (error instanceof TrailNotSealed) return undefined;
    if (!(error instanceof LedgerRefusal)) throw error;
    return giveBack(ctx, booking, state, open, gaveUp('what it held expired'));
  }
}

/** Refuses it once Finance has taken its hold back: by its id, whether it was granted or not. */
async function giveBack(
  ctx: StepContext,
  booking: Booking,
  state: Applied,
  open: Extract<OpenExtension, { state: 'holding' }>,
  reason: Reason,
  evidence: readonly object[] = [],
): Promise<StepResult | undefined> {
  const holdId = extensionHoldId(booking.bookingId, state.attempt, open.n);
  const back = await ctx.finance.reverse(holdId, booking.tenant, AbortSignal.timeout(PEER_TIMEOUT_MS));
  if (back.kind !== 'done') return undefined;
  const voids = [extensionPendingId(booking, state.attempt, open.n)];
  return refuse(ctx, booking, open, reason, { evidence: [...evidence, back.evidence], voids });
}

async function refuse(
  ctx: StepContext,
  booking: Booking,
  open: OpenExtension,
  reason: Reason,
  more: { readonly evidence?: readonly object[]; readonly voids?: readonly string[] } = {},
): Promise<StepResult> {
  const event = { type: 'refuse_extension', reason } as const;
  const data = { extension: open.n, byMs: open.byMs, reason: { ...reason } };
  const moved = await ctx.commit({ booking, event, actor: ACTOR, nowMs: ctx.clock.now(), data, ...more });
  ctx.metrics.extended('refused');
  return { kind: 'moved', booking: moved };
}

type Judged =
  | { readonly kind: 'allow'; readonly policy: PolicyAnswer; readonly evidence: object }
  | { readonly kind: 'deny'; readonly reason: Reason; readonly evidence: object };

/** SentinelNet is asked about the whole lease and its whole price, under an id of the extension. */
async function askPolicy(
  ctx: StepContext,
  booking: Booking,
  state: Applied,
  open: OpenExtension,
  holdCents: string,
): Promise<Judged> {
  const whole = String(BigInt(state.placement.holdCents) + BigInt(holdCents));
  const lease = {
    requestId: `${attemptKey(booking.bookingId, state.attempt)}-x${open.n}`,
    leaseMs: booking.spec.leaseMs + extendedMs(state) + open.byMs,
  };
  const request = allocationRequest(booking, state.attempt, { ...state.placement, holdCents: whole }, lease);
  const verdict = await ctx.sentinelNet.decide(request, AbortSignal.timeout(PEER_TIMEOUT_MS));
  const { evidence } = verdict;
  if (verdict.kind === 'deny') return { kind: 'deny', reason: deniedReason(verdict), evidence };
  const { signatures } = signaturesAsked(ctx, booking, { ...state.placement, holdCents: whole }, verdict.signatures);
  if (signatures === 0) return { kind: 'allow', policy: policyAnswer(verdict), evidence };
  const text = `the policy asks for ${signatures} signatures for the longer lease`;
  const mend = 'ask for less, or book the rest as a job of its own';
  return { kind: 'deny', reason: { code: 'policy_denied', text, mend }, evidence };
}

function noMoney(booking: Booking, { placement }: Applied, holdCents: string, { outcome }: LedgerRefusal): Reason {
  const { currency } = placement;
  const code = outcome.kind === 'exceeds_limit' ? 'budget_exceeded' : outcome.kind;
  const money = (cents: bigint) => `${moneyOf(cents, currency).amount} ${currency}`;
  const short = outcome.kind === 'exceeds_limit' ? ` (${money(outcome.shortfall)} short)` : '';
  const text = `the budget of ${booking.division} does not allow ${money(BigInt(holdCents))} more${short}`;
  return { code, text, mend: 'ask for less, or have the budget raised' };
}

function isLate(ctx: StepContext, open: OpenExtension): boolean {
  return ctx.clock.now() - open.askedAtMs > APPLY_DEADLINE_MS;
}

function gaveUp(what: string): Reason {
  const text = `${what} within ${APPLY_DEADLINE_MS / 60_000} minutes`;
  return { code: 'extension_timeout', text, mend: 'ask again' };
}
