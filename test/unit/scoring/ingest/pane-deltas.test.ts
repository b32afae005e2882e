import { describe, expect, test } from 'vitest';
import { deltasOfColumns, deltasOfPanes, type PaneDeltas } from '../../../../scoring/ingest/pane-deltas.ts';
import { createReportKernel } from '../../../../scoring/report-kernel.ts';
import { oracle } from '../../../../scoring/rules/oracle.ts';
import { bytesOf, reportLine, seededRandom, smallSuite } from '../../../support/scoring-reports.ts';

const metrics = {
  accuracy: { direction: 'higher', floor: -1, ceil: 1, required: true },
  ms: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 12, floor: 1, ceil: 0 },
};
const suites = [
  smallSuite({ metrics }),
  smallSuite({ name: 'unused', metrics }),
  smallSuite({ name: 'other', metrics }),
];

/** Two suites, sums of either sign and beyond 64 bits. */
const LINES = (() => {
  const random = seededRandom(3);
  return Array.from({ length: 400 }, (_, i) =>
    reportLine({
      reportId: `r${i}`,
      suite: i % 3 === 0 ? 'other' : 'small',
      model: `m${Math.floor(random() * 3)}`,
      observedAt: new Date(Date.UTC(2026, 10, 25) + Math.floor(random() * 7_200_000)).toISOString(),
      sampleSize: 1 + Math.floor(random() * 2 ** 20),
      metrics: { accuracy: random() * 1e5 * (random() < 0.8 ? -1 : 1), ms: random() },
    }),
  );
})();
const BYTES = bytesOf(`${LINES.join('\n')}\n`);

/** What the columns mean, whatever the order of names in them. */
function rowsOf(deltas: PaneDeltas) {
  const wide = (words: Uint32Array, row: number, count: number) =>
    Array.from({ length: count }, (_, i) => words[row * count + i]!);
  return Array.from({ length: deltas.rows }, (_, row) => {
    const first = deltas.firstBucket[row]!;
    return {
      ...deltas.series[deltas.seriesOf[row]!]!,
      resolution: deltas.resolution[row],
      startMs: deltas.startMs[row],
      n: wide(deltas.n, row, 2),
      weight: wide(deltas.weight, row, 2),
      sumWq: wide(deltas.sumWq, row, 4),
      sumWq2: wide(deltas.sumWq2, row, 4),
      min: deltas.min[row],
      max: deltas.max[row],
      buckets: Array.from(deltas.bucketIndex.subarray(first, first + deltas.buckets[row]!)),
      counts: Array.from(deltas.bucketCount.subarray(first, first + deltas.buckets[row]!)),
    };
  });
}

describe('the deltas of a flush', () => {
  test('are the same from the kernel’s columns as from panes, suite by suite', () => {
    const kernel = createReportKernel(suites, { digests: false });
    for (const _ of kernel.run(BYTES));
    const columns = kernel.takePanes();
    const panes = oracle(suites, [BYTES]).panes;
    const seen = suites.map((suite, number) => {
      const ofKernel = deltasOfColumns(columns, number, suite);
      const ofPanes = deltasOfPanes(panes.filter((pane) => pane.suiteHash === suite.hash));
      expect(ofKernel?.suiteHash).toBe(ofPanes?.suiteHash);
      expect(ofKernel && rowsOf(ofKernel)).toEqual(ofPanes && rowsOf(ofPanes));
      return ofKernel?.rows ?? 0;
    });
    expect(seen.map((rows) => rows > 100)).toEqual([true, false, true]);
  });

  test('name each series once', () => {
    const { series } = deltasOfPanes(oracle([suites[0]!], [BYTES]).panes)!;
    expect(new Set(series.map(({ model, metric }) => `${model} ${metric}`)).size).toBe(series.length);
    expect(series).toHaveLength(3 * 3);
  });

  test('of nothing are none', () => {
    expect(deltasOfPanes([])).toBeUndefined();
  });
});
