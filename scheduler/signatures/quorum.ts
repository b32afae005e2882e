import { approvalEvidence } from '../../core/approval.ts';
import { counting, tally } from '../../core/signing-policy.ts';
import type { Tx } from '../../platform/postgres.ts';
import { requirementFor } from './proposal.ts';
import { approvalsOf, loadProposal, standingPolicy } from './proposals.sql.ts';

/** What an apply rests on where people had to sign: who did, and by which policy that counts. */
export interface Quorum {
  /** Version of the signing policy. */
  readonly signers: bigint;
  readonly people: readonly string[];
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
  const approvals = (await approvalsOf(tx, [proposalId])).get(proposalId) ?? [];
  const counted = tally(standing.policy, requirementFor(standing.policy, proposal), approvals, proposal.askers);
  if (!counted.met) return undefined;
  return {
    signers: standing.version,
    people: counted.people,
    evidence: approvalEvidence(
      proposal.statement,
      proposal.content,
      counting(standing.policy, approvals, proposal.askers),
    ),
    causes: [standing.eventId],
  };
}
