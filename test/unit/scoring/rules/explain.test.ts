import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSuite, type Suite } from '../../../../core/suite.ts';
import {
  EXPLAIN_TOLERANCE,
  type Explanation,
  explain,
  type MetricExplanation,
} from '../../../../scoring/rules/explain.ts';
import { intervalOf } from '../../../../scoring/rules/interval.ts';
import { normalise } from '../../../../scoring/rules/normalise.ts';
import { oracle } from '../../../../scoring/rules/oracle.ts';
import type { PublishedModel } from '../../../../scoring/rules/published.ts';
import { scoreModels } from '../../../../scoring/rules/score-models.ts';
import { windowSumsFromPanes } from '../../../../scoring/rules/window-sums.ts';
import { bytesOf, reportLine, seededRandom, smallSuite } from '../../../support/scoring-reports.ts';

const AT = Date.UTC(2026, 10, 23, 12);
const HOUR_MS = 3_600_000;

interface Case {
  readonly suite: Suite;
  readonly model: PublishedModel;
  readonly sums: ReturnType<typeof windowSumsFromPanes>[number];
}

function scored(
  suite: Suite,
  reports: readonly { readonly agoMs: number; readonly metrics: object; readonly w?: number }[],
): Case {
  const lines = reports.map(({ agoMs, metrics, w = 1 }, i) =>
    reportLine({
      reportId: `r${i}`,
      suite: suite.name,
      observedAt: new Date(AT - agoMs).toISOString(),
      sampleSize: w,
      metrics: metrics as Record<string, number>,
    }),
  );
  const { panes, counts } = oracle([suite], [bytesOf(lines.join('\n'))]);
  expect(counts.accepted).toBe(reports.length);
  const models = windowSumsFromPanes(suite, AT, panes);
  return { suite, model: scoreModels({ suite, atMs: AT, models })[0]!, sums: models[0]! };
}

const weight = fc.oneof(
  fc.constant(1),
  fc.double({ min: -9, max: 9, noNaN: true }).map((e) => 10 ** e),
);
const metricRule = fc.record({
  kind: fc.constantFrom('mean', 'binary', 'quantile'),
  direction: fc.constantFrom('higher', 'lower'),
  quantile: fc.constantFrom(0.5, 0.95, 0.9, 0.25),
  cohort: fc.boolean(),
  weight,
  required: fc.boolean(),
  present: fc.constantFrom(0, 0.3, 1),
});
const anyCase = fc.record({
  rules: fc.array(metricRule, { minLength: 1, maxLength: 7 }),
  windows: fc.record({ '1h': weight, '24h': weight, '7d': weight }),
  kappa: fc.constantFrom(0, 1, 20, 5_000),
  prior: fc.double({ min: 0, max: 1, noNaN: true }),
  minN: fc.constantFrom(1, 5, 20),
  minWeight: fc.constantFrom(0, 40),
  reports: fc.integer({ min: 1, max: 60 }),
  seed: fc.nat(),
});

function caseOf(given: typeof anyCase extends fc.Arbitrary<infer T> ? T : never): Case {
  const { rules, windows, kappa, prior, minN, minWeight, reports, seed } = given;
  const next = seededRandom(seed);
  const metrics = Object.fromEntries(
    rules.map((rule, i) => {
      const anchors = rule.direction === 'higher' ? { floor: 0, ceil: 1 } : { floor: 1, ceil: 0 };
      const { direction, weight, required, kind, quantile } = rule;
      const map = rule.cohort ? {} : anchors;
      return [`m${i}`, { direction, kind, weight, required, ...(kind === 'quantile' ? { quantile } : {}), ...map }];
    }),
  );
  const cohort = {
    version: 1,
    metrics: Object.fromEntries(rules.map((_, i) => [`m${i}`, { median: 0.5, mad: 0.1, meanAd: 0.1 }])),
  };
  const suite = smallSuite({ metrics, cohort, windows, shrinkage: { kappa, prior }, minN, minWeight });
  return scored(
    suite,
    Array.from({ length: reports }, () => ({
      agoMs: 1 + next() ** 4 * 6 * 24 * HOUR_MS,
      w: 1 + Math.floor(next() * 9),
      metrics: {
        other: 1,
        ...Object.fromEntries(rules.flatMap(({ present }, i) => (next() < present ? [[`m${i}`, next()]] : []))),
      },
    })),
  );
}

function eachMetric(explanation: Explanation): readonly MetricExplanation[] {
  return explanation.windows.flatMap((window) => window.metrics);
}

function within(actual: number, expected: number, tolerance: number): void {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(tolerance);
}

describe('an explanation', () => {
  test('adds up: contributions to the composite, data and prior to the contributions, shares to 1', () => {
    let composites = 0;
    fc.assert(
      fc.property(anyCase, (given) => {
        const { suite, model } = caseOf(given);
        const explanation = explain(suite, model);
        const { composite, sum, fromData, fromPrior } = explanation;
        if (composite === null) {
          expect([sum, fromData, fromPrior]).toEqual([0, 0, 0]);
          return;
        }
        composites++;
        within(sum, composite, EXPLAIN_TOLERANCE);
        within(fromData + fromPrior, composite, EXPLAIN_TOLERANCE);
        within(
          explanation.windows.reduce((all, { share }) => all + share, 0),
          1,
          EXPLAIN_TOLERANCE,
        );
        for (const window of explanation.windows) {
          if (window.score === null) expect([window.share, window.contribution]).toEqual([0, 0]);
          else within(window.contribution, window.share * window.score, EXPLAIN_TOLERANCE);
          const shares = window.metrics.reduce((all, { share }) => all + share, 0);
          if (window.score !== null) within(shares, 1, EXPLAIN_TOLERANCE);
        }
      }),
      { numRuns: 80 },
    );
    // About 22 of the 80 have one.
    expect(composites).toBeGreaterThan(5);
  });

  test('splits every score into n·s/(n + κ) of the data and κ·μ₀/(n + κ) of the prior', () => {
    fc.assert(
      fc.property(anyCase, (given) => {
        const { suite, model } = caseOf(given);
        for (const window of explain(suite, model).windows) {
          for (const { shrinkage, mapped, score, n, share, fromData, fromPrior } of window.metrics) {
            if (shrinkage === null || mapped === null || score === null) continue;
            const { kappa, prior, effect } = shrinkage;
            within(fromData, (window.share * share * n * mapped) / (n + kappa), EXPLAIN_TOLERANCE);
            within(fromPrior, (window.share * share * kappa * prior) / (n + kappa), EXPLAIN_TOLERANCE);
            // s̃ − s = κ/(n + κ)·(μ₀ − s)
            within(effect, shrinkage.share * (prior - mapped), 1e-9);
          }
        }
      }),
      { numRuns: 30 },
    );
  });

  test('gives the statistic and interval that the score was mapped from, or says that they lie beyond the map', () => {
    let intervals = 0;
    fc.assert(
      fc.property(anyCase, (given) => {
        const { suite, model, sums } = caseOf(given);
        for (const window of explain(suite, model).windows) {
          for (const metric of window.metrics) {
            if (metric.score === null) continue;
            const rule = suite.metrics.find(({ name }) => name === metric.metric)!;
            if (metric.statistic !== null) within(normalise(rule, metric.statistic), metric.mapped!, 1e-9);
            const truth = intervalOf(rule, sums.windows.get(window.window)!.metrics.get(rule.name)!);
            if (metric.interval === null || truth === undefined) continue;
            intervals++;
            within(metric.interval.low, truth.low, 1e-9);
            within(metric.interval.high, truth.high, 1e-9);
          }
        }
      }),
      { numRuns: 30 },
    );
    // Some 90 in 30 runs, 50 in a poor one.
    expect(intervals).toBeGreaterThan(5);
  });
});

describe('what is missing', () => {
  const full = { direction: 'higher', floor: 0, ceil: 1 } as const;

  test('takes its weight with it: the others share it in proportion, and the reason is named', () => {
    const suite = smallSuite({
      minN: 3,
      metrics: { a: { ...full, weight: 1 }, b: { ...full, weight: 3 }, c: { ...full, weight: 4 } },
    });
    const reports = Array.from({ length: 4 }, (_, i) => ({
      agoMs: 2 * HOUR_MS,
      metrics: i < 2 ? { a: 1, b: 0.5, c: 1 } : { a: 1, b: 0.5 },
    }));
    const explanation = explain(suite, scored(suite, reports).model);
    const [hour, day, week] = explanation.windows;
    expect(hour).toMatchObject({ window: '1h', share: 0, reason: 'no_reports', contribution: 0 });
    expect(explanation.missing).toEqual(['1h']);
    // 0.3 and 0.2 of the weights are there.
    expect([day!.share, week!.share]).toEqual([0.3 / 0.5, 0.2 / 0.5]);
    expect(day!.metrics.map(({ share, ruleWeight, reason }) => [share, ruleWeight, reason])).toEqual([
      [1 / 4, 1, null],
      [3 / 4, 3, null],
      [0, 4, 'below_min_n'],
    ]);
    expect(day!.missing).toEqual(['c']);
    expect(day!.metrics[2]).toMatchObject({ statistic: 1, mapped: 1, score: null, contribution: 0 });
  });

  test('a required metric makes its window null, and is named as what is missing', () => {
    const suite = smallSuite({ minN: 1, metrics: { a: { ...full, required: true }, b: full } });
    const explanation = explain(suite, scored(suite, [{ agoMs: 10, metrics: { b: 1 } }]).model);
    expect(explanation).toMatchObject({
      composite: null,
      status: 'missing_required',
      sum: 0,
      missing: ['1h', '24h', '7d'],
    });
    expect(explanation.windows[0]).toMatchObject({ reason: 'required_missing', missing: ['a'], score: null });
  });

  test('too little weight, and too much, are told apart from too few reports', () => {
    const reports = [{ agoMs: 10, metrics: { accuracy: 1 } }];
    const light = smallSuite({ minN: 1, minWeight: 9 });
    expect(eachMetric(explain(light, scored(light, reports).model))[0]?.reason).toBe('below_min_weight');
    const heavy = smallSuite({ minN: 1 });
    const { model } = scored(heavy, reports);
    const window = { ...model.windows['1h']!, score: null };
    const metric = {
      ...window.metrics.accuracy!,
      mean: null,
      score: null,
      lower: null,
      upper: null,
      reason: 'range' as const,
    };
    const explanation = explain(heavy, { ...model, windows: { '1h': { ...window, metrics: { accuracy: metric } } } });
    expect(explanation.windows[0]?.metrics[0]).toMatchObject({ reason: 'range', statistic: null, mapped: null });
  });
});

test('shrinkage is told with its prior, its share and what it moved', () => {
  const suite = parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: 'small',
    minN: 1,
    windows: { '1h': 1 },
    shrinkage: { kappa: 20, prior: 0.5 },
    metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1 } },
  });
  const { model } = scored(
    suite,
    Array.from({ length: 20 }, () => ({ agoMs: 10, metrics: { accuracy: 1 } })),
  );
  const [metric] = eachMetric(explain(suite, model));
  expect(metric).toMatchObject({
    score: 0.75,
    mapped: 1,
    shrinkage: { kappa: 20, prior: 0.5, share: 0.5, effect: -0.25 },
    contribution: 0.75,
    fromData: 0.5,
    fromPrior: 0.25,
  });
});

test('a quantile that is not published and lies beyond the map is not made up from rounding', () => {
  const metrics = { slow: { direction: 'higher', kind: 'quantile', quantile: 0.9, floor: 0, ceil: 1 } };
  for (let n = 1; n <= 40; n++) {
    const suite = smallSuite({ minN: 1, shrinkage: { kappa: 3, prior: 0.1 }, metrics });
    const { model } = scored(
      suite,
      Array.from({ length: n }, () => ({ agoMs: 10, metrics: { slow: 2 } })),
    );
    expect(eachMetric(explain(suite, model))[0]).toMatchObject({ statistic: null, mapped: expect.closeTo(1, 9) });
  }
});
