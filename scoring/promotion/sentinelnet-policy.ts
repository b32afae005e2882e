import { contentHash } from '../../core/canonical.ts';
import type { SentinelNet } from '../../peers/sentinelnet/client.ts';
import { ENGINE_ACTOR, type PromotionPolicy } from '../context.ts';

/**
 * SentinelNet's word on a promotion. A promotion collects no signatures, so an answer that asks for some is not an allow:
 * it fails closed.
 */
export function sentinelNetPolicy(peer: SentinelNet): PromotionPolicy {
  return async (question, signal) => {
    const verdict = await peer.decide(
      {
        format: 'merit-policy-request/1',
        kind: 'promotion',
        action: 'promote',
        requestId: question.questionId,
        tenant: question.tenant,
        division: question.division,
        requester: ENGINE_ACTOR,
        model: question.model,
        contentHash: contentHash(question),
        suite: question.suite,
        version: question.version,
      },
      signal,
    );
    const evidence = JSON.parse(verdict.evidence.bytes.toString('utf8')) as object;
    if (verdict.kind === 'deny') {
      return { allow: false, decisionId: verdict.requestHash, policyVersion: verdict.code, evidence };
    }
    const { decisionId, policyVersion } = verdict;
    return { allow: verdict.signatures === 0, decisionId, policyVersion, evidence };
  };
}
