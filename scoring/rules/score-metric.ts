import type { MetricRule, Suite } from '../../core/suite.ts';
import { intervalOf } from './interval.ts';
import { normalise, shrink } from './normalise.ts';
import type { Sums } from './pane.ts';
import { type PublishedMetric, publishedInteger } from './published.ts';
import { MAX_WINDOW_WEIGHT, meanOf, quantileOf, statisticsOf } from './statistics.ts';
import type { Scored } from './weighted-mean.ts';

const NO_SCORE = { score: null, lower: null, upper: null };
const NO_STATISTICS = { mean: null, variance: null, min: null, max: null, p50: null, p95: null };

/** One metric of one model in one window. */
export function scoreMetric(suite: Suite, rule: MetricRule, sums: Sums): PublishedMetric {
  const counts = { n: sums.n, weight: publishedInteger(sums.weight) };
  if (sums.n === 0) return { ...counts, ...NO_STATISTICS, ...NO_SCORE };
  if (sums.weight > MAX_WINDOW_WEIGHT) return { ...counts, ...NO_STATISTICS, ...NO_SCORE, reason: 'range' };
  const statistics = statisticsOf(sums, rule.factor);
  const enough = sums.n >= suite.minN && Number(sums.weight) >= suite.minWeight;
  return { ...counts, ...statistics, ...(enough ? shrunkScore(suite, rule, sums) : NO_SCORE) };
}

/**
 * The statistic and its interval's ends, mapped, clamped and shrunk; the ends swap for lower-is-better.
 * Source: docs/scoring.md, From metric to rank.
 */
function shrunkScore(suite: Suite, rule: MetricRule, sums: Sums): Scored {
  const { statistic, factor } = rule;
  const value = statistic.kind === 'quantile' ? quantileOf(sums, statistic.p, factor) : meanOf(sums, factor);
  const interval = intervalOf(rule, sums);
  const swap = rule.direction === 'lower';
  const worst = interval === undefined ? 0 : normalise(rule, swap ? interval.high : interval.low);
  const best = interval === undefined ? 1 : normalise(rule, swap ? interval.low : interval.high);
  return {
    score: shrink(normalise(rule, value), sums.n, suite.shrinkage),
    lower: shrink(worst, sums.n, suite.shrinkage),
    upper: shrink(best, sums.n, suite.shrinkage),
  };
}
