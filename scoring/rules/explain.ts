import type { MetricRule, Suite } from '../../core/suite.ts';
import { type Interval, student, wilson } from './interval.ts';
import { denormalise, normalise } from './normalise.ts';
import type {
  ModelStatus,
  PublishedInteger,
  PublishedMetric,
  PublishedModel,
  PublishedWindow,
  WindowName,
} from './published.ts';

/**
 * Why a composite is what it is. With W the weights of windows and v those of metrics, over what is there only,
 *
 *   composite = Σ_w (W_w/ΣW) Σ_m (v_m/Σv)·s̃_wm,   s̃ = (n·s + κ·μ₀)/(n + κ)
 *
 * The contribution of metric m in window w is its term of that sum; of it the prior adds shares·κ·μ₀/(n + κ) and the data the
 * rest, shares·n·s/(n + κ). All from the published numbers and the suite: whoever has these two can check it.
 * Source: docs/scoring.md, From metric to rank.
 */
/** By the names of the members. In ASCII: one wider character makes the whole answer's text twice as wide, and slower to write. */
export const EXPLAIN_FORMULA =
  'composite = sum over windows of share * (sum over metrics of share * score); score = (n * mapped + kappa * prior) / (n + kappa)';

/**
 * The contributions add up to the composite within this: at most 3 × 256 terms that are at most 1 together, a few roundings of
 * 2⁻⁵³ each, come to 2e-13 at the very worst.
 */
export const EXPLAIN_TOLERANCE = 1e-12;

export interface MetricExplanation {
  readonly metric: string;
  readonly kind: 'mean' | 'binary' | 'quantile';
  /** Of a quantile. */
  readonly quantile?: number;
  readonly required: boolean;
  readonly n: number;
  readonly weight: PublishedInteger;
  /** As the suite has it, and renormalised over the metrics of the window that are there; 0 where this one is not. */
  readonly ruleWeight: number;
  readonly share: number;
  /**
   * Before mapping, in the metric's own unit. Published for a mean, a rate, and the 0.5 and 0.95 quantiles; of other quantiles it
   * is what the map leads back to, null beyond its ends.
   */
  readonly statistic: number | null;
  /** Its 95 % interval, likewise; null: it has none, or an end lies beyond the map's. */
  readonly interval: { readonly low: number; readonly high: number } | null;
  /** s: mapped and clamped, before shrinkage. */
  readonly mapped: number | null;
  /** s̃ and the ends of its interval, as published. */
  readonly score: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  /** Imaginary reports of the prior, the prior, its share κ/(n + κ), and what it moved: s̃ − s. */
  readonly shrinkage: {
    readonly kappa: number;
    readonly prior: number;
    readonly share: number;
    readonly effect: number;
  } | null;
  readonly contribution: number;
  readonly fromData: number;
  readonly fromPrior: number;
  /** Why it has no score. */
  readonly reason: 'no_reports' | 'below_min_n' | 'below_min_weight' | 'range' | null;
}

export interface WindowExplanation {
  readonly window: WindowName;
  readonly start: string;
  readonly end: string;
  readonly n: number;
  readonly weight: PublishedInteger;
  readonly revision: number;
  readonly ruleWeight: number;
  /** Renormalised over the windows that are there; 0 where this one is not. */
  readonly share: number;
  readonly score: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  readonly contribution: number;
  /** Why it has no score: it holds no report, lacks a required metric, or has none that is enough. */
  readonly reason: 'no_reports' | 'required_missing' | 'no_metric' | null;
  /** Metrics without a score: required ones make the window null, of the others the weights went to the rest. */
  readonly missing: readonly string[];
  readonly metrics: readonly MetricExplanation[];
}

export interface Explanation {
  readonly composite: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  readonly status: ModelStatus;
  readonly formula: string;
  readonly tolerance: number;
  /** Σ of the contributions, and of it what data and prior add; 0 without a composite. */
  readonly sum: number;
  readonly fromData: number;
  readonly fromPrior: number;
  /** Windows without a score: their weights went to the rest. */
  readonly missing: readonly WindowName[];
  readonly windows: readonly WindowExplanation[];
}

/** An explanation beside the published score itself: what that does not say already. */
export interface BriefExplanation
  extends Pick<Explanation, 'tolerance' | 'sum' | 'fromData' | 'fromPrior' | 'missing'> {
  /** One a metric of each window. */
  readonly contributions: readonly (Pick<
    MetricExplanation,
    'metric' | 'share' | 'contribution' | 'fromData' | 'fromPrior' | 'reason'
  > & { readonly window: WindowName; readonly windowShare: number })[];
}

export function briefly({ tolerance, sum, fromData, fromPrior, missing, windows }: Explanation): BriefExplanation {
  const contributions = windows.flatMap(({ window, share: windowShare, metrics }) =>
    metrics.map(({ metric, share, contribution, fromData, fromPrior, reason }) => ({
      window,
      metric,
      windowShare,
      share,
      contribution,
      fromData,
      fromPrior,
      reason,
    })),
  );
  return { tolerance, sum, fromData, fromPrior, missing, contributions };
}

/** Takes a published score apart. `suite` is the version that it was scored by. */
export function explain(suite: Suite, model: PublishedModel): Explanation {
  const there = suite.windows.filter(({ name }) => isScored(model.windows[name]));
  const weights = sumOf(there, (rule) => rule.weight);
  const windows = suite.windows.flatMap(({ name, weight }) => {
    const window = model.windows[name];
    if (window === undefined) return [];
    const share = isScored(window) ? weight / weights : 0;
    return [explainWindow(suite, name, weight, share, window)];
  });
  const metrics = windows.flatMap((window) => window.metrics);
  return {
    composite: model.composite,
    lower: model.lower,
    upper: model.upper,
    status: model.status,
    formula: EXPLAIN_FORMULA,
    tolerance: EXPLAIN_TOLERANCE,
    sum: sumOf(windows, (window) => window.contribution),
    fromData: sumOf(metrics, (metric) => metric.fromData),
    fromPrior: sumOf(metrics, (metric) => metric.fromPrior),
    missing: windows.filter((window) => window.reason !== null).map(({ window }) => window),
    windows,
  };
}

function explainWindow(
  suite: Suite,
  name: WindowName,
  ruleWeight: number,
  share: number,
  window: PublishedWindow,
): WindowExplanation {
  const there = suite.metrics.filter((rule) => isScored(window.metrics[rule.name]));
  const weights = sumOf(there, (rule) => rule.weight);
  const metrics = suite.metrics.flatMap((rule) => {
    const metric = window.metrics[rule.name];
    if (metric === undefined) return [];
    return [explainMetric(suite, rule, share, isScored(metric) ? rule.weight / weights : 0, metric)];
  });
  const missing = metrics.filter((metric) => metric.reason !== null);
  const { start, end, n, weight, revision, score, lower, upper } = window;
  return {
    window: name,
    start,
    end,
    n,
    weight,
    revision,
    ruleWeight,
    share,
    score,
    lower,
    upper,
    contribution: sumOf(metrics, (metric) => metric.contribution),
    reason:
      score !== null ? null : n === 0 ? 'no_reports' : missing.some(isRequired) ? 'required_missing' : 'no_metric',
    missing: missing.map((metric) => metric.metric),
    metrics,
  };
}

function isRequired(metric: MetricExplanation): boolean {
  return metric.required;
}

function explainMetric(
  suite: Suite,
  rule: MetricRule,
  windowShare: number,
  share: number,
  metric: PublishedMetric,
): MetricExplanation {
  const { statistic } = rule;
  const { n, weight, score, lower, upper } = metric;
  const head = {
    metric: rule.name,
    kind: statistic.kind,
    ...(statistic.kind === 'quantile' ? { quantile: statistic.p } : {}),
    required: rule.required,
    n,
    weight,
    ruleWeight: rule.weight,
    share,
  };
  if (score === null || lower === null || upper === null) {
    const value = publishedStatistic(rule, metric);
    const ends = { statistic: value, interval: null, mapped: value === null ? null : normalise(rule, value) };
    const nothing = { score: null, lower: null, upper: null, shrinkage: null };
    const reason = reasonOf(suite, metric);
    return { ...head, ...ends, ...nothing, contribution: 0, fromData: 0, fromPrior: 0, reason };
  }
  const { kappa, prior } = suite.shrinkage;
  const raw = (shrunk: number) => unshrink(shrunk, n, suite.shrinkage);
  // What shrinkage took away comes back with its rounding, magnified.
  const margin = (UNSHRINK_ERROR * (n + kappa)) / n;
  const published = publishedStatistic(rule, metric);
  const mapped = published === null ? raw(score) : normalise(rule, published);
  const contribution = windowShare * (share * score);
  const fromPrior = (windowShare * share * kappa * prior) / (n + kappa);
  return {
    ...head,
    statistic: published ?? denormalise(rule, mapped, margin),
    interval: intervalOf(rule, metric, raw(lower), raw(upper), margin),
    mapped,
    score,
    lower,
    upper,
    shrinkage: { kappa, prior, share: kappa / (n + kappa), effect: score - mapped },
    contribution,
    fromData: contribution - fromPrior,
    fromPrior,
    reason: null,
  };
}

const UNSHRINK_ERROR = 1e-14;

/** The statistic where it is among the published numbers. */
function publishedStatistic({ statistic }: MetricRule, metric: PublishedMetric): number | null {
  if (statistic.kind !== 'quantile') return metric.mean;
  return statistic.p === 0.5 ? metric.p50 : statistic.p === 0.95 ? metric.p95 : null;
}

/** From what is published of a mean or rate; of a quantile, back through the map from the ends of s. */
function intervalOf(
  rule: MetricRule,
  metric: PublishedMetric,
  worst: number,
  best: number,
  margin: number,
): { readonly low: number; readonly high: number } | null {
  const { mean, variance, n } = metric;
  let interval: Interval;
  if (rule.statistic.kind === 'quantile') {
    const [low, high] = [denormalise(rule, worst, margin), denormalise(rule, best, margin)];
    if (low === null || high === null) return null;
    interval = rule.direction === 'lower' ? { low: high, high: low } : { low, high };
  } else if (mean !== null) {
    const weight = Number(metric.weight);
    interval = rule.statistic.kind === 'binary' ? wilson(mean, weight) : student(mean, variance, n, weight);
  }
  return interval ?? null;
}

/** s of s̃ = (n·s + κ·μ₀)/(n + κ). */
function unshrink(shrunk: number, n: number, { kappa, prior }: Suite['shrinkage']): number {
  return (shrunk * (n + kappa) - kappa * prior) / n;
}

function reasonOf(suite: Suite, { n, reason }: PublishedMetric): MetricExplanation['reason'] {
  if (n === 0) return 'no_reports';
  if (reason === 'range') return 'range';
  return n < suite.minN ? 'below_min_n' : 'below_min_weight';
}

function isScored(part: { readonly score: number | null } | undefined): boolean {
  return part !== undefined && part.score !== null;
}

function sumOf<T>(list: readonly T[], part: (one: T) => number): number {
  let sum = 0;
  for (const one of list) sum += part(one);
  return sum;
}
