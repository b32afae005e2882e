import type { EvalReport } from '../../core/eval-report.ts';
import { reportMetric } from '../../core/eval-report.ts';
import type { MetricRule, Suite } from '../../core/suite.ts';
import { quantise } from './quantise.ts';
import { bucketOf } from './sketch.ts';

/** What one metric of one report adds to every sum it enters. */
export interface MetricContribution {
  readonly rule: MetricRule;
  /** The double nearest the literal. */
  readonly x: number;
  readonly q: number;
  readonly wq: bigint;
  readonly wq2: bigint;
  readonly bucket: number;
}

/** What evidence is made of: a report's values of some metrics of its suite. */
export interface Observation {
  readonly model: string;
  readonly observedAtMs: number;
  readonly w: bigint;
  readonly metrics: readonly Pick<MetricContribution, 'rule' | 'x'>[];
}

/** What one report adds to the sums of its suite: the metrics the suite knows, in code-point order of names. */
export interface Contribution extends Observation {
  readonly metrics: readonly MetricContribution[];
}

/** A value that the suite refuses, which quarantines the whole report. `path` is for quarantineAt. */
export interface ContributionFault {
  readonly code: 'valid' | 'range';
  readonly path: readonly [string, string];
  readonly problem: string;
}

/**
 * Checks a report of this suite against the suite's metrics (valid first, then range) and turns it into integers.
 * Source: docs/scoring.md, Reports and suites, and Exact arithmetic.
 */
export function contribute(suite: Suite, report: EvalReport): Contribution | ContributionFault {
  const w = BigInt(report.sampleSize);
  const metrics: MetricContribution[] = [];
  for (const rule of suite.metrics) {
    const x = reportMetric(report, rule.name);
    if (x === undefined) continue;
    const path = ['metrics', rule.name] as const;
    if (rule.valid !== null && !(x >= rule.valid[0] && x <= rule.valid[1])) {
      return { code: 'valid', path, problem: `is outside ${rule.valid[0]} to ${rule.valid[1]}` };
    }
    const metric = metricContribution(rule, x, w);
    if (metric === undefined) return { code: 'range', path, problem: `times 10^${rule.scale} is beyond 2^40` };
    metrics.push(metric);
  }
  return { model: report.model, observedAtMs: report.observedAtMs, w, metrics };
}

/** One value in integers; undefined where it is beyond them. */
export function metricContribution(rule: MetricRule, x: number, w: bigint): MetricContribution | undefined {
  const q = quantise(x, rule.factor);
  if (q === undefined) return undefined;
  const exact = BigInt(q);
  const wq = w * exact;
  return { rule, x, q, wq, wq2: wq * exact, bucket: bucketOf(q) };
}

export function isContributionFault(value: Contribution | ContributionFault): value is ContributionFault {
  return 'code' in value;
}
