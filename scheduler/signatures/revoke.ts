import { randomBytes } from 'node:crypto';
import { assert } from '../../core/assert.ts';
import { isEnded, type StateName } from '../../core/booking.ts';
import { ulid } from '../../core/ids.ts';
import { expiryMsOf, type Tally } from '../../core/signing-policy.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Actor } from '../../pools/document-store.ts';
import { type Booking, loadBooking } from '../apply/booking-store.ts';
import { billingEnd } from '../apply/money.ts';
import { commitMoves } from '../apply/moves.ts';
import { notifyBooking } from '../apply/wake.ts';
import { type NewProposal, newProposal, type Proposal } from './proposal.ts';
import { endProposal, liveProposal, type StandingPolicy, standingPolicy } from './proposals.sql.ts';
import { type Asker, noPolicy, type Proposed, propose, standsInTheWay } from './propose.ts';

/** It holds something that can be taken from it. */
export function isRevocable(state: StateName): boolean {
  return (
    state === 'reserved' ||
    state === 'requesting' ||
    state === 'confirming' ||
    state === 'applied' ||
    state === 'draining'
  );
}

/**
 * Proposes that an allocation ends against its owner's will, at once and without notice: it does when enough people have signed. Where that is proposed already, the
 * same one again. undefined: this tenant has no such booking.
 */
export async function proposeRevoke(
  tx: Tx,
  asker: Asker,
  bookingId: string,
  reason: string,
): Promise<Proposed | undefined> {
  const booking = await loadBooking(tx, bookingId, 'lock');
  if (booking === undefined) return undefined;
  const { state } = booking.state;
  if (!isRevocable(state)) return refusedFor(state);
  const by = { ...asker, nowMs: Math.max(asker.nowMs, booking.createdAtMs) };
  const standing = await standingPolicy(tx, by.tenant);
  if (standing === undefined) return noPolicy();
  const proposal = revokeProposal(booking, by, reason, standing);
  const live = await liveProposal(tx, proposal);
  if (live !== undefined && (await standsInTheWay(tx, live, { proposal, standing }, by.nowMs)))
    return { kind: 'exists', proposal: live };
  return propose(tx, by, { proposal, standing, live, booking, data: { reason } });
}

function refusedFor(state: StateName): Proposed {
  if (isEnded(state))
    return { kind: 'refused', code: 'ended', text: `the allocation is ${state}: there is nothing to revoke` };
  if (state === 'releasing')
    return { kind: 'refused', code: 'leaving', text: 'the allocation is being released already' };
  return { kind: 'refused', code: 'not_applied', text: `the allocation is ${state} and holds nothing: cancel it` };
}

/** About the attempt, not the booking's version: its owner cannot void it by asking for something meanwhile. */
function revokeProposal(booking: Booking, by: Asker, reason: string, { policy, version }: StandingPolicy): NewProposal {
  const { bookingId, tenant, requester, specHash, division, jobName } = booking;
  const { attempt } = booking.state;
  return newProposal({
    id: ulid(by.nowMs, randomBytes(10)),
    environment: by.environment,
    tenant,
    action: 'allocation.revoke',
    bookingId,
    requester: by.actor,
    // Its owner cancels it, and does not decide about a revoke either way.
    askers: [...new Set([by.actor, requester])],
    reason,
    asked: 0,
    subject: { kind: 'booking', id: bookingId, version: String(attempt) },
    content: { booking: bookingId, attempt, name: jobName, division, requester, specHash, reason },
    money: null,
    policyVersion: `signing-policy/${version}`,
    createdAtMs: by.nowMs,
    expiresAtMs: by.nowMs + expiryMsOf(policy),
  });
}

/** → `releasing`: the undo saga ends it, and what it used is paid for. */
export async function carryOutRevoke(
  tx: Tx,
  by: Actor,
  proposal: Proposal,
  booking: Booking,
  signed: { readonly counted: Tally; readonly evidence: object; readonly standing: StandingPolicy },
): Promise<Proposal> {
  const { people } = signed.counted;
  const { state } = booking;
  const applied = 'appliedAtMs' in state ? state.appliedAtMs : null;
  const reason = {
    code: 'revoked',
    text: `revoked by ${people.join(' and ')}: ${proposal.reason ?? ''}`,
    mend: 'ask them; submit it again when what stood against it is mended',
  };
  const event = {
    type: 'release',
    outcome: 'revoked',
    reason,
    atMs: applied === null ? by.nowMs : billingEnd(applied, undefined, by.nowMs),
  } as const;
  const data = { proposal: proposal.id, signedBy: people, causes: [signed.standing.eventId] };
  const move = { booking, event, actor: by.actor, nowMs: by.nowMs, evidence: [signed.evidence], data };
  const [result] = await commitMoves(tx, [move]);
  assert(result?.kind === 'moved', 'a locked booking takes a legal event');
  await endProposal(tx, proposal.id, 'done', by.nowMs);
  await notifyBooking(tx, booking.bookingId);
  return { ...proposal, state: 'done', endedAtMs: by.nowMs };
}
