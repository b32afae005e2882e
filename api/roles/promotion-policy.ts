import type { SentinelNet } from '../../peers/sentinelnet/client.ts';
import type { PromotionPolicy } from '../../scoring/context.ts';

/** SentinelNet's word on a promotion, as the scoring rooms ask for it. */
export function promotionPolicy(sentinelNet: SentinelNet): PromotionPolicy {
  return async (question, signal) => {
    const verdict = await sentinelNet.decide(
      {
        format: 'merit-policy-request/1',
        kind: 'promotion',
        requestId: question.questionId,
        tenant: question.tenant,
        division: question.division,
        requester: 'merit/scoring',
        model: question.model,
        contentHash: question.suiteHash,
        action: 'promote',
        suite: question.suite,
        version: question.version,
      },
      signal,
    );
    const { evidence } = verdict;
    if (verdict.kind === 'deny') return { allow: false, decisionId: '', policyVersion: '', evidence };
    return {
      allow: verdict.signatures === 0,
      decisionId: verdict.decisionId,
      policyVersion: verdict.policyVersion,
      evidence,
    };
  };
}
