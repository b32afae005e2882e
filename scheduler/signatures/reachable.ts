import {
  type Requirement,
  type SigningPolicy,
  type SigningTime,
  signatoriesWithin,
  tally,
} from '../../core/signing-policy.ts';
import { type NewProposal, requirementFor } from './proposal.ts';
import type { Approval } from './proposals.sql.ts';

/** Names of people in one text. */
const MAX_NAMES = 8;

/** Why too few people can sign something, and what to do about it. */
export interface Unreachable {
  readonly text: string;
  readonly mend: string;
}

/**
 * Why too few people could sign it before it expires, whoever of them does; undefined: enough could. A proposal of which that is so would only keep others from
 * being made, or its allocation waiting for nothing.
 */
export function unreachable(
  policy: SigningPolicy | undefined,
  proposal: NewProposal,
  signed: readonly Approval[],
  nowMs: number,
): Unreachable | undefined {
  const { askers, expiresAtMs } = proposal;
  const within = { fromMs: nowMs, toMs: expiresAtMs };
  const needed = requirementFor(policy, proposal);
  if (tally(policy, needed, signed, askers, within).possible) return undefined;
  if (policy === undefined) {
    const mend = 'declare who may sign (`merit apply -f` a SigningPolicy), and submit it again';
    return { text: `it takes ${takes(needed)}, and no SigningPolicy says who may sign`, mend };
  }
  const names = signatoriesWithin(policy, askers, within).map(({ name }) => name);
  const who =
    names.length === 0 ? 'nobody' : names.slice(0, MAX_NAMES).join(', ') + (names.length > MAX_NAMES ? ', …' : '');
  const until = new Date(expiresAtMs).toISOString();
  const text = `it takes ${takes(needed)}, and besides whoever asked only ${names.length} of the SigningPolicy can sign before ${until} (${who})`;
  return { text, mend: mendOf(policy, needed, proposal, within) };
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
  const byAnother = tally(policy, needed, [], leftOut, within).possible;
  switch (action) {
    case 'allocation.apply':
      if (byAnother) return 'have it asked for by somebody who need not sign it';
      return tally(policy, needed, [], []).possible
        ? 'the keys of too many have ended, or do not count yet: have the SigningPolicy changed (`merit proposals new`), and submit it again'
        : 'name more people in the SigningPolicy (`merit proposals new`), or have SentinelNet ask for fewer, and submit it again';
    case 'allocation.revoke':
      return byAnother
        ? 'have it proposed by somebody who need not sign it'
        : 'cancel it, which takes nobody’s signature';
    case 'signing-policy.change':
      return byAnother
        ? 'have it proposed by somebody who need not sign it'
        : 'the keys of too many have ended, or do not count yet, so that no change can be signed by enough of them';
  }
}

function takes({ signatures, roles }: Requirement): string {
  const of = Object.entries(roles).map(([role, least]) => `${least} of the role ${role}`);
  return `the signatures of ${signatures} people${of.length === 0 ? '' : `, ${of.join(', ')} among them`}`;
}
