import { describe, expect, test } from 'vitest';
import { canonicalBytes, contentHash } from '../../../../core/canonical.ts';
import { OperatingError } from '../../../../core/operating-error.ts';
import { check } from '../../../../core/schema.ts';
import type { PolicyVerdict, SentinelNet } from '../../../../peers/sentinelnet/client.ts';
import { PolicyRequest } from '../../../../peers/sentinelnet/wire.ts';
import type { PromotionQuestion } from '../../../../scoring/context.ts';
import { sentinelNetPolicy } from '../../../../scoring/promotion/sentinelnet-policy.ts';

const question: PromotionQuestion = {
  questionId: 'a'.repeat(32),
  tenant: 'acme',
  division: 'vision',
  suite: 'digits',
  suiteHash: 'b'.repeat(64),
  model: 'digits',
  version: 'digits-v2',
  incumbent: null,
  tick: '2026-01-05T09:32:00.000Z',
};
const bytes = canonicalBytes({ asked: 1 });
const evidence = { hash: contentHash({ asked: 1 }), bytes };
const allow = { kind: 'allow', decisionId: 'd1', policyVersion: 'p7', requestHash: 'c'.repeat(64), evidence } as const;

function peer(verdict: PolicyVerdict | Error): SentinelNet {
  return {
    decide: async (request) => {
      expect(check(PolicyRequest, request)).toEqual([]);
      expect(request).toMatchObject({ kind: 'promotion', version: 'digits-v2', contentHash: contentHash(question) });
      if (verdict instanceof Error) throw verdict;
      return verdict;
    },
    currentPolicyVersion: async () => 'p7',
  };
}
const ask = (verdict: PolicyVerdict | Error) =>
  sentinelNetPolicy(peer(verdict))(question, new AbortController().signal);

describe('SentinelNet’s word on a promotion', () => {
  test('is an allow only where it allows without asking for signatures', async () => {
    expect(await ask({ ...allow, signatures: 0 })).toEqual({
      allow: true,
      decisionId: 'd1',
      policyVersion: 'p7',
      evidence: { asked: 1 },
    });
    expect((await ask({ ...allow, signatures: 1 })).allow).toBe(false);
    const denied = { kind: 'deny', code: 'policy_denied', reasons: [], requestHash: 'c'.repeat(64), evidence } as const;
    expect((await ask(denied)).allow).toBe(false);
  });

  test('stays unknown where no answer came', async () => {
    await expect(ask(new OperatingError('timeout', 'safe', 'asking'))).rejects.toBeInstanceOf(OperatingError);
  });
});
