import { assert } from '../../core/assert.ts';
import type { Reason } from '../../core/booking.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import { withoutHidden } from '../../core/hidden-characters.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { refusalText } from '../../core/refusal.ts';
import { check } from '../../core/schema.ts';
import { askPeer, type PeerHttp } from '../peer-call.ts';
import { type Evidence, evidenceOf, reasonOf } from '../wire.ts';
import {
  DECISIONS_PATH,
  POLICY_VERSION_PATH,
  PolicyAnswer,
  PolicyRequest,
  PolicyVersion,
  requestRefusals,
} from './wire.ts';

export const POLICY_TIMEOUT_MS = 5_000;

/** Only `allow` lets anything happen. Everything that is not a well-formed allow of this very request is a deny or a throw. */
export type PolicyVerdict =
  | {
      readonly kind: 'allow';
      readonly decisionId: string;
      readonly policyVersion: string;
      /** SHA-256 of the request's RFC 8785 form. */
      readonly requestHash: string;
      /** Distinct people who must sign; 0: none. */
      readonly signatures: number;
      readonly evidence: Evidence;
    }
  | {
      readonly kind: 'deny';
      /** `policy_denied`, or why the answer is none: `policy_answer_invalid`, `policy_answer_other_request`, `policy_request_refused`. */
      readonly code:
        | 'policy_denied'
        | 'policy_answer_invalid'
        | 'policy_answer_other_request'
        | 'policy_request_refused';
      readonly reasons: readonly Reason[];
      readonly requestHash: string;
      readonly evidence: Evidence;
    };

export interface SentinelNet {
  /** Asks whether the request may happen. Throws OperatingError (time-out, away, torn reply): retryable, and never an allow. */
  decide(request: PolicyRequest, signal: AbortSignal): Promise<PolicyVerdict>;
  /** The version that holds now: a decision of another version is asked for again before anything is applied. */
  currentPolicyVersion(signal: AbortSignal): Promise<string>;
}

export function sentinelNet(options: { readonly http: PeerHttp; readonly timeoutMs?: number }): SentinelNet {
  const { http, timeoutMs = POLICY_TIMEOUT_MS } = options;
  return {
    decide: async (request, signal) => {
      const refusals = [...check(PolicyRequest, request), ...requestRefusals(request)];
      assert(refusals.length === 0, `not a policy request: ${refusals.map(refusalText).join('; ')}`);
      const answer = await askPeer({
        http,
        method: 'POST',
        path: DECISIONS_PATH,
        body: request,
        doing: 'asking SentinelNet for a decision',
        timeoutMs,
        signal,
        pure: true,
      });
      const requestHash = contentHash(request);
      if (answer.kind === 'answer') return verdictOf(request, requestHash, answer.body);
      const evidence = evidenceOf('sentinelnet', request, answer.body);
      // Only what judges the request itself is a verdict; any other status comes from something that is not SentinelNet's door.
      if (answer.status !== 400 && answer.status !== 413 && answer.status !== 422) {
        throw new OperatingError('bad-reply', 'safe', 'asking SentinelNet for a decision', {
          cause: `it answered ${answer.status} ${answer.code}`,
        });
      }
      const text = `SentinelNet does not take the request: ${answer.code} ${answer.detail}`.trim();
      return deny(
        'policy_request_refused',
        [{ code: 'policy_request_refused', text, mend: 'compare the versions of Merit and SentinelNet' }],
        requestHash,
        evidence,
      );
    },
    currentPolicyVersion: async (signal) => {
      const doing = 'asking SentinelNet for its policy version';
      const answer = await askPeer({
        http,
        method: 'GET',
        path: POLICY_VERSION_PATH,
        doing,
        timeoutMs,
        signal,
        pure: true,
      });
      if (answer.kind === 'problem')
        throw new OperatingError('bad-reply', 'safe', doing, { cause: `it answered ${answer.status} ${answer.code}` });
      const refusals = check(PolicyVersion, answer.body);
      if (refusals.length > 0)
        throw new OperatingError('bad-reply', 'safe', doing, { cause: refusals.map(refusalText).join('; ') });
      return (answer.body as unknown as PolicyVersion).policyVersion;
    },
  };
}

function verdictOf(request: PolicyRequest, requestHash: string, body: Json): PolicyVerdict {
  const evidence = evidenceOf('sentinelnet', request, body);
  const refusals = check(PolicyAnswer, body);
  if (refusals.length > 0) {
    const text = withoutHidden(`SentinelNet’s answer is none: ${refusals.slice(0, 5).map(refusalText).join('; ')}`);
    return deny(
      'policy_answer_invalid',
      [{ code: 'policy_answer_invalid', text, mend: 'ask whoever runs SentinelNet' }],
      requestHash,
      evidence,
    );
  }
  const answer = body as unknown as PolicyAnswer;
  if (answer.requestHash !== requestHash) {
    const text = 'SentinelNet answered for another request';
    return deny(
      'policy_answer_other_request',
      [{ code: 'policy_answer_other_request', text, mend: 'ask whoever runs SentinelNet' }],
      requestHash,
      evidence,
    );
  }
  const { decisionId, policyVersion, signatures } = answer;
  if (answer.decision === 'allow')
    return { kind: 'allow', decisionId, policyVersion, requestHash, signatures, evidence };
  const reasons = answer.reasons.map((reason) => reasonOf(reason, 'SentinelNet'));
  const silent: Reason = {
    code: 'policy_denied',
    text: 'SentinelNet denies it and gives no reason',
    mend: 'ask whoever runs SentinelNet',
  };
  return deny('policy_denied', reasons.length > 0 ? reasons : [silent], requestHash, evidence);
}

function deny(
  code: Extract<PolicyVerdict, { kind: 'deny' }>['code'],
  reasons: readonly Reason[],
  requestHash: string,
  evidence: Evidence,
): PolicyVerdict {
  return { kind: 'deny', code, reasons, requestHash, evidence };
}
