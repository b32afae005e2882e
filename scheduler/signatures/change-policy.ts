import { randomBytes } from 'node:crypto';
import { assert } from '../../core/assert.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import { ulid } from '../../core/ids.ts';
import { RefusedInput } from '../../core/refusal.ts';
import { expiryMsOf, lockedOut, parseSigningPolicy, type SigningPolicy } from '../../core/signing-policy.ts';
import type { Tx } from '../../platform/postgres.ts';
import { applyDocuments, removeDocument, type SignedChange } from '../../pools/apply-documents.ts';
import { type Actor, lockDocuments } from '../../pools/document-store.ts';
import { SIGNING_POLICY_NAME } from '../../pools/documents.ts';
import { type NewProposal, newProposal, type Proposal } from './proposal.ts';
import { endProposal, liveProposal, type StandingPolicy, standingPolicy } from './proposals.sql.ts';
import { type Asker, noPolicy, type Proposed, propose, standsInTheWay } from './propose.ts';

/**
 * Proposes another signing policy in place of the one that stands, or none: those who may sign now have to sign it. Where the same is proposed already, that one again.
 * Throws RefusedInput where the document is none that could stand.
 */
export async function proposeChange(tx: Tx, by: Asker, document: unknown, reason: string | null): Promise<Proposed> {
  const wanted = document === null ? null : parseSigningPolicy(document);
  const fault = wanted === null ? undefined : lockedOut(wanted, by.nowMs);
  if (fault !== undefined) throw new RefusedInput([fault]);
  await lockDocuments(tx, by.tenant);
  const standing = await standingPolicy(tx, by.tenant);
  if (standing === undefined) return noPolicy();
  if (wanted !== null && contentHash(wanted) === contentHash(standing.policy))
    return { kind: 'refused', code: 'unchanged', text: 'that is the SigningPolicy that stands' };
  const proposal = changeProposal(by, wanted, reason, standing);
  const live = await liveProposal(tx, proposal);
  if (live !== undefined && (await standsInTheWay(tx, live, { proposal, standing }, by.nowMs))) {
    if (live.statement.contentHash === proposal.statement.contentHash) return { kind: 'exists', proposal: live };
    const text = `another change is proposed: ${live.id}; have it signed or rejected first`;
    return { kind: 'refused', code: 'proposal_open', text };
  }
  const { content } = proposal;
  const data = { ...(reason === null ? {} : { reason }), content };
  return propose(tx, by, { proposal, standing, live, data });
}

function changeProposal(
  by: Asker,
  document: SigningPolicy | null,
  reason: string | null,
  { policy, version }: StandingPolicy,
): NewProposal {
  return newProposal({
    id: ulid(by.nowMs, randomBytes(10)),
    environment: by.environment,
    tenant: by.tenant,
    action: 'signing-policy.change',
    bookingId: null,
    requester: by.actor,
    askers: [by.actor],
    reason,
    asked: 0,
    // Of the policy that signs: the next one is another's to change.
    subject: { kind: 'signing-policy', id: SIGNING_POLICY_NAME, version: String(version) },
    content: { document: document as unknown as Json },
    money: null,
    policyVersion: `signing-policy/${version}`,
    createdAtMs: by.nowMs,
    expiresAtMs: by.nowMs + expiryMsOf(policy),
  });
}

/** The proposed policy stands, told with what signed it and with the policy by which that counted. */
export async function carryOutChange(tx: Tx, by: Actor, proposal: Proposal, signed: SignedChange): Promise<Proposal> {
  const { document } = proposal.content as unknown as { readonly document: SigningPolicy | null };
  const ifVersion = BigInt(proposal.statement.subject.version);
  const done =
    document === null
      ? await removeDocument(tx, by, 'SigningPolicy', SIGNING_POLICY_NAME, { ifVersion, signed })
      : await applyDocuments(tx, by, [{ document, ifVersion }], { signed });
  assert(done.kind === 'applied', 'nobody else changes the policy that stands');
  await endProposal(tx, proposal.id, 'done', by.nowMs);
  return { ...proposal, state: 'done', endedAtMs: by.nowMs };
}
