import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EvalReport } from '../../../../core/eval-report.ts';
import { checksumOf, checksumRows, inputDigestOf } from '../../../../scoring/rules/checksum.ts';
import { type Contribution, contribute, isContributionFault } from '../../../../scoring/rules/contribution.ts';
import { Edge } from '../../../../scoring/rules/edge.ts';
import {
  addEvidence,
  type EvidenceSums,
  evidenceOf,
  NO_EVIDENCE,
  tickAfter,
  withoutEvidence,
} from '../../../../scoring/rules/evidence.ts';
import type { Sums } from '../../../../scoring/rules/pane.ts';
import { PaneTable } from '../../../../scoring/rules/pane-table.ts';
import { scoreModels } from '../../../../scoring/rules/score-models.ts';
import { keepRank, quantileRank, valueAtRank } from '../../../../scoring/rules/sketch.ts';
import { windowSumsFromPanes } from '../../../../scoring/rules/window-sums.ts';
import { smallSuite } from '../../../support/scoring-reports.ts';

const AT = Date.UTC(2026, 10, 23, 12, 7, 31);
const HOUR_MS = 3_600_000;
const suite = smallSuite({
  minN: 1,
  tick: '15m',
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true },
    ms: { direction: 'lower', kind: 'quantile', quantile: 0.9, scale: 3, floor: 900, ceil: 0, guardrail: { max: 500 } },
    drift: { direction: 'higher', kind: 'quantile', quantile: 0.5, scale: 2, floor: -50, ceil: 50 },
  },
});

const contribution: fc.Arbitrary<Contribution> = fc
  .record({
    model: fc.constantFrom('a', 'b', 'a-'),
    // Ties, pane borders and the far ends of every window.
    agoMs: fc.oneof(
      fc.nat(2 * HOUR_MS),
      fc.nat(200).map((step) => step * HOUR_MS),
      fc.constant(0),
    ),
    sampleSize: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 2 ** 20 })),
    metrics: fc.record(
      {
        accuracy: fc.double({ min: 0, max: 1, noNaN: true }),
        ms: fc.double({ min: -10, max: 1e6, noNaN: true }),
        drift: fc.oneof(fc.constant(0), fc.constant(-0), fc.double({ min: -1e4, max: 1e4, noNaN: true })),
      },
      { requiredKeys: [] },
    ),
  })
  .map(({ model, agoMs, sampleSize, metrics }) => {
    const names = { reportId: 'r', producer: 'p', model, suite: suite.name, document: {} };
    // A record with optional keys never holds undefined.
    const report: EvalReport = {
      ...names,
      observedAtMs: AT - agoMs,
      sampleSize,
      metrics: metrics as Record<string, number>,
    };
    const made = contribute(suite, report);
    if (isContributionFault(made)) throw new Error('the report must be acceptable');
    return made;
  });

/** Reports, the order in which others read them, the shard and the batch that each falls into, and the order in which shards merge. */
const readings = fc.array(fc.record({ one: contribution, key: fc.nat(), shard: fc.nat(6), cut: fc.boolean() }), {
  maxLength: 40,
});
type Readings = readonly {
  readonly one: Contribution;
  readonly key: number;
  readonly shard: number;
  readonly cut: boolean;
}[];

/** Shards in an order of their own, each a list of batches in another order than the reports came. */
function shardsOf(given: Readings): readonly (readonly (readonly Contribution[])[])[] {
  const shuffled = given.toSorted((a, b) => a.key - b.key);
  const shards = new Map<number, Contribution[][]>();
  for (const { one, shard, cut } of shuffled) {
    const batches = shards.get(shard) ?? [];
    if (cut || batches.length === 0) batches.push([]);
    batches.at(-1)!.push(one);
    shards.set(shard, batches);
  }
  return Array.from(shards.values());
}

function tableOf(contributions: readonly Contribution[]): PaneTable {
  const table = new PaneTable(suite.hash);
  for (const one of contributions) table.add(one);
  return table;
}

describe('panes', () => {
  test('and every score, rank and checksum from them are the same in any order, sharding and batching, merged in any order', () => {
    fc.assert(
      fc.property(readings, (given) => {
        const whole = tableOf(given.map(({ one }) => one)).rows();
        const merged = new PaneTable(suite.hash);
        for (const batches of shardsOf(given)) {
          const stored = new PaneTable(suite.hash);
          for (const batch of batches) for (const pane of tableOf(batch).rows()) stored.merge(pane);
          for (const pane of stored.rows().toReversed()) merged.merge(pane);
        }
        expect(merged.rows()).toEqual(whole);
        const publish = (panes: typeof whole) =>
          scoreModels({ suite, atMs: AT, models: windowSumsFromPanes(suite, AT, panes) });
        const published = publish(whole.toReversed());
        expect(publish(merged.rows())).toEqual(published);
        const rows = published.flatMap((model) => checksumRows(suite, AT, model));
        expect(checksumOf(rows.toReversed())).toBe(checksumOf(rows));
      }),
    );
  });

  test('of each resolution hold every report once', () => {
    fc.assert(
      fc.property(fc.array(contribution, { maxLength: 20 }), (given) => {
        const rows = tableOf(given).rows();
        for (const resolution of ['1m', '15m', '1h'] as const) {
          const mine = rows.filter((pane) => pane.resolution === resolution && pane.metric === '');
          expect(mine.reduce((n, pane) => n + pane.sums.n, 0)).toBe(given.length);
          expect(mine.reduce((w, pane) => w + pane.sums.weight, 0n)).toBe(given.reduce((w, one) => w + one.w, 0n));
        }
      }),
    );
  });
});

describe('the sketch', () => {
  test('of merged shards gives every quantile within 1 % of the exact one, and one unit of q', () => {
    fc.assert(
      fc.property(readings, fc.double({ min: 0.001, max: 0.999, noNaN: true }), (given, p) => {
        const values = given.flatMap(({ one }) =>
          one.metrics.filter(({ rule }) => rule.name === 'ms').map(({ q }) => q),
        );
        if (values.length === 0) return;
        const merged = new PaneTable(suite.hash);
        for (const batches of shardsOf(given))
          for (const batch of batches) for (const pane of tableOf(batch.map(inOnePane)).rows()) merged.merge(pane);
        const sums: Sums = merged.rows().find((pane) => pane.metric === 'ms' && pane.resolution === '1h')!.sums;
        const exact = values.toSorted((a, b) => a - b)[keepRank(Math.ceil(values.length * p), values.length) - 1]!;
        const value = valueAtRank(sums.buckets, quantileRank(values.length, p), 1, sums.min, sums.max);
        expect(Math.abs(value - exact)).toBeLessThanOrEqual(0.01 * Math.abs(exact) + 1);
        expect([sums.min, sums.max]).toEqual([Math.min(...values), Math.max(...values)]);
      }),
    );
  });
});

function inOnePane(one: Contribution): Contribution {
  return { ...one, model: 'm', observedAtMs: AT };
}

/** Evidence by (model, metric, tick), as rows of a watch that counts everything. */
function evidenceRows(contributions: readonly Contribution[]): ReadonlyMap<string, EvidenceSums> {
  const rows = new Map<string, EvidenceSums>();
  for (const one of contributions) {
    for (const { metric, sums } of evidenceOf(one)) {
      const key = `${one.model} ${metric} ${tickAfter(one.observedAtMs, suite.tickMs)}`;
      rows.set(key, addEvidence(rows.get(key) ?? NO_EVIDENCE, sums));
    }
  }
  return rows;
}

const byKey = (rows: ReadonlyMap<string, EvidenceSums>) => Object.fromEntries(Array.from(rows).sort());

describe('evidence', () => {
  test('is the same in any order, sharding and batching, and a part of it can be taken away again', () => {
    fc.assert(
      fc.property(readings, (given) => {
        const whole = evidenceRows(given.map(({ one }) => one));
        const merged = new Map<string, EvidenceSums>();
        const shards = shardsOf(given).flat();
        for (const batch of shards)
          for (const [key, sums] of evidenceRows(batch))
            merged.set(key, addEvidence(merged.get(key) ?? NO_EVIDENCE, sums));
        expect(byKey(merged)).toEqual(byKey(whole));
        const [first = [], ...rest] = shards;
        const part = evidenceRows(first);
        const others = evidenceRows(rest.flat());
        for (const [key, sums] of part)
          expect(withoutEvidence(merged.get(key)!, sums)).toEqual(others.get(key) ?? NO_EVIDENCE);
      }),
    );
  });

  test('of a report stays within 0 and 10^12 a unit of weight, whatever its value', () => {
    fc.assert(
      fc.property(contribution, (one) => {
        for (const { sums } of evidenceOf(one)) {
          expect(sums.weight).toBe(one.w);
          expect(sums.sumWs >= 0n && sums.sumWs <= one.w * 10n ** 12n).toBe(true);
          expect(sums.sumWs2 * one.w).toBe(sums.sumWs * sums.sumWs);
        }
      }),
    );
  });
});

describe('the edge', () => {
  test('ends as the reports at or ahead of the last watermark, in any order and batching', () => {
    fc.assert(
      fc.property(readings, fc.nat(3 * HOUR_MS), (given, behindMs) => {
        let watermarkMs = Number.NEGATIVE_INFINITY;
        let edge = new Edge();
        for (const batch of shardsOf(given).flat()) {
          for (const one of batch) {
            // As with several partitions: the watermark follows the newest report from some distance.
            watermarkMs = Math.max(watermarkMs, one.observedAtMs - behindMs);
            edge.take(one, watermarkMs);
          }
          edge = new Edge(edge.entries());
        }
        const expected = new Edge();
        for (const { one } of given) if (one.observedAtMs >= watermarkMs) expected.take(one, null);
        expect(edge.entries()).toEqual(expected.entries());
        expect(edge.seed(['a', 'b'], suite.tickMs)).toEqual(expected.seed(['b', 'a'], suite.tickMs));
      }),
    );
  });
});

describe('inputDigest', () => {
  test('is the same in any order of shards and reports, and tells a missing, doubled or changed one', () => {
    const digests = fc.array(fc.tuple(fc.nat(500), fc.nat()), { minLength: 2, maxLength: 40 });
    fc.assert(
      fc.property(digests, (given) => {
        const sha256 = ([value]: readonly [number, number]) => createHash('sha256').update(String(value)).digest();
        const whole = given.map(sha256);
        const digest = inputDigestOf(whole);
        expect(inputDigestOf(given.toSorted((a, b) => a[1] - b[1]).map(sha256))).toBe(digest);
        expect(inputDigestOf(whole.slice(1))).not.toBe(digest);
        expect(inputDigestOf([...whole, whole[0]!])).not.toBe(digest);
        expect(inputDigestOf([...whole.slice(1), sha256([501, 0])])).not.toBe(digest);
      }),
    );
  });
});
