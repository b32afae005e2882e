import { statementHash } from '../../core/approval.ts';
import type { BookingState, Placement, PolicyAnswer, Reason } from '../../core/booking.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import { allocationRequirement, expiryMsOf, type Requirement } from '../../core/signing-policy.ts';
import type { AllocationRequest } from '../../peers/sentinelnet/wire.ts';
import { ACTOR, type StepResult } from '../apply/apply.saga.ts';
import type { Booking } from '../apply/booking-store.ts';
import type { StepContext } from '../apply/context.ts';
import { deadlineReason } from '../apply/wait-reasons.ts';
import { type NewProposal, newProposal } from './proposal.ts';
import type { Quorum } from './quorum.ts';
import type { Unreachable } from './reachable.ts';

/** How many people have to sign a placement: what SentinelNet asks for, and what the signing policy does. */
export function signaturesAsked(
  ctx: StepContext,
  booking: Booking,
  { pool, holdCents, currency }: Pick<Placement, 'pool' | 'holdCents' | 'currency'>,
  bySentinelNet: number,
): Requirement {
  const { division, spec } = booking;
  const ask = { division, pool, cents: BigInt(holdCents), currency, tasks: spec.array?.count ?? 1 };
  return allocationRequirement(ctx.signingOf(booking.tenant), ask, bySentinelNet);
}

/** What people are shown and sign: all that SentinelNet was asked about but the attempt, so that an attempt that came to nothing wastes no signatures. */
function signedContent({ requestId: _, ...content }: AllocationRequest): Json {
  return { ...content } as Json;
}

/** Whether what was signed before is this very placement under this very policy, and still counts. */
export async function isSigned(
  ctx: StepContext,
  signed: PolicyAnswer | undefined,
  request: AllocationRequest,
  policy: PolicyAnswer,
): Promise<boolean> {
  const { proposal } = signed ?? {};
  if (proposal === undefined || signed?.policyVersion !== policy.policyVersion) return false;
  if (proposal.contentHash !== contentHash(signedContent(request))) return false;
  return (await ctx.desk.quorum(proposal.id, ctx.clock.now())) !== undefined;
}

/** → `awaiting_signatures`, with what has to be signed; → `rejected`, where too few people could ever sign it. */
export async function askForSignatures(
  ctx: StepContext,
  booking: Booking,
  request: AllocationRequest,
  asked: { readonly policy: PolicyAnswer; readonly bySentinelNet: number; readonly evidence: object },
): Promise<StepResult> {
  // Not before it was asked for, whichever clock is behind.
  const nowMs = Math.max(ctx.clock.now(), booking.createdAtMs);
  const proposal = applyProposal(ctx, booking, request, asked, nowMs);
  // By the policy as it stands, not as it was lately read: whoever has just declared one is not told that there is none.
  const never = await ctx.desk.unreachable(proposal, nowMs);
  if (never !== undefined) return refuseUnsignable(ctx, booking, never, asked.evidence, nowMs);
  const { id, expiresAtMs, statement } = proposal;
  const policy = { ...asked.policy, proposal: { id, contentHash: statement.contentHash, expiresAtMs } };
  const moved = await ctx.commit({
    booking,
    event: { type: 'signatures_required', policy },
    actor: ACTOR,
    nowMs,
    evidence: [asked.evidence],
    proposes: proposal,
    data: {
      proposal: id,
      statement: statementHash(statement),
      signatures: policy.signatures,
      expiresAt: statement.expiresAt,
    },
  });
  return { kind: 'moved', booking: moved };
}

/** Told at once: it would wait for people who are not there, and end all the same. */
async function refuseUnsignable(
  ctx: StepContext,
  booking: Booking,
  never: Unreachable,
  evidence: object,
  nowMs: number,
): Promise<StepResult> {
  const event = { type: 'reject', reason: { code: 'quorum_impossible', ...never } } as const;
  const moved = await ctx.commit({ booking, event, actor: ACTOR, nowMs, evidence: [evidence] });
  return { kind: 'moved', booking: moved };
}

function applyProposal(
  ctx: StepContext,
  booking: Booking,
  request: AllocationRequest,
  { policy, bySentinelNet }: { readonly policy: PolicyAnswer; readonly bySentinelNet: number },
  nowMs: number,
): NewProposal {
  const { bookingId, tenant, requester } = booking;
  // As the transition makes it: whoever changes the booking in between voids what is signed.
  const version = String(booking.version + 1n);
  const { amount, currency } = request.cost;
  return newProposal({
    id: `${bookingId}-${version}`,
    environment: ctx.tag,
    tenant,
    action: 'allocation.apply',
    bookingId,
    requester,
    // Whoever asked is known by how they did; `user` is a word of the job file, by which anybody could keep anybody from signing.
    askers: [requester],
    reason: null,
    asked: bySentinelNet,
    subject: { kind: 'booking', id: bookingId, version },
    content: signedContent(request),
    money: { minor: BigInt(amount.replace('.', '')), currency },
    policyVersion: policy.policyVersion,
    createdAtMs: nowMs,
    expiresAtMs: nowMs + expiryMsOf(ctx.signingOf(tenant)),
  });
}

/** How often a booking that waits for people is looked at where nobody says anything of it. */
const LOOK_EVERY_MS = 60_000;

/**
 * `awaiting_signatures`: ends with its time, or with its job's, and goes on where the signing policy asks for no more than is there, or for nobody any more. People's
 * signatures move it on from elsewhere.
 */
export async function watchSignatures(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'awaiting_signatures' }>,
): Promise<StepResult> {
  const nowMs = ctx.clock.now();
  const signBy = state.policy.proposal?.expiresAtMs ?? Number.POSITIVE_INFINITY;
  const startBy = booking.spec.deadlineMs ?? Number.POSITIVE_INFINITY;
  const untilMs = Math.min(signBy, startBy);
  if (nowMs < untilMs) {
    const idle = { kind: 'idle', againInMs: Math.min(LOOK_EVERY_MS, untilMs - nowMs) } as const;
    return (await goOnIfEnough(ctx, booking, state, nowMs)) ?? idle;
  }
  const reason = startBy <= signBy ? deadlineReason(startBy) : unsignedReason(signBy);
  const moved = await ctx.commit({ booking, event: { type: 'expire', reason }, actor: ACTOR, nowMs });
  return { kind: 'moved', booking: moved };
}

/** → `waiting`: it is planned again, and what it rests on is counted once more before it is applied. undefined: people still have to sign it. */
async function goOnIfEnough(
  ctx: StepContext,
  booking: Booking,
  { policy: { proposal } }: Extract<BookingState, { state: 'awaiting_signatures' }>,
  nowMs: number,
): Promise<StepResult | undefined> {
  if (proposal === undefined) return undefined;
  const signedBy = await ctx.desk.enoughSigned(proposal.id);
  if (signedBy === undefined) return undefined;
  const data = { proposal: proposal.id, signedBy };
  const moved = await ctx.commit({ booking, event: { type: 'quorum_met' }, actor: ACTOR, nowMs, data });
  return { kind: 'moved', booking: moved };
}

function unsignedReason(byMs: number): Reason {
  const text = `not enough people had signed it by ${new Date(byMs).toISOString()}`;
  const mend = 'submit it again, and have them sign: `merit allocations approve`';
  return { code: 'signatures_expired', text, mend };
}

export type RestsOn =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'quorum'; readonly proposal: string; readonly quorum: Quorum }
  | { readonly kind: 'lost'; readonly reason: Reason };

/** What an apply may rest on, looked up once more before it. */
export async function restsOn(
  ctx: StepContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'confirming' }>,
  policyVersion: string,
): Promise<RestsOn> {
  const { placement, policy } = state;
  const lost = (text: string): RestsOn => {
    const mend = 'nothing: it is planned again, and says what has to be signed then';
    return { kind: 'lost', reason: { code: 'signatures_void', text, mend } };
  };
  if (policy.proposal === undefined) {
    const { signatures } = signaturesAsked(ctx, booking, placement, 0);
    return signatures === 0 ? { kind: 'nothing' } : lost(`${signatures} people have to sign it now`);
  }
  if (policyVersion !== policy.policyVersion) return lost('the policy changed after it was signed');
  const quorum = await ctx.desk.quorum(policy.proposal.id, ctx.clock.now());
  if (quorum === undefined) return lost('what was signed expired, or whoever signed may not any more');
  return { kind: 'quorum', proposal: policy.proposal.id, quorum };
}

/** What the audit event of an apply tells of them. */
export function restsData(rests: RestsOn): Readonly<Record<string, Json>> {
  if (rests.kind !== 'quorum') return {};
  const { people, causes, signers } = rests.quorum;
  return { proposal: rests.proposal, signedBy: people, signingPolicy: String(signers), causes };
}
