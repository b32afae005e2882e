import type { MetricMap, MetricRule } from '../../core/suite.ts';

/** MAD and mean absolute deviation of a normal distribution to its standard deviation (Iglewicz and Hoaglin 1993). */
const MAD_FACTOR = 1.4826;
const MEAN_AD_FACTOR = 1.2533;
/** Robust z is clipped to ± this. */
const Z_CLIP = 6;

/** s in [0, 1] of a value of the metric; 1 is best whatever the direction. */
export function normalise(rule: MetricRule, x: number): number {
  return rule.map.kind === 'anchors' ? anchored(rule.map, x) : robust(rule.map, x, rule.direction === 'lower' ? -1 : 1);
}

/** clamp((x − floor)/(ceil − floor), 0, 1); lower-is-better has floor > ceil. Source: docs/scoring.md, From metric to rank. */
function anchored(map: MetricMap & { readonly kind: 'anchors' }, x: number): number {
  return clamp((x - map.floor) / (map.ceil - map.floor), 0, 1);
}

/**
 * ½(1 + z/(1+|z|)) of the robust z against the frozen cohort.
 * Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993); the softsign, docs/scoring.md, From metric to rank.
 */
function robust(map: MetricMap & { readonly kind: 'cohort' }, x: number, sign: 1 | -1): number {
  const deviation = deviationOf(map);
  const z = deviation === 0 ? 0 : clamp((x - map.median) / deviation, -Z_CLIP, Z_CLIP);
  const signed = sign * z;
  return 0.5 * (1 + signed / (1 + Math.abs(signed)));
}

/**
 * The value of the metric whose s this is; null at the ends of the map, which every value beyond them shares: the anchors, or ±6
 * of the robust z. `margin`: s this close to an end counts as the end.
 */
export function denormalise(rule: MetricRule, s: number, margin: number): number | null {
  const { map } = rule;
  const clip = map.kind === 'anchors' ? 0 : 0.5 - (0.5 * Z_CLIP) / (1 + Z_CLIP);
  if (!(s > clip + margin && s < 1 - clip - margin)) return null;
  if (map.kind === 'anchors') return map.floor + s * (map.ceil - map.floor);
  const deviation = deviationOf(map);
  const signed = rule.direction === 'lower' ? 1 - 2 * s : 2 * s - 1;
  return deviation === 0 ? null : map.median + (signed / (1 - Math.abs(signed))) * deviation;
}

function deviationOf(map: MetricMap & { readonly kind: 'cohort' }): number {
  return map.mad !== 0 ? MAD_FACTOR * map.mad : MEAN_AD_FACTOR * map.meanAd;
}

/** s̃ = (n·s + κ·μ₀)/(n + κ): κ imaginary reports at μ₀. Source: the m-estimate, Cestnik, ECAI (1990). */
export function shrink(s: number, n: number, shrinkage: { readonly kappa: number; readonly prior: number }): number {
  return (n * s + shrinkage.kappa * shrinkage.prior) / (n + shrinkage.kappa);
}

/** Within [low, high], and never −0. */
export function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high) + 0;
}
