import type { Json } from '../../core/canonical.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Actor } from '../../pools/document-store.ts';
import type { Booking } from '../apply/booking-store.ts';
import { type NewProposal, subjectOfProposal } from './proposal.ts';

/** What an audit event of a proposal is called, by what it is about. */
const EVENT_OF = {
  'allocation.apply': 'booking.signing',
  'allocation.revoke': 'booking.revoking',
  'signing-policy.change': 'signing_policy.change',
} as const;

/** An event in the story of what the proposal is about, whose lock the caller holds. */
export async function tellProposal(
  tx: Tx,
  by: Actor,
  proposal: NewProposal,
  booking: Booking | undefined,
  what: 'proposed' | 'approved' | 'rejected',
  data: Readonly<Record<string, Json>>,
): Promise<void> {
  await appendAudit(tx, {
    tenant: proposal.tenant,
    subject: subjectOfProposal(proposal),
    type: `${EVENT_OF[proposal.action]}_${what}`,
    at: new Date(by.nowMs).toISOString(),
    actor: by.actor,
    trace: booking?.traceId ?? by.traceId,
    data: { ...(booking === undefined ? {} : { attempt: booking.state.attempt }), proposal: proposal.id, ...data },
  });
}
