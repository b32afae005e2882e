import {
  approvalEvidence,
  judgeSignature,
  rejectionOf,
  SIGNATURE_FAULTS,
  type SignatureFault,
  type Statement,
  statementHash,
} from '../../core/approval.ts';
import { assert } from '../../core/assert.ts';
import { counting, holderOf, type SigningPolicy, type Tally, tally } from '../../core/signing-policy.ts';
import { putEvidence } from '../../ledger/audit/evidence.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Actor, lockDocuments } from '../../pools/document-store.ts';
import { type Booking, loadBooking } from '../apply/booking-store.ts';
import { commitMoves } from '../apply/moves.ts';
import { notifyBooking } from '../apply/wake.ts';
import { carryOutChange } from './change-policy.ts';
import { type MOVED_ON, type Proposal, requirementFor } from './proposal.ts';
import { tellProposal } from './proposal-events.ts';
import {
  type Approval,
  approvalsOf,
  endProposal,
  insertApproval,
  loadProposal,
  type StandingPolicy,
  standingPolicy,
} from './proposals.sql.ts';
import { carryOutRevoke, isRevocable } from './revoke.ts';

/** What somebody sends who signed a statement of ours. */
export interface GivenSignature {
  /** Of the statement that was signed; for a person to see what changed, where it is no longer that of the proposal. */
  readonly statementHash: string;
  readonly keyId: string;
  readonly signature: Uint8Array;
}

export type SignRefusal = SignatureFault | (typeof MOVED_ON)[number];

export type SignOutcome =
  /** `already`: this person had signed it before, and nothing changed. */
  | { readonly kind: 'signed' | 'already'; readonly proposal: Proposal; readonly person: string }
  | { readonly kind: 'refused'; readonly code: SignRefusal; readonly text: string; readonly proposal: Proposal };

/**
 * Takes one signature, a yes or a no, in the caller's transaction. The one that makes a quorum carries out what was proposed, in the same transaction: a booking
 * that waited goes on, one that runs is revoked, another signing policy stands. Locks go booking, documents, proposal. undefined: this tenant has no such
 * proposal.
 */
export async function signProposal(
  tx: Tx,
  asker: Actor,
  id: string,
  verdict: Statement['verdict'],
  given: GivenSignature,
): Promise<SignOutcome | undefined> {
  const found = await loadProposal(tx, id);
  if (found === undefined) return undefined;
  const booking = found.bookingId === null ? undefined : await loadBooking(tx, found.bookingId, 'lock');
  if (booking === undefined) await lockDocuments(tx, asker.tenant);
  const proposal = await loadProposal(tx, id, 'lock');
  assert(proposal !== undefined, 'proposals are never removed');
  const before = (await approvalsOf(tx, [id])).get(id) ?? [];
  // Not before it was proposed, nor before others signed it, also where this process's clock is behind those that took them.
  const nowMs = Math.max(asker.nowMs, proposal.createdAtMs, ...before.map(({ atMs }) => atMs));
  const by = { ...asker, nowMs };
  const refuse = (code: SignRefusal, text: string) => ({ kind: 'refused', code, text, proposal }) as const;
  const standing = await standingPolicy(tx, by.tenant);
  const already = before.find(({ keyId }) => keyId === given.keyId) ?? ofSamePerson(standing, before, given, by.nowMs);
  const closed = closedRefusal(proposal, by.nowMs);
  const overtaken = isOvertaken(proposal, booking);
  if (already !== undefined && verdict === 'approve') {
    const stands = closed === undefined && !overtaken && standing !== undefined;
    const after = stands ? await carryOutIfMet(tx, by, proposal, booking, { approvals: before, standing }) : proposal;
    return { kind: 'already', proposal: after, person: already.person };
  }
  if (closed !== undefined) return refuse(...closed);
  if (overtaken) return refuse('booking_changed', 'the booking is not what it was when this was shown');
  if (verdict === 'reject' && takesAway(proposal, given.keyId))
    return refuse('key_taken_away', 'the proposal takes this key away, and so it has no say against it');
  const statement = verdict === 'approve' ? proposal.statement : rejectionOf(proposal.statement);
  if (given.statementHash !== statementHash(statement))
    return refuse('statement_changed', 'what was signed is not what is proposed now');
  const judged = judgeSignature(standing?.policy, statement, { ...given, atMs: by.nowMs }, proposal.askers);
  if (typeof judged === 'string') return refuse(judged, SIGNATURE_FAULTS[judged]);
  assert(standing !== undefined, 'a signature counts by a policy');
  const approval: Approval = { ...given, person: judged.person, atMs: by.nowMs };
  const after =
    verdict === 'reject'
      ? await rejectProposal(tx, by, proposal, booking, approval, standing)
      : await approve(tx, by, proposal, booking, { approval, before, standing });
  return { kind: 'signed', proposal: after, person: judged.person };
}

/** Whether another signing policy would be one without this key: else whoever stole it could keep it. */
function takesAway({ action, content }: Proposal, keyId: string): boolean {
  if (action !== 'signing-policy.change') return false;
  const { document } = content as unknown as { readonly document: SigningPolicy | null };
  return document !== null && holderOf(document, { keyId, atMs: 0 }) === 'unknown_key';
}

/**
 * The same person, with another of their keys, where what they signed with still counts. Only who the key belongs to is asked: a false signature of theirs changes
 * nothing either.
 */
function ofSamePerson(
  standing: StandingPolicy | undefined,
  before: readonly Approval[],
  { keyId }: GivenSignature,
  atMs: number,
): Approval | undefined {
  const holder = standing === undefined ? 'unknown_key' : holderOf(standing.policy, { keyId, atMs });
  if (standing === undefined || typeof holder === 'string') return undefined;
  return before.find((one) => {
    const counts = holderOf(standing.policy, one);
    return typeof counts !== 'string' && counts.person.name === holder.person.name;
  });
}

function closedRefusal({ state, expiresAtMs }: Proposal, nowMs: number): readonly [SignRefusal, string] | undefined {
  if (state === 'expired' || (state === 'open' && expiresAtMs <= nowMs))
    return ['proposal_expired', `it expired at ${new Date(expiresAtMs).toISOString()}`];
  if (state === 'open') return undefined;
  const texts = {
    met: 'enough people have signed it',
    done: 'it was carried out',
    rejected: 'it was refused',
    void: 'it is void: what it was about changed, or ended',
  };
  return [`proposal_${state}`, texts[state]];
}

/** Whether the booking went on since the statement was made of it. */
function isOvertaken({ action, statement, id }: Proposal, booking: Booking | undefined): boolean {
  if (booking === undefined) return action !== 'signing-policy.change';
  const { state, version } = booking;
  if (action === 'allocation.revoke')
    return String(state.attempt) !== statement.subject.version || !isRevocable(state.state);
  return (
    state.state !== 'awaiting_signatures' ||
    String(version) !== statement.subject.version ||
    state.policy.proposal?.id !== id
  );
}

interface Given {
  readonly approval: Approval;
  readonly before: readonly Approval[];
  readonly standing: StandingPolicy;
}

async function approve(
  tx: Tx,
  by: Actor,
  proposal: Proposal,
  booking: Booking | undefined,
  { approval, before, standing }: Given,
): Promise<Proposal> {
  const inserted = await insertApproval(tx, proposal, approval, by.actor);
  assert(inserted, 'whoever signed before was told so');
  const approvals = [...before, approval];
  const counted = tally(standing.policy, requirementFor(standing.policy, proposal), approvals, proposal.askers);
  const evidence = await putEvidence(
    tx,
    proposal.tenant,
    approvalEvidence(proposal.statement, proposal.content, [approval]),
  );
  await tellProposal(tx, by, proposal, booking, 'approved', {
    ...signedData(approval, standing, counted),
    evidence: [evidence],
  });
  return carryOutIfMet(tx, by, proposal, booking, { approvals, standing });
}

/** What enough people have signed happens now, in this transaction. */
async function carryOutIfMet(
  tx: Tx,
  by: Actor,
  proposal: Proposal,
  booking: Booking | undefined,
  { approvals, standing }: { readonly approvals: readonly Approval[]; readonly standing: StandingPolicy },
): Promise<Proposal> {
  const counted = tally(standing.policy, requirementFor(standing.policy, proposal), approvals, proposal.askers);
  if (!counted.met) return proposal;
  const those = counting(standing.policy, approvals, proposal.askers);
  const whole = approvalEvidence(proposal.statement, proposal.content, those);
  switch (proposal.action) {
    case 'allocation.apply': {
      assert(booking !== undefined, 'an allocation has a booking');
      const data = { proposal: proposal.id, signedBy: counted.people };
      const move = { booking, event: { type: 'quorum_met' }, actor: by.actor, nowMs: by.nowMs, data } as const;
      const [result] = await commitMoves(tx, [move]);
      assert(result?.kind === 'moved', 'a locked booking takes a legal event');
      await notifyBooking(tx, booking.bookingId);
      return { ...proposal, state: 'met' };
    }
    case 'allocation.revoke':
      assert(booking !== undefined, 'an allocation has a booking');
      return carryOutRevoke(tx, by, proposal, booking, { counted, evidence: whole, standing });
    case 'signing-policy.change': {
      const hash = await putEvidence(tx, proposal.tenant, whole);
      const { id, requester } = proposal;
      const rests = { evidence: [hash], causes: [standing.eventId], proposal: id, requester, signedBy: counted.people };
      return carryOutChange(tx, by, proposal, rests);
    }
  }
}

function signedData({ person, keyId }: Approval, standing: StandingPolicy, counted: Tally) {
  return {
    person,
    keyId,
    signingPolicy: String(standing.version),
    causes: [standing.eventId],
    missing: { signatures: counted.missing.signatures, roles: { ...counted.missing.roles } },
  };
}

/** One person who may sign says no: it is over. */
async function rejectProposal(
  tx: Tx,
  by: Actor,
  proposal: Proposal,
  booking: Booking | undefined,
  approval: Approval,
  standing: StandingPolicy,
): Promise<Proposal> {
  const { person, keyId } = approval;
  const said = approvalEvidence(rejectionOf(proposal.statement), proposal.content, [approval]);
  const data = { person, keyId, signingPolicy: String(standing.version), causes: [standing.eventId] };
  if (proposal.action === 'allocation.apply') {
    assert(booking !== undefined, 'an allocation has a booking');
    const reason = {
      code: 'signatures_refused',
      text: `${person} refused to sign it`,
      mend: 'ask why, and submit it again with what was missing',
    };
    const event = { type: 'reject', reason } as const;
    const move = { booking, event, actor: by.actor, nowMs: by.nowMs, data: { proposal: proposal.id, ...data } };
    const [result] = await commitMoves(tx, [{ ...move, evidence: [said] }]);
    assert(result?.kind === 'moved', 'a locked booking takes a legal event');
    await notifyBooking(tx, booking.bookingId);
  } else {
    await endProposal(tx, proposal.id, 'rejected', by.nowMs);
    const evidence = await putEvidence(tx, proposal.tenant, said);
    await tellProposal(tx, by, proposal, booking, 'rejected', { ...data, evidence: [evidence] });
  }
  return { ...proposal, state: 'rejected', endedAtMs: by.nowMs };
}
