import { statementHash } from '../../core/approval.ts';
import type { Json } from '../../core/canonical.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Actor } from '../../pools/document-store.ts';
import type { Booking } from '../apply/booking-store.ts';
import type { NewProposal, Proposal } from './proposal.ts';
import { tellProposal } from './proposal-events.ts';
import { approvalsOf, insertProposals, type StandingPolicy } from './proposals.sql.ts';
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

export function impossible(text: string): Proposed {
  return { kind: 'refused', code: 'quorum_impossible', text };
}

/** What stands in a new proposal's way, and whether it may: it lives, people could still bring it about, and it is about what there is. */
export async function standsInTheWay(
  tx: Tx,
  live: Proposal,
  standing: StandingPolicy,
  nowMs: number,
): Promise<boolean> {
  if (live.expiresAtMs <= nowMs) return false;
  const signed = (await approvalsOf(tx, [live.id])).get(live.id) ?? [];
  return unreachable(standing, live, signed, nowMs) === undefined;
}

/** Stores what somebody proposes, and tells it in the story of what it is about, whose lock the caller holds. */
export async function propose(
  tx: Tx,
  by: Asker,
  proposal: NewProposal,
  booking: Booking | undefined,
  data: Readonly<Record<string, Json>>,
): Promise<Proposed> {
  await insertProposals(tx, [proposal]);
  await tellProposal(tx, by, proposal, booking, 'proposed', { ...data, requester: by.actor });
  const stands = { state: 'open', statementHash: statementHash(proposal.statement), endedAtMs: null } as const;
  return { kind: 'proposed', proposal: { ...proposal, ...stands } };
}
