import { randomBytes } from 'node:crypto';
import { type ApprovalAction, type Statement, type StatementParts, statementOf } from '../../core/approval.ts';
import type { BookingEvent, BookingState } from '../../core/booking.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import {
  allocationRequirement,
  type Requirement,
  requirementOf,
  type SigningPolicy,
} from '../../core/signing-policy.ts';
import { centsOf } from '../../peers/money.ts';
import type { AllocationRequest } from '../../peers/sentinelnet/wire.ts';

/** Something that several people have to sign before it happens. */
export interface NewProposal {
  readonly id: string;
  readonly tenant: string;
  readonly action: ApprovalAction;
  /** null: it is about no booking. */
  readonly bookingId: string | null;
  readonly requester: string;
  /** All names of whoever asked. */
  readonly askers: readonly string[];
  readonly reason: string | null;
  /** Signatures that SentinelNet asks for. */
  readonly asked: number;
  readonly statement: Statement;
  /** What the statement's contentHash is of. */
  readonly content: Json;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}

/** A proposal but what follows from the rest of it. */
export type ProposalParts = Omit<NewProposal, 'statement'> &
  Pick<StatementParts, 'environment' | 'subject' | 'money' | 'policyVersion'>;

/** With the statement that people sign of it. */
export function newProposal({ environment, subject, money, policyVersion, ...parts }: ProposalParts): NewProposal {
  const { id, tenant, action, content, expiresAtMs } = parts;
  const statement = statementOf({
    environment,
    tenant,
    action,
    proposal: id,
    subject,
    contentHash: contentHash(content),
    money,
    policyVersion,
    nonce: randomBytes(32).toString('hex'),
    expiresAtMs,
  });
  return { ...parts, statement };
}

/** `met`: enough people signed, and it is not used yet. `done`: it happened. */
export type ProposalState = 'open' | 'met' | 'done' | 'rejected' | 'expired' | 'void';

export interface Proposal extends NewProposal {
  readonly state: ProposalState;
  readonly statementHash: string;
  readonly endedAtMs: number | null;
}

/** Why a signature is not taken though nothing is wrong with it: what it was about moved on. */
export const MOVED_ON = [
  'statement_changed',
  'booking_changed',
  'key_taken_away',
  'proposal_expired',
  'proposal_met',
  'proposal_done',
  'proposal_rejected',
  'proposal_void',
] as const;

/** What its audit events are told of. */
export function subjectOfProposal({ bookingId }: Pick<NewProposal, 'bookingId'>): string {
  return bookingId === null ? 'signing-policy/default' : `booking/${bookingId}`;
}

type Content = Pick<AllocationRequest, 'division' | 'pool' | 'cost' | 'tasks'>;

/** How many people have to sign it, by the policy as it stands. */
export function requirementFor(
  policy: SigningPolicy | undefined,
  { action, content, asked }: Pick<NewProposal, 'action' | 'content' | 'asked'>,
): Requirement {
  switch (action) {
    case 'allocation.apply': {
      const { division, pool, cost, tasks = 1 } = content as unknown as Content;
      const told = centsOf('cost', cost);
      // What cannot be read is above every bound.
      const cents = typeof told === 'bigint' ? told : 2n ** 63n;
      return allocationRequirement(policy, { division, pool, cents, currency: cost.currency, tasks }, asked);
    }
    case 'allocation.revoke':
      return policy === undefined ? { signatures: 1, roles: {} } : requirementOf(policy.revoke);
    case 'signing-policy.change':
      return policy === undefined ? { signatures: 2, roles: {} } : requirementOf(policy.changes);
  }
}

/** The proposal that a booking waits for, or rests on. */
function proposalOf(state: BookingState): string | undefined {
  return 'policy' in state ? state.policy?.proposal?.id : undefined;
}

/** What a transition makes of the proposal that the booking had; undefined: it goes on with it, or had none. */
export function proposalEnd(
  before: BookingState,
  event: BookingEvent,
  next: BookingState,
): { readonly id: string; readonly state: Exclude<ProposalState, 'open'> } | undefined {
  const id = proposalOf(before);
  if (id === undefined) return undefined;
  if (event.type === 'quorum_met') return { id, state: 'met' };
  if (event.type === 'apply') return { id, state: 'done' };
  if (id === proposalOf(next)) return undefined;
  // After an apply it was done already, and stays so.
  if (before.state !== 'awaiting_signatures' && 'appliedAtMs' in before && before.appliedAtMs !== null)
    return undefined;
  if (event.type === 'expire') return { id, state: 'expired' };
  // What enough people signed was refused by nobody who could sign it.
  const isRefused = event.type === 'reject' && before.state === 'awaiting_signatures';
  return { id, state: isRefused ? 'rejected' : 'void' };
}
