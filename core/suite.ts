import type { Json } from './canonical.ts';
import { contentHash } from './canonical.ts';
import { type Refusal, RefusedInput } from './refusal.ts';
import { suiteDocument } from './suite-document.ts';

/** What a metric's statistic is: weighted mean, a rate over w trials, or a sketch quantile. */
export type Statistic =
  | { readonly kind: 'mean' }
  | { readonly kind: 'binary' }
  | { readonly kind: 'quantile'; readonly p: number };

/** How a statistic becomes s in [0, 1]: by anchors, or by a robust z against the frozen cohort. */
export type MetricMap =
  | { readonly kind: 'anchors'; readonly floor: number; readonly ceil: number }
  | { readonly kind: 'cohort'; readonly median: number; readonly mad: number; readonly meanAd: number };

/** Reports with x above `max` (or below `min`) are beyond the guardrail; exactly one of the two is set. */
export type Guardrail =
  | { readonly max: number; readonly min?: undefined }
  | { readonly min: number; readonly max?: undefined };

export interface MetricRule {
  readonly name: string;
  readonly direction: 'higher' | 'lower';
  readonly statistic: Statistic;
  /** Decimal digits kept, 0–12. */
  readonly scale: number;
  /** 10^scale, exact as a double. */
  readonly factor: number;
  /** Inclusive, tested on x before rounding; null: any finite x. */
  readonly valid: readonly [number, number] | null;
  readonly weight: number;
  readonly required: boolean;
  readonly map: MetricMap;
  readonly guardrail: Guardrail | null;
}

export interface WindowRule {
  readonly name: '1h' | '24h' | '7d';
  readonly weight: number;
}

export interface PromotionRule {
  readonly promoteAbove: number;
  readonly promoteTicks: number;
  readonly demoteBelow: number;
  readonly demoteTicks: number;
  readonly cooldownMs: number;
  readonly minEffect: number;
  readonly alpha: number;
}

/** A checked suite. Build it with parseSuite only. */
export interface Suite {
  readonly name: string;
  /** SHA-256 of the RFC 8785 form of `document`, lower-case hex. */
  readonly hash: string;
  readonly tickMs: number;
  /** In the order 1h, 24h, 7d. */
  readonly windows: readonly WindowRule[];
  readonly minN: number;
  readonly minWeight: number;
  readonly shrinkage: { readonly kappa: number; readonly prior: number };
  /** In code-point order of names. */
  readonly metrics: readonly MetricRule[];
  readonly promotion: PromotionRule | null;
  /** The suite as given, with defaults filled in and absent optional members still absent. */
  readonly document: { readonly [key: string]: Json };
}

/**
 * Checks a suite given as a plain value (from YAML or JSON) and fills in its defaults.
 * Throws RefusedInput with every refusal at once, each with a path such as `metrics.accuracy.floor`.
 */
export function parseSuite(value: unknown): Suite {
  const refusals: Refusal[] = [];
  const read = suiteDocument(value, refusals);
  if (read === undefined || refusals.length > 0) throw new RefusedInput(refusals);
  return { ...read, hash: contentHash(read.document) };
}
