import { contentHash, sha256Hex } from '../../core/canonical.ts';
import type { Refusal } from '../../core/refusal.ts';
import { check, type Static, Type } from '../../core/schema.ts';
import { centsOf, Money } from '../money.ts';
import { Name, Slug } from '../wire.ts';
import { MAX_SIGNATURES, type PolicyAnswer, type PolicyRequest } from './wire.ts';

/** A request matches when every condition given does; none given: every request does. */
const conditions = {
  kind: Type.Optional(Type.Union([Type.Literal('allocation'), Type.Literal('promotion')])),
  tenant: Type.Optional(Slug),
  division: Type.Optional(Slug),
  pool: Type.Optional(Slug),
  model: Type.Optional(Name),
  /** Matches a cost above it, and a cost in another currency: what cannot be compared is not let through. */
  costAbove: Type.Optional(Money),
};

const DenyRule = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-z0-9_.-]+$' }),
    ...conditions,
    text: Type.String({ minLength: 1, maxLength: 500 }),
    mend: Type.Optional(Type.String({ maxLength: 500 })),
  },
  { additionalProperties: false },
);

const SignatureRule = Type.Object(
  { ...conditions, count: Type.Integer({ minimum: 1, maximum: MAX_SIGNATURES }) },
  { additionalProperties: false },
);

/** The simulator's rules: what no rule denies is allowed; of the signature rules that match the greatest count holds. */
export const PolicyRules = Type.Object(
  {
    format: Type.Literal('merit-policy-rules/1'),
    deny: Type.Array(DenyRule, { maxItems: 1000 }),
    signatures: Type.Array(SignatureRule, { maxItems: 1000 }),
  },
  { additionalProperties: false },
);
export type PolicyRules = Readonly<Static<typeof PolicyRules>>;

export const ALLOW_ALL: PolicyRules = { format: 'merit-policy-rules/1', deny: [], signatures: [] };

export function rulesRefusals(value: unknown): readonly Refusal[] {
  const refusals = [...check(PolicyRules, value)];
  if (refusals.length > 0) return refusals;
  const rules = value as PolicyRules;
  for (const [list, entries] of [
    ['deny', rules.deny],
    ['signatures', rules.signatures],
  ] as const) {
    for (const [i, { costAbove }] of entries.entries()) {
      if (costAbove === undefined) continue;
      const cents = centsOf(`${list}.${i}.costAbove`, costAbove);
      if (typeof cents !== 'bigint') refusals.push(cents);
    }
  }
  return refusals;
}

/** The hash of the rules: any change of them, and only that, is another version. */
export function versionOf(rules: PolicyRules): string {
  return contentHash(rules);
}

/** Decides by the rules alone; the same rules and request give the same bytes. */
export function decide(rules: PolicyRules, request: PolicyRequest): PolicyAnswer {
  const policyVersion = versionOf(rules);
  const requestHash = contentHash(request);
  const denied = rules.deny.filter((rule) => matches(rule, request));
  const signatures = rules.signatures
    .filter((rule) => matches(rule, request))
    .reduce((most, rule) => Math.max(most, rule.count), 0);
  return {
    decision: denied.length > 0 ? 'deny' : 'allow',
    decisionId: `d-${sha256Hex(`${policyVersion} ${requestHash}`).slice(0, 32)}`,
    policyVersion,
    requestHash,
    signatures,
    reasons: denied
      .slice(0, 32)
      .map((rule) => ({ code: rule.name, text: rule.text, mend: rule.mend ?? 'ask whoever keeps the policy rules' })),
  };
}

type Conditions = Omit<Static<typeof SignatureRule>, 'count'>;

function matches(rule: Conditions, request: PolicyRequest): boolean {
  if (rule.kind !== undefined && rule.kind !== request.kind) return false;
  if (rule.tenant !== undefined && rule.tenant !== request.tenant) return false;
  if (rule.division !== undefined && rule.division !== request.division) return false;
  if (rule.model !== undefined && rule.model !== request.model) return false;
  if (rule.pool !== undefined && (request.kind !== 'allocation' || rule.pool !== request.pool)) return false;
  return rule.costAbove === undefined || (request.kind === 'allocation' && isAbove(request.cost, rule.costAbove));
}

function isAbove(cost: Money, bound: Money): boolean {
  if (cost.currency !== bound.currency) return true;
  const [a, b] = [centsOf('cost', cost), centsOf('costAbove', bound)];
  return typeof a !== 'bigint' || typeof b !== 'bigint' || a > b;
}
