import type { Guardrail, MetricRule, Suite } from '../../core/suite.ts';
import type { Observation } from './contribution.ts';
import { normalise } from './normalise.ts';
import { roundTiesToEven } from './quantise.ts';

/** s is kept to 12 decimals, as an integer. */
export const S_FACTOR = 1e12;

/**
 * Exact sums of S = round(s × 10^12) over reports of one (watch, model, metric), by tick.
 * Source: docs/scoring.md, Promotion and demotion.
 */
export interface EvidenceSums {
  readonly n: number;
  readonly weight: bigint;
  /** Σ w·S. */
  readonly sumWs: bigint;
  /** Σ w·S². */
  readonly sumWs2: bigint;
  /** Reports beyond the metric's guardrail; 0 where it has none. */
  readonly beyond: number;
}

export const NO_EVIDENCE: EvidenceSums = { n: 0, weight: 0n, sumWs: 0n, sumWs2: 0n, beyond: 0 };

/**
 * A row: one watch's (challenge's or seat's) sums of one model and metric over the reports that fall into one tick.
 * `model` is the candidate or, in the same challenge, the incumbent it is compared with. Cumulative sums at tick t are
 * the sums of the rows with tickMs ≤ t.
 */
export interface EvidenceRow {
  readonly watchId: string;
  readonly model: string;
  readonly metric: string;
  /** The first tick after the report: tickMs − length ≤ observedAt < tickMs. */
  readonly tickMs: number;
  readonly sums: EvidenceSums;
}

export function addEvidence(a: EvidenceSums, b: EvidenceSums): EvidenceSums {
  return {
    n: a.n + b.n,
    weight: a.weight + b.weight,
    sumWs: a.sumWs + b.sumWs,
    sumWs2: a.sumWs2 + b.sumWs2,
    beyond: a.beyond + b.beyond,
  };
}

/** What `a` holds beyond `b`, which is a part of it. */
export function withoutEvidence(a: EvidenceSums, b: EvidenceSums): EvidenceSums {
  return {
    n: a.n - b.n,
    weight: a.weight - b.weight,
    sumWs: a.sumWs - b.sumWs,
    sumWs2: a.sumWs2 - b.sumWs2,
    beyond: a.beyond - b.beyond,
  };
}

/** The first tick after the instant: the one whose row takes a report observed then. */
export function tickAfter(observedAtMs: number, tickLengthMs: number): number {
  return (Math.floor(observedAtMs / tickLengthMs) + 1) * tickLengthMs;
}

/** The metrics that evidence is kept of: required ones for the mSPRT, guarded ones for the SPRT. */
export function isWatched(rule: MetricRule): boolean {
  return rule.required || rule.guardrail !== null;
}

/** What one report adds to each watch that counts it: one entry a watched metric it carries. */
export function evidenceOf(
  observation: Observation,
): readonly { readonly metric: string; readonly sums: EvidenceSums }[] {
  const { w } = observation;
  return observation.metrics
    .filter(({ rule }) => isWatched(rule))
    .map(({ rule, x }) => {
      const s = BigInt(fixedScore(rule, x));
      return {
        metric: rule.name,
        sums: { n: 1, weight: w, sumWs: w * s, sumWs2: w * s * s, beyond: beyondOf(rule, x) },
      };
    });
}

/** S of a value: an integer in [0, S_FACTOR]. */
export function fixedScore(rule: MetricRule, x: number): number {
  return roundTiesToEven(normalise(rule, x) * S_FACTOR);
}

/** 1 where the value is beyond the metric's guardrail. */
export function beyondOf({ guardrail }: MetricRule, x: number): 0 | 1 {
  return guardrail !== null && isBeyond(guardrail, x) ? 1 : 0;
}

/** Is x beyond the guardrail? The bound itself is not. */
function isBeyond(guardrail: Guardrail, x: number): boolean {
  return guardrail.max === undefined ? x < guardrail.min : x > guardrail.max;
}

/** Does a watch that started at `startMs` count a report? Null: it started before the suite's first report. */
export function watchCounts(startMs: number | null, observedAtMs: number): boolean {
  return startMs === null || observedAtMs >= startMs;
}

/** Names of the required metrics, in code-point order. */
export function requiredMetrics(suite: Suite): readonly string[] {
  return suite.metrics.filter((rule) => rule.required).map((rule) => rule.name);
}
