import { ln } from '../../core/log.ts';
import type { MetricRule } from '../../core/suite.ts';

const ALPHA = 0.01;
const BETA = 0.05;
/** p₀ of a guarded metric that is no quantile. */
const DEFAULT_P0 = 0.05;

/** Two counts since the last restart, each report once whatever its weight. */
export interface GuardrailCounts {
  readonly beyond: number;
  readonly within: number;
}

/** A Bernoulli SPRT's state at a tick, as it goes into a decision. */
export interface GuardrailEvidence {
  readonly metric: string;
  readonly beyond: number;
  readonly within: number;
  readonly p0: number;
  readonly logLikelihoodRatio: number;
  readonly breachAt: number;
  readonly verdict: 'breach' | 'accept' | 'continue';
}

/**
 * Wald's SPRT of the share of reports beyond the guardrail: p₀ = 1 − quantile (else 0.05) against p₁ = 2p₀, α 0.01,
 * β 0.05. Breach at ln((1−β)/α), acceptance (and a restart of the counts) at ln(β/(1−α)).
 * Source: Wald, Sequential Analysis (1947); its figures, docs/scoring.md, Promotion and demotion.
 */
export function guardrailTest(rule: MetricRule, counts: GuardrailCounts): GuardrailEvidence {
  const p0 = rule.statistic.kind === 'quantile' ? 1 - rule.statistic.p : DEFAULT_P0;
  const p1 = 2 * p0;
  const ratio = counts.beyond * ln(p1 / p0) + counts.within * ln((1 - p1) / (1 - p0));
  const breachAt = ln((1 - BETA) / ALPHA);
  const verdict = ratio >= breachAt ? 'breach' : ratio <= ln(BETA / (1 - ALPHA)) ? 'accept' : 'continue';
  return { metric: rule.name, ...counts, p0, logLikelihoodRatio: ratio, breachAt, verdict };
}
