import {
  type Requirement,
  type SigningPolicy,
  type SigningTime,
  signatoriesWithin,
  tally,
} from '../../core/signing-policy.ts';
import { type NewProposal, requirementFor } from './proposal.ts';
import type { Approval, StandingPolicy } from './proposals.sql.ts';

/** Names of people in one text. */
const MAX_NAMES = 8;

/**
 * Why too few people could sign it before it expires, whoever of them does; undefined: enough could. A proposal of which that is so would only keep others from
 * being made.
 */
export function unreachable(
  { policy }: Pick<StandingPolicy, 'policy'>,
  proposal: NewProposal,
  signed: readonly Approval[],
  nowMs: number,
): string | undefined {
  const { askers, expiresAtMs } = proposal;
  const within = { fromMs: nowMs, toMs: expiresAtMs };
  const needed = requirementFor(policy, proposal);
  if (tally(policy, needed, signed, askers, within).possible) return undefined;
  const names = signatoriesWithin(policy, askers, within).map(({ name }) => name);
  const who =
    names.length === 0 ? 'nobody' : names.slice(0, MAX_NAMES).join(', ') + (names.length > MAX_NAMES ? ', …' : '');
  const until = new Date(expiresAtMs).toISOString();
  return `it takes ${takes(needed)}, and besides whoever asked only ${names.length} of the SigningPolicy can sign before ${until} (${who}): ${mendOf(policy, needed, proposal, within)}`;
}

function mendOf(
  policy: SigningPolicy,
  needed: Requirement,
  { action, content }: NewProposal,
  within: SigningTime,
): string {
  const isRevoke = action === 'allocation.revoke';
  // The owner of what is to be revoked is left out whoever proposes it.
  const leftOut = isRevoke ? [(content as unknown as { readonly requester: string }).requester] : [];
  if (tally(policy, needed, [], leftOut, within).possible) return 'have it proposed by somebody who need not sign it';
  if (isRevoke) return 'cancel it, which takes nobody’s signature';
  return 'the keys of too many have ended, or do not count yet, so that no change can be signed by enough of them';
}

function takes({ signatures, roles }: Requirement): string {
  const of = Object.entries(roles).map(([role, least]) => `${least} of the role ${role}`);
  return `the signatures of ${signatures} people${of.length === 0 ? '' : `, ${of.join(', ')} among them`}`;
}
