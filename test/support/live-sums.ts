import fc from 'fast-check';
import { readEvalReport } from '../../core/eval-report.ts';
import { type Contribution, contribute, isContributionFault } from '../../scoring/rules/contribution.ts';
import { PaneTable } from '../../scoring/rules/pane-table.ts';
import type { ModelSums } from '../../scoring/rules/score-models.ts';
import { windowSumsFromPanes } from '../../scoring/rules/window-sums.ts';
import { liveWindowAt, windowSpec } from '../../scoring/rules/windows.ts';
import { bytesOf, reportLine, smallSuite } from './scoring-reports.ts';

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
/** An instant inside a pane of each size. */
export const NOW = Date.UTC(2026, 10, 23, 12, 34, 56, 789);

export const suite = smallSuite({
  minN: 1,
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true },
    ms: { direction: 'lower', kind: 'quantile', quantile: 0.9, floor: 900, ceil: 0, scale: 1 },
  },
});

export function contributionOf(observedAtMs: number, value: number, w = 1): Contribution {
  const line = reportLine({
    reportId: 'r',
    observedAt: new Date(observedAtMs).toISOString(),
    sampleSize: w,
    metrics: { accuracy: value, ms: value * 1000, unknown: 1 },
  });
  const reading = readEvalReport(bytesOf(line));
  if (!reading.ok) throw new Error(reading.quarantine.problem);
  const contribution = contribute(suite, reading.report);
  if (isContributionFault(contribution)) throw new Error(contribution.problem);
  return contribution;
}

/** The live windows as panes give them: each window from the tick at its own end. */
export function liveSums(contributions: readonly Contribution[], atMs: number): ModelSums {
  const panes = new PaneTable(suite.hash);
  for (const one of contributions) panes.add(one);
  const rows = panes.rows();
  const windows = suite.windows.flatMap(({ name }) => {
    const { endMs } = liveWindowAt(windowSpec(name), atMs);
    const window = windowSumsFromPanes(suite, endMs, rows)[0]?.windows.get(name);
    return window === undefined ? [] : [[name, window] as const];
  });
  return { model: 'm', windows: new Map(windows) };
}

/** A report of the last days. */
export const past = fc.record({
  agoMs: fc.oneof(fc.nat(2 * HOUR_MS), fc.nat(8 * DAY_MS)),
  value: fc.double({ min: 0, max: 1, noNaN: true }),
  w: fc.integer({ min: 1, max: 2 ** 20 }),
});
