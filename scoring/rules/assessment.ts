import type { PromotionRule, Suite } from '../../core/suite.ts';
import { NO_EVIDENCE, requiredMetrics } from './evidence.ts';
import { type GuardrailEvidence, guardrailTest } from './guardrail.ts';
import { type MetricEvidence, mixtureTest } from './msprt.ts';
import type {
  Assessment,
  ChallengeInput,
  Condition,
  GuardrailState,
  ModelFacts,
  SeatInput,
  WatchState,
} from './promotion.ts';
import type { PublishedModel } from './published.ts';

export interface IncumbentAssessment {
  readonly watch: WatchState;
  readonly score: PublishedModel | null;
  readonly guardrails: readonly GuardrailEvidence[];
  readonly assessment: Assessment;
  readonly demote: 'below' | 'guardrail' | null;
}

export interface CandidateAssessment {
  readonly watch: WatchState;
  readonly score: PublishedModel | null;
  readonly evidence: readonly MetricEvidence[];
  readonly guardrails: readonly GuardrailEvidence[];
  readonly assessment: Assessment;
  /** Everything else holds, and the policy's answer is not known. */
  readonly policyWanted: boolean;
}

/**
 * Conditions that make a tick inconclusive: it neither counts nor resets, whatever else is unmet.
 * Source of these and of the two assessments: docs/scoring.md, Promotion and demotion; a dead band between two thresholds is the
 * hysteresis of Schmitt, A thermionic trigger, J. Sci. Instrum. 15 (1938).
 */
const INCONCLUSIVE: ReadonlySet<Condition> = new Set([
  'no_new_data',
  'below_min_n',
  'composite_null',
  'evidence_short',
  'policy_unknown',
]);

/** Demotion: below θ_dn for k_dn counted ticks, or one guardrail breach. At or above θ_dn the run ends. */
export function assessIncumbent(
  suite: Suite,
  rule: PromotionRule,
  tickMs: number,
  seat: SeatInput,
): IncumbentAssessment {
  const { watch, facts } = seat;
  const guardrails = facts.newData ? testGuardrails(suite, facts) : [];
  const composite = facts.score?.composite ?? null;
  const unmet = missingData(suite, facts, composite);
  const breach = guardrails.some((one) => one.verdict === 'breach');
  const skipped = unmet.length > 0;
  if (!skipped && composite !== null && composite >= rule.demoteBelow) unmet.push('composite_holds');
  const verdict = breach ? 'breach' : skipped ? 'skipped' : unmet.length > 0 ? 'reset' : 'counted';
  const run = verdict === 'counted' ? watch.run + 1 : verdict === 'reset' ? 0 : watch.run;
  const below = verdict === 'counted' && run >= rule.demoteTicks;
  return {
    watch: { ...watch, run, guardrails: restarted(watch.guardrails, guardrails, tickMs) },
    score: facts.score,
    guardrails,
    assessment: { model: watch.model, role: 'incumbent', verdict, run, unmet },
    demote: breach ? 'guardrail' : below ? 'below' : null,
  };
}

/** Promotion: every condition of the rule, for k_up counted ticks in a row. */
export function assessCandidate(
  suite: Suite,
  rule: PromotionRule,
  tickMs: number,
  challenge: ChallengeInput,
  hasIncumbent: boolean,
): CandidateAssessment {
  const { watch, facts } = challenge;
  const guardrails = facts.newData ? testGuardrails(suite, facts) : [];
  const composite = facts.score?.composite ?? null;
  const unmet = missingData(suite, facts, composite);
  const evidence = testEvidence(suite, rule, challenge, hasIncumbent);
  if (evidence === undefined) unmet.push('evidence_short');
  if (composite !== null && composite < rule.promoteAbove) unmet.push('composite_below');
  if (evidence?.some((one) => !one.holds) === true) unmet.push('evidence_unmet');
  if (guardrails.some((one) => one.verdict === 'breach')) unmet.push('guardrail_breach');
  const { lastChangeMs } = challenge;
  if (lastChangeMs !== null && tickMs - lastChangeMs < rule.cooldownMs) unmet.push('cooldown');
  if (challenge.policy === 'deny') unmet.push('policy_denied');
  const policyWanted = unmet.length === 0 && challenge.policy === 'unknown';
  if (challenge.policy === 'unknown' && policyWanted) unmet.push('policy_unknown');
  const skipped = unmet.some((condition) => INCONCLUSIVE.has(condition));
  const verdict = skipped ? 'skipped' : unmet.length > 0 ? 'reset' : 'counted';
  const run = verdict === 'counted' ? watch.run + 1 : verdict === 'reset' ? 0 : watch.run;
  return {
    watch: { ...watch, run, guardrails: restarted(watch.guardrails, guardrails, tickMs) },
    score: facts.score,
    evidence: evidence ?? [],
    guardrails,
    assessment: { model: watch.model, role: 'candidate', verdict, run, unmet },
    policyWanted,
  };
}

/** What keeps a tick from saying anything about the model: missing is never a number. */
function missingData(suite: Suite, facts: ModelFacts, composite: number | null): Condition[] {
  if (!facts.newData) return ['no_new_data'];
  const unmet: Condition[] = [];
  if (requiredMetrics(suite).some((name) => !reachesMinN(suite, facts.score, name))) unmet.push('below_min_n');
  if (composite === null) unmet.push('composite_null');
  return unmet;
}

/** n ≥ minN in at least one window. */
function reachesMinN(suite: Suite, score: PublishedModel | null, metric: string): boolean {
  if (score === null) return false;
  return Object.values(score.windows).some((window) => (window.metrics[metric]?.n ?? 0) >= suite.minN);
}

/** One mSPRT a required metric, or undefined where some arm has too few reports yet. */
function testEvidence(
  suite: Suite,
  rule: PromotionRule,
  challenge: ChallengeInput,
  hasIncumbent: boolean,
): readonly MetricEvidence[] | undefined {
  const required = requiredMetrics(suite);
  const tests: MetricEvidence[] = [];
  for (const metric of required) {
    const arms = challenge.evidence.get(metric);
    const candidate = arms?.candidate ?? NO_EVIDENCE;
    const incumbent = hasIncumbent ? (arms?.incumbent ?? NO_EVIDENCE) : null;
    const test = mixtureTest(metric, candidate, incumbent, rule, required.length);
    if (test === undefined) return undefined;
    tests.push(test);
  }
  return tests;
}

function testGuardrails(suite: Suite, facts: ModelFacts): readonly GuardrailEvidence[] {
  return suite.metrics
    .filter((metric) => metric.guardrail !== null)
    .map((metric) => guardrailTest(metric, facts.guardrails.get(metric.name) ?? { beyond: 0, within: 0 }));
}

/** After acceptance a guardrail's counts start again behind this tick. */
function restarted(
  states: readonly GuardrailState[],
  tests: readonly GuardrailEvidence[],
  tickMs: number,
): readonly GuardrailState[] {
  const accepted = new Set(tests.filter((test) => test.verdict === 'accept').map((test) => test.metric));
  if (accepted.size === 0) return states;
  const kept = states.filter((state) => !accepted.has(state.metric));
  return [...kept, ...Array.from(accepted, (metric) => ({ metric, restartTickMs: tickMs }))];
}
