import { outputsRefusal } from '../../artifacts/source.ts';
import type { BookingEvent, Placement, PolicyAnswer, Reason } from '../../core/booking.ts';
import { contentHash } from '../../core/canonical.ts';
import { attemptKey } from '../../core/ids.ts';
import { moneyOf } from '../../peers/money.ts';
import type { PolicyVerdict } from '../../peers/sentinelnet/client.ts';
import type { AllocationRequest } from '../../peers/sentinelnet/wire.ts';
import { askForSignatures, isSigned, signaturesAsked } from '../signatures/await-signatures.ts';
import { ACTOR, type StepResult } from './apply.saga.ts';
import { type Booking, leaseMsOf } from './booking-store.ts';
import type { StepContext } from './context.ts';
import { PEER_TIMEOUT_MS } from './limits.ts';
import { LedgerRefusal, reserveTransfers } from './money.ts';
import { outputsBounds } from './outputs.ts';

/**
 * From `waiting`, for a booking the planner admitted: SentinelNet is asked first, holding nothing; then signatures, where it
 * asks for them; then quota and money are made pending in one batch (→ `reserved`).
 */
export function allocationRequest(
  booking: Booking,
  attempt: number,
  placement: Placement,
  lease: { readonly requestId: string; readonly leaseMs: number } = {
    requestId: attemptKey(booking.bookingId, attempt),
    leaseMs: leaseMsOf(booking),
  },
): AllocationRequest {
  return {
    format: 'merit-policy-request/1',
    kind: 'allocation',
    requestId: lease.requestId,
    tenant: booking.tenant,
    division: booking.division,
    requester: booking.requester,
    model: booking.spec.model,
    contentHash: booking.specHash,
    pool: placement.pool,
    flavour: placement.flavour,
    provider: placement.provider,
    gpuMilli: placement.gpuMilli,
    cpuMilli: placement.cpuMilli,
    leaseMs: lease.leaseMs,
    cost: moneyOf(BigInt(placement.holdCents), placement.currency),
    ...(booking.spec.array === undefined ? {} : { tasks: booking.spec.array.count }),
    ...moneyAsked(booking),
  };
}

/** What money alone is for. */
function moneyAsked({ spec: { money } }: Booking): Pick<AllocationRequest, 'money'> {
  if (money === undefined) return {};
  const { purpose, agent } = money;
  return { money: { purpose, ...(agent === undefined ? {} : { agent }) } };
}

export function policyAnswer(verdict: Extract<PolicyVerdict, { kind: 'allow' }>): PolicyAnswer {
  const { decisionId, policyVersion, requestHash, signatures } = verdict;
  return { decisionId, policyVersion, requestHash, signatures };
}

/** A denial as one reason: all that SentinelNet said. */
export function deniedReason(verdict: Extract<PolicyVerdict, { kind: 'deny' }>): Reason {
  const said = verdict.reasons.map((reason) => reason.text).join('; ');
  return {
    code: verdict.code,
    text: `SentinelNet denied it: ${said}`,
    mend: verdict.reasons[0]?.mend ?? 'ask the owners of the policy',
  };
}

export async function reserve(ctx: StepContext, booking: Booking, placement: Placement): Promise<StepResult> {
  const { state } = booking;
  if (state.state !== 'waiting') return { kind: 'idle', againInMs: 0 };
  const outputs = booking.spec.outputs === null ? undefined : outputsRefusal(booking.spec.outputs, outputsBounds(ctx));
  if (outputs !== undefined) {
    const reason = { code: outputs.code, text: `outputs ${outputs.problem}`, mend: outputs.mend };
    const nowMs = ctx.clock.now();
    return {
      kind: 'moved',
      booking: await ctx.commit({ booking, event: { type: 'reject', reason }, actor: ACTOR, nowMs }),
    };
  }
  const request = allocationRequest(booking, state.attempt, placement);
  const verdict = await ctx.sentinelNet.decide(request, AbortSignal.timeout(PEER_TIMEOUT_MS));
  const nowMs = ctx.clock.now();
  if (verdict.kind === 'deny') {
    return moved(ctx, booking, { type: 'reject', reason: deniedReason(verdict) }, verdict.evidence, nowMs);
  }
  const asked = signaturesAsked(ctx, booking, placement, verdict.signatures);
  const policy = { ...policyAnswer(verdict), signatures: asked.signatures };
  const isAllowed = asked.signatures === 0 || (await isSigned(ctx, state.policy, request, policy));
  if (!isAllowed) {
    const { evidence } = verdict;
    return askForSignatures(ctx, booking, request, { policy, bySentinelNet: verdict.signatures, evidence });
  }
  const { proposal } = asked.signatures === 0 ? {} : (state.policy ?? {});
  const signed = proposal === undefined ? policy : { ...policy, proposal };
  try {
    return {
      kind: 'moved',
      booking: await reserveInLedger(ctx, booking, state.attempt, placement, signed, verdict.evidence, nowMs),
    };
  } catch (error) {
    if (!(error instanceof LedgerRefusal)) throw error;
    const reason = refusedReason(booking, error);
    await keepReasons(ctx, [{ booking, reasons: [reason] }]);
    return { kind: 'retry', why: reason.text };
  }
}

/** The snapshot was older than the ledger: it waits and is planned again. Of money alone only the ledger knows whether there is enough. */
function refusedReason({ division, spec }: Booking, { outcome }: LedgerRefusal): Reason {
  if (spec.money !== undefined) {
    const { cents, currency } = spec.money;
    const text = `the budget of ${division} does not allow ${moneyOf(BigInt(cents), currency).amount} ${currency} now`;
    return { code: outcome.kind, text, mend: 'have the budget raised, or wait until some of it is free' };
  }
  return {
    code: outcome.kind,
    text: 'the capacity was taken between planning and booking',
    mend: 'it is planned again by itself',
  };
}

async function moved(
  ctx: StepContext,
  booking: Booking,
  event: BookingEvent,
  evidence: object,
  nowMs: number,
): Promise<StepResult> {
  return {
    kind: 'moved',
    booking: await ctx.commit({ booking, event, actor: ACTOR, nowMs, evidence: [evidence] }),
  };
}

function reserveInLedger(
  ctx: StepContext,
  booking: Booking,
  attempt: number,
  placement: Placement,
  policy: PolicyAnswer,
  answer: object,
  nowMs: number,
): Promise<Booking> {
  const { pool, flavour, provider } = placement;
  return ctx.commit({
    booking,
    event: { type: 'reserve', placement, policy },
    actor: ACTOR,
    nowMs,
    evidence: [answer],
    transfers: reserveTransfers(booking, attempt, placement, nowMs),
    attempt: { kind: 'begin', pool, flavour, provider },
    data: { placement: { ...placement }, policyVersion: policy.policyVersion },
  });
}

export interface NewReasons {
  readonly booking: Booking;
  readonly reasons: readonly Reason[];
}

/** What a list of waiting bookings says of each; written only where it changed. The bookings that it was written of, as they are now. */
export async function keepReasons(ctx: StepContext, all: readonly NewReasons[]): Promise<readonly Booking[]> {
  const changed = all.flatMap(({ booking, reasons }) =>
    booking.state.state === 'waiting' && contentHash(booking.state.reasons) !== contentHash(reasons)
      ? [{ booking, state: { ...booking.state, reasons } }]
      : [],
  );
  if (changed.length === 0) return [];
  return ctx.desk.noteReasons(changed);
}
