import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readEvalReport } from '../../../../core/eval-report.ts';
import type { Suite } from '../../../../core/suite.ts';
import { type Contribution, contribute, isContributionFault } from '../../../../scoring/rules/contribution.ts';
import { Edge } from '../../../../scoring/rules/edge.ts';
import {
  addEvidence,
  type EvidenceSums,
  evidenceOf,
  tickAfter,
  watchCounts,
} from '../../../../scoring/rules/evidence.ts';
import { type PartitionMark, suiteWatermark } from '../../../../scoring/rules/watermark.ts';
import { bytesOf, reportLine, smallSuite } from '../../../support/scoring-reports.ts';

const suite: Suite = smallSuite({
  tick: '1m',
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true },
    ms: { direction: 'lower', floor: 1000, ceil: 0, guardrail: { max: 500 } },
    shown: { direction: 'higher', floor: 0, ceil: 1 },
  },
});
const T0 = Date.UTC(2026, 10, 23, 12);

function contribution(model: string, atMs: number, value: number, sampleSize = 1): Contribution {
  const line = reportLine({
    reportId: 'r',
    model,
    sampleSize,
    observedAt: new Date(atMs).toISOString(),
    metrics: { accuracy: value, ms: value * 1000, shown: value },
  });
  const reading = readEvalReport(bytesOf(line));
  if (!reading.ok) throw new Error('the report must be readable');
  const made = contribute(suite, reading.report);
  if (isContributionFault(made)) throw new Error('the report must be acceptable');
  return made;
}

interface Event {
  readonly model: string;
  readonly offsetMs: number;
  readonly value: number;
  readonly partition: number;
}

const event: fc.Arbitrary<Event> = fc.record({
  model: fc.constantFrom('a', 'b', 'c'),
  // Few distinct instants: ties with the watermark are the point.
  offsetMs: fc.integer({ min: 0, max: 6 }).map((step) => step * 25_000),
  value: fc.constantFrom(0, 0.25, 0.7, 1),
  partition: fc.constantFrom(0, 1),
});

/** Evidence by (model, metric, tick) as a readable record. */
type Rows = Record<string, EvidenceSums>;

function addTo(rows: Rows, key: string, sums: EvidenceSums): void {
  const present = rows[key];
  rows[key] = present === undefined ? sums : addEvidence(present, sums);
}

function addReport(rows: Rows, one: Contribution): void {
  for (const { metric, sums } of evidenceOf(one)) {
    addTo(rows, `${one.model} ${metric} ${tickAfter(one.observedAtMs, suite.tickMs)}`, sums);
  }
}

describe('the edge', () => {
  test.each([1, 2])(
    'makes a watch that starts anywhere in the log, over %i partition(s), count exactly the reports observed at or after its start',
    (partitions) => {
      fc.assert(
        fc.property(fc.array(event, { minLength: 1, maxLength: 30 }), fc.nat(29), (events, cut) => {
          const marks = new Map<number, PartitionMark>();
          const models = ['a', 'b'];
          let edge = new Edge();
          let watermark: number | null = null;
          let start: number | null | undefined;
          const rows: Rows = {};
          const all: Contribution[] = [];
          events.forEach((one, index) => {
            if (index === Math.min(cut, events.length - 1)) {
              start = watermark;
              for (const { model, metric, tickMs, sums } of edge.seed(models, suite.tickMs)) {
                addTo(rows, `${model} ${metric} ${tickMs}`, sums);
              }
            }
            const made = contribution(one.model, T0 + one.offsetMs, one.value);
            const partition = one.partition % partitions;
            const before = marks.get(partition)?.watermarkMs ?? Number.NEGATIVE_INFINITY;
            marks.set(partition, { partition, watermarkMs: Math.max(before, made.observedAtMs), lastAppendMs: 0 });
            watermark = suiteWatermark(watermark, Array.from(marks.values()), 0);
            edge.take(made, watermark);
            // Stored and loaded again, as between two batches.
            edge = new Edge(edge.entries());
            all.push(made);
            if (start !== undefined && models.includes(one.model) && watchCounts(start, made.observedAtMs)) {
              addReport(rows, made);
            }
          });
          const expected: Rows = {};
          const from = start ?? null;
          for (const made of all) {
            if (models.includes(made.model) && watchCounts(from, made.observedAtMs)) addReport(expected, made);
          }
          expect(rows).toEqual(expected);
        }),
        { numRuns: 300 },
      );
    },
  );

  test('with one partition holds no more than the reports at the watermark itself', () => {
    const edge = new Edge();
    edge.take(contribution('a', T0, 0.5), T0);
    edge.take(contribution('b', T0, 0.5), T0);
    edge.take(contribution('b', T0 - 1, 0.5), T0);
    expect(edge.entries().map(({ model, metric }) => `${model} ${metric}`)).toEqual([
      'a accuracy',
      'a ms',
      'b accuracy',
      'b ms',
    ]);
    edge.take(contribution('b', T0 + 1, 0.5), T0 + 1);
    expect(edge.entries().every((entry) => entry.observedAtMs === T0 + 1)).toBe(true);
  });
});

describe('the evidence of a report', () => {
  test('is s rounded to 12 decimals, weighted, for required and guarded metrics only', () => {
    const [accuracy, ms, ...rest] = evidenceOf(contribution('a', T0, 0.7, 3));
    expect(rest).toEqual([]);
    const s = 700_000_000_000n;
    expect(accuracy).toEqual({
      metric: 'accuracy',
      sums: { n: 1, weight: 3n, sumWs: 3n * s, sumWs2: 3n * s * s, beyond: 0 },
    });
    expect(ms).toEqual({
      metric: 'ms',
      sums: { n: 1, weight: 3n, sumWs: 3n * 300_000_000_000n, sumWs2: 3n * 300_000_000_000n ** 2n, beyond: 1 },
    });
  });

  test('belongs to the first tick after it: a report on a tick belongs to the next', () => {
    expect([tickAfter(59_999, 60_000), tickAfter(60_000, 60_000), tickAfter(-1, 60_000)]).toEqual([60_000, 120_000, 0]);
  });

  test('a report at the guardrail is not beyond it', () => {
    const beyond = (value: number) => evidenceOf(contribution('a', T0, value))[1]?.sums.beyond;
    expect([beyond(0.5), beyond(0.500001)]).toEqual([0, 1]);
  });
});
