import { approvalEvidence } from '../../core/approval.ts';
import { counting, type Tally, tally } from '../../core/signing-policy.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Proposal, requirementFor } from './proposal.ts';
import { type Approval, approvalsOf, loadProposal, type StandingPolicy, standingPolicy } from './proposals.sql.ts';

/** What an apply rests on where people had to sign: who did, and by which policy that counts. */
export interface Quorum {
  /** Version of the signing policy. */
  readonly signers: bigint;
  readonly people: readonly string[];
  /** When the last of them signed, by the clock of the process that took it. */
  readonly signedAtMs: number;
  /** Statement and signatures, for the audit event to name. */
  readonly evidence: object;
  /** Audit events of the signing policy. */
  readonly causes: readonly string[];
}

/** Counted anew by the policy as it stands; undefined: it is not, or no longer, enough. */
export async function quorumOf(tx: Tx, proposalId: string, nowMs: number): Promise<Quorum | undefined> {
  const proposal = await loadProposal(tx, proposalId);
  if (proposal === undefined || proposal.state !== 'met' || proposal.expiresAtMs <= nowMs) return undefined;
  const standing = await standingPolicy(tx, proposal.tenant);
  if (standing === undefined) return undefined;
  const { approvals, counted } = await countAnew(tx, proposal, standing);
  if (!counted.met) return undefined;
  const those = counting(standing.policy, approvals, proposal.askers);
  return {
    signers: standing.version,
    people: counted.people,
    signedAtMs: Math.max(...those.map(({ atMs }) => atMs)),
    evidence: approvalEvidence(proposal.statement, proposal.content, those),
    causes: [standing.eventId],
  };
}

/**
 * Whose signatures are enough for a booking that waits for them, though nobody gave one: the policy that stands asks for fewer than when it was proposed, or there
 * is none any more. undefined: people still have to sign it.
 */
export async function enoughSigned(tx: Tx, proposalId: string): Promise<readonly string[] | undefined> {
  const proposal = await loadProposal(tx, proposalId);
  if (proposal === undefined || proposal.state !== 'open') return undefined;
  const { counted } = await countAnew(tx, proposal, await standingPolicy(tx, proposal.tenant));
  return counted.met ? counted.people : undefined;
}

async function countAnew(
  tx: Tx,
  proposal: Proposal,
  standing: StandingPolicy | undefined,
): Promise<{ readonly approvals: readonly Approval[]; readonly counted: Tally }> {
  const approvals = (await approvalsOf(tx, [proposal.id])).get(proposal.id) ?? [];
  const needs = requirementFor(standing?.policy, proposal);
  return { approvals, counted: tally(standing?.policy, needs, approvals, proposal.askers) };
}
