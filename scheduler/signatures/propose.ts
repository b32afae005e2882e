import { statementHash } from '../../core/approval.ts';
import type { Json } from '../../core/canonical.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Actor } from '../../pools/document-store.ts';
import type { Booking } from '../apply/booking-store.ts';
import type { NewProposal, Proposal } from './proposal.ts';
import { tellProposal } from './proposal-events.ts';
import { approvalsOf, endProposal, insertProposals, type StandingPolicy } from './proposals.sql.ts';
import { unreachable } from './reachable.ts';

/** Who asks, and in which installation. */
export interface Asker extends Actor {
  readonly environment: string;
}

export type Proposed =
  | { readonly kind: 'proposed' | 'exists'; readonly proposal: Proposal }
  | { readonly kind: 'refused'; readonly code: string; readonly text: string };

export function noPolicy(): Proposed {
  const text = 'nobody may sign: no SigningPolicy is declared; apply one first: `merit apply -f`';
  return { kind: 'refused', code: 'no_signing_policy', text };
}

/** What is proposed already, where it lives, is about what there is, and people could still bring it about: nothing takes its place. */
export async function standsInTheWay(
  tx: Tx,
  live: Proposal,
  { proposal, standing }: Pick<Proposing, 'proposal' | 'standing'>,
  nowMs: number,
): Promise<boolean> {
  if (live.expiresAtMs <= nowMs) return false;
  // One of another version can be carried out by nobody, whoever signs it.
  if (live.statement.subject.version !== proposal.statement.subject.version) return false;
  const signed = (await approvalsOf(tx, [live.id])).get(live.id) ?? [];
  return unreachable(standing.policy, live, signed, nowMs) === undefined;
}

export interface Proposing {
  readonly proposal: NewProposal;
  readonly standing: StandingPolicy;
  /** What is proposed already and does not stand in its way. */
  readonly live: Proposal | undefined;
  readonly booking?: Booking;
  readonly data: Readonly<Record<string, Json>>;
}

/**
 * Stores what somebody proposes, in place of what does not stand in its way, and tells it in the story of what it is about, whose lock the caller holds. Refused where
 * too few people could sign it.
 */
export async function propose(
  tx: Tx,
  by: Asker,
  { proposal, standing, live, booking, data }: Proposing,
): Promise<Proposed> {
  const never = unreachable(standing.policy, proposal, [], by.nowMs);
  if (never !== undefined) return { kind: 'refused', code: 'quorum_impossible', text: `${never.text}: ${never.mend}` };
  if (live !== undefined) await endProposal(tx, live.id, live.expiresAtMs <= by.nowMs ? 'expired' : 'void', by.nowMs);
  await insertProposals(tx, [proposal]);
  const told = { ...data, ...(live === undefined ? {} : { supersedes: live.id }), requester: by.actor };
  await tellProposal(tx, by, proposal, booking, 'proposed', told);
  const stands = { state: 'open', statementHash: statementHash(proposal.statement), endedAtMs: null } as const;
  return { kind: 'proposed', proposal: { ...proposal, ...stands } };
}
