import { ln } from '../../core/log.ts';
import type { PromotionRule } from '../../core/suite.ts';
import { type EvidenceSums, S_FACTOR } from './evidence.ts';
import { publishedInteger } from './published.ts';
import { meanOf, varianceOf } from './statistics.ts';

/** From this many reports an arm on, the test speaks. */
export const MIN_ARM_REPORTS = 30;
/** τ² = 0.04 · pooled variance: the mixture is tuned to effects near a fifth of a standard deviation. */
const MIXTURE = 0.04;

export interface PublishedArm {
  readonly n: number;
  readonly weight: number | string;
  readonly mean: number;
  readonly variance: number;
}

/** One required metric's mSPRT, as it goes into a decision. */
export interface MetricEvidence {
  readonly metric: string;
  readonly candidate: PublishedArm;
  /** Null where the test was against θ_up. */
  readonly incumbent: PublishedArm | null;
  readonly d: number;
  readonly delta: number;
  /** V. */
  readonly varianceOfD: number;
  readonly tau2: number;
  /** Null at V = 0, where d > δ decides. */
  readonly logLikelihoodRatio: number | null;
  readonly threshold: number;
  readonly holds: boolean;
}

interface Arm {
  readonly n: number;
  readonly weight: number;
  readonly mean: number;
  readonly variance: number;
}

/**
 * The always-valid one-sided mSPRT on cumulative sums of s. With an incumbent d = mean_a − mean_b, V = v_a/Σw_a +
 * v_b/Σw_b and pooled variance ((n_a−1)v_a + (n_b−1)v_b)/(n_a+n_b−2); with none d = mean_a − θ_up, V = v_a/Σw_a, pooled
 * v_a. τ² = 0.04·pooled. It holds when d > δ and ½ln(V/(V+τ²)) + τ²(d−δ)²/(2V(V+τ²)) ≥ −ln(α/metrics); at V = 0 when
 * d > δ. `incumbent` null: no incumbent. Undefined below 30 reports an arm.
 * Source: Johari, Koomen, Pekelis, Walsh, Always Valid Inference (2015), normal mixture, after Robbins, Ann. Math. Stat. 41 (1970).
 * docs/scoring.md, Promotion and demotion, has its figures.
 */
export function mixtureTest(
  metric: string,
  candidate: EvidenceSums,
  incumbent: EvidenceSums | null,
  rule: PromotionRule,
  requiredMetrics: number,
): MetricEvidence | undefined {
  const a = armOf(candidate);
  const b = incumbent === null ? null : armOf(incumbent);
  if (a === undefined || b === undefined) return undefined;
  const delta = rule.minEffect;
  const d = b === null ? a.mean - rule.promoteAbove : a.mean - b.mean;
  const v = b === null ? a.variance / a.weight : a.variance / a.weight + b.variance / b.weight;
  const tau2 = MIXTURE * pooledVariance(a, b);
  const threshold = -ln(rule.alpha / requiredMetrics);
  const ratio = v === 0 ? null : logRatio(d - delta, v, tau2);
  return {
    metric,
    candidate: published(a, candidate),
    incumbent: b === null || incumbent === null ? null : published(b, incumbent),
    d,
    delta,
    varianceOfD: v,
    tau2,
    logLikelihoodRatio: ratio,
    threshold,
    holds: d > delta && (ratio === null || ratio >= threshold),
  };
}

function armOf(sums: EvidenceSums): Arm | undefined {
  if (sums.n < MIN_ARM_REPORTS) return undefined;
  const asQ = { n: sums.n, weight: sums.weight, sumWq: sums.sumWs, sumWq2: sums.sumWs2 };
  const variance = varianceOf(asQ, S_FACTOR) ?? 0;
  return { n: sums.n, weight: Number(sums.weight), mean: meanOf(asQ, S_FACTOR), variance };
}

function pooledVariance(a: Arm, b: Arm | null): number {
  if (b === null) return a.variance;
  return ((a.n - 1) * a.variance + (b.n - 1) * b.variance) / (a.n + b.n - 2);
}

function logRatio(excess: number, v: number, tau2: number): number {
  return 0.5 * ln(v / (v + tau2)) + (tau2 * excess * excess) / (2 * v * (v + tau2));
}

function published(arm: Arm, sums: EvidenceSums): PublishedArm {
  return { n: arm.n, weight: publishedInteger(sums.weight), mean: arm.mean, variance: arm.variance };
}
