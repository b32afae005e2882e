import type { Refusal } from '../../core/refusal.ts';
import { type Static, Type } from '../../core/schema.ts';
import { centsOf, Money } from '../money.ts';
import { Id, Name, Sha256, Slug, WireReasons } from '../wire.ts';

/**
 * SentinelNet's wire, version 1:
 *   POST /v1/decisions        PolicyRequest → PolicyAnswer
 *   GET  /v1/policy-version   → PolicyVersion
 * A decision has no effect at SentinelNet: asking twice is safe.
 */
export const DECISIONS_PATH = '/v1/decisions';
export const POLICY_VERSION_PATH = '/v1/policy-version';

/** More signers than this no quorum asks for. */
export const MAX_SIGNATURES = 16;

const strict = { additionalProperties: false };
const Quantity = Type.String({ minLength: 1, maxLength: 18, pattern: '^(0|[1-9][0-9]*)$' });

const common = {
  format: Type.Literal('merit-policy-request/1'),
  /** The booking and attempt, or the promotion, that asks; for the peer's own log. */
  requestId: Id,
  tenant: Slug,
  division: Slug,
  requester: Type.String({ minLength: 1, maxLength: 256 }),
  model: Type.Union([Name, Type.Null()]),
  /** Of the job's spec, or of the promotion's record: what is decided about. */
  contentHash: Sha256,
};

export const AllocationRequest = Type.Object(
  {
    ...common,
    kind: Type.Literal('allocation'),
    pool: Slug,
    flavour: Slug,
    /** As the pool names it: a kind, a package, or the full path of one. */
    provider: Type.String({ minLength: 1, maxLength: 512 }),
    gpuMilli: Quantity,
    cpuMilli: Quantity,
    leaseMs: Type.Integer({ minimum: 1 }),
    cost: Money,
    /** It is one task of an array of so many, each of which is asked about by itself. */
    tasks: Type.Optional(Type.Integer({ minimum: 1 })),
    /** It is money alone that is asked for: `pool` is `money`, `provider` is `finance`, and there are no units. */
    money: Type.Optional(
      Type.Object({ purpose: Type.String({ minLength: 1, maxLength: 500 }), agent: Type.Optional(Slug) }, strict),
    ),
  },
  strict,
);

export const PromotionRequest = Type.Object(
  {
    ...common,
    kind: Type.Literal('promotion'),
    action: Type.Union([Type.Literal('promote'), Type.Literal('demote')]),
    suite: Name,
    version: Type.String({ minLength: 1, maxLength: 128 }),
  },
  strict,
);

export const PolicyRequest = Type.Union([AllocationRequest, PromotionRequest]);
export type AllocationRequest = Readonly<Static<typeof AllocationRequest>>;
export type PromotionRequest = Readonly<Static<typeof PromotionRequest>>;
export type PolicyRequest = AllocationRequest | PromotionRequest;

export const PolicyAnswer = Type.Object({
  decision: Type.Union([Type.Literal('allow'), Type.Literal('deny')]),
  decisionId: Id,
  policyVersion: Id,
  /** SHA-256 of the request's RFC 8785 form: the answer holds for this request only. */
  requestHash: Sha256,
  /** Distinct people who must sign before it may be applied; 0: none. */
  signatures: Type.Integer({ minimum: 0, maximum: MAX_SIGNATURES }),
  /** At least one where denied. */
  reasons: WireReasons,
});
export type PolicyAnswer = Readonly<Static<typeof PolicyAnswer>>;

export const PolicyVersion = Type.Object({ policyVersion: Id });
export type PolicyVersion = Readonly<Static<typeof PolicyVersion>>;

/** What the schema cannot say of a request. */
export function requestRefusals(request: PolicyRequest): readonly Refusal[] {
  if (request.kind !== 'allocation') return [];
  const cents = centsOf('cost', request.cost);
  return typeof cents === 'bigint' ? [] : [cents];
}
