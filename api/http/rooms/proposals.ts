import type { ApprovalAction } from '../../../core/approval.ts';
import type { Json } from '../../../core/canonical.ts';
import { signatoriesWithin, tally } from '../../../core/signing-policy.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { proposeChange } from '../../../scheduler/signatures/change-policy.ts';
import { type Proposal, requirementFor } from '../../../scheduler/signatures/proposal.ts';
import {
  type Approval,
  approvalsOf,
  loadProposal,
  proposalRows,
  type StandingPolicy,
  standingPolicy,
} from '../../../scheduler/signatures/proposals.sql.ts';
import type { Asker, Proposed } from '../../../scheduler/signatures/propose.ts';
import { proposeRevoke } from '../../../scheduler/signatures/revoke.ts';
import { type SignRefusal, signProposal } from '../../../scheduler/signatures/sign.ts';
import type { ProposalsService, ProposeOutcome } from '../proposals-service.ts';
import type { Caller, HttpLog, View } from '../services.ts';
import { requesterOf } from './base.ts';

/** What the doors tell of signatures; actions and codes are closed sets. */
export interface SigningMetrics {
  signed(action: ApprovalAction, verdict: 'approve' | 'reject'): void;
  refused(code: SignRefusal): void;
}

export interface ProposalPorts {
  /** The name of the installation, in what people sign. */
  readonly environment: string;
  readonly signingMetrics: SigningMetrics;
  readonly log: HttpLog;
}

/** Proposals of one allocation that are shown with it; each attempt has one or two. */
const MAX_OF_ALLOCATION = 20;

export function proposalsOf({ environment, signingMetrics, log }: ProposalPorts): ProposalsService {
  const asker = (caller: Caller): Asker => ({ ...requesterOf(caller), environment });
  return {
    list: async (tx, caller, { state, action, allocation }, page) => {
      const [at, id] = page.after?.split('|') ?? [];
      const filter = {
        ...(state === undefined ? {} : { state }),
        ...(action === undefined ? {} : { action }),
        ...(allocation === undefined ? {} : { booking: allocation }),
      };
      const after = at === undefined || id === undefined ? undefined : { atMs: Date.parse(at), id };
      const rows = await proposalRows(tx, caller.identity.tenant, filter, { limit: page.limit, after });
      const last = rows.length === page.limit ? rows.at(-1) : undefined;
      return {
        items: await viewsOf(tx, caller, rows),
        last: last === undefined ? undefined : `${new Date(last.createdAtMs).toISOString()}|${last.id}`,
      };
    },
    get: async (tx, caller, id) => {
      const proposal = await loadProposal(tx, id);
      return proposal === undefined ? undefined : viewOf(tx, caller, proposal);
    },
    ofAllocation: async (tx, caller, id) => {
      const page = { limit: MAX_OF_ALLOCATION, after: undefined };
      return viewsOf(tx, caller, await proposalRows(tx, caller.identity.tenant, { booking: id }, page));
    },
    propose: async (tx, caller, document, reason) =>
      told(tx, caller, await proposeChange(tx, asker(caller), document, reason)),
    revoke: async (tx, caller, id, reason) => {
      const proposed = await proposeRevoke(tx, asker(caller), id, reason);
      return proposed === undefined ? undefined : told(tx, caller, proposed);
    },
    sign: async (tx, caller, id, verdict, given) => {
      const outcome = await signProposal(tx, requesterOf(caller), id, verdict, given);
      if (outcome === undefined || outcome.kind === 'refused') return outcome;
      if (outcome.kind === 'signed') signingMetrics.signed(outcome.proposal.action, verdict);
      return { kind: outcome.kind, view: await viewOf(tx, caller, outcome.proposal) };
    },
    refused: (caller, id, code) => {
      signingMetrics.refused(code);
      const { principal, tenant } = caller.identity;
      log.warn({ trace: caller.traceId, principal, tenant, proposal: id, code }, 'a signature was refused');
    },
  };
}

async function told(tx: Tx, caller: Caller, proposed: Proposed): Promise<ProposeOutcome> {
  if (proposed.kind === 'refused') return proposed;
  return { kind: proposed.kind, view: await viewOf(tx, caller, proposed.proposal) };
}

async function viewOf(tx: Tx, caller: Caller, proposal: Proposal): Promise<View> {
  const [view] = await viewsOf(tx, caller, [proposal]);
  return view as View;
}

async function viewsOf(tx: Tx, caller: Caller, proposals: readonly Proposal[]): Promise<readonly View[]> {
  if (proposals.length === 0) return [];
  const standing = await standingPolicy(tx, caller.identity.tenant);
  const approvals = await approvalsOf(
    tx,
    proposals.map(({ id }) => id),
  );
  return proposals.map((proposal) => proposalView(proposal, approvals.get(proposal.id) ?? [], standing, caller.nowMs));
}

/** `needed`, `missing` and who `counts` are by the policy as it stands now. */
function proposalView(
  proposal: Proposal,
  approvals: readonly Approval[],
  standing: StandingPolicy | undefined,
  nowMs: number,
): View {
  const needed = requirementFor(standing?.policy, proposal);
  const within = { fromMs: nowMs, toMs: proposal.expiresAtMs };
  const counted = tally(standing?.policy, needed, approvals, proposal.askers, within);
  const isOver = proposal.state === 'open' && proposal.expiresAtMs <= nowMs;
  const mayStill = signatoriesWithin(standing?.policy, proposal.askers, within).filter(
    ({ name }) => !counted.people.includes(name),
  );
  return {
    id: proposal.id,
    action: proposal.action,
    state: isOver ? 'expired' : proposal.state,
    allocation: proposal.bookingId,
    requester: proposal.requester,
    reason: proposal.reason,
    createdAt: new Date(proposal.createdAtMs).toISOString(),
    expiresAt: new Date(proposal.expiresAtMs).toISOString(),
    endedAt: proposal.endedAtMs === null ? null : new Date(proposal.endedAtMs).toISOString(),
    needed: { signatures: needed.signatures, roles: { ...needed.roles } },
    missing: { signatures: counted.missing.signatures, roles: { ...counted.missing.roles } },
    possible: counted.possible,
    signed: approvals.map(({ person, keyId, atMs }) => ({
      person,
      keyId,
      at: new Date(atMs).toISOString(),
      counts: counted.people.includes(person),
    })),
    maySign: mayStill.map(({ name, roles = [] }) => ({ name, roles: [...roles] })),
    statement: proposal.statement as unknown as Json,
    statementHash: proposal.statementHash,
    content: proposal.content,
    now: new Date(nowMs).toISOString(),
  };
}
