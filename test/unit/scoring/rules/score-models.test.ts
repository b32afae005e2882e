import { describe, expect, test } from 'vitest';
import type { Suite } from '../../../../core/suite.ts';
import { parseSuite } from '../../../../core/suite.ts';
import { oracle } from '../../../../scoring/rules/oracle.ts';
import type { PublishedModel, PublishedWindow } from '../../../../scoring/rules/published.ts';
import { publishedInteger } from '../../../../scoring/rules/published.ts';
import { scoreMetric } from '../../../../scoring/rules/score-metric.ts';
import { scoreModels } from '../../../../scoring/rules/score-models.ts';
import { windowSumsFromPanes } from '../../../../scoring/rules/window-sums.ts';
import { bytesOf, type ReportFields, reportLine, smallSuite } from '../../../support/scoring-reports.ts';

const AT = Date.UTC(2026, 10, 23, 12);

let serial = 0;
function report(fields: Partial<ReportFields> & { readonly metrics: ReportFields['metrics'] }): ReportFields {
  return { reportId: `r${serial++}`, observedAt: '2026-11-23T11:30:00Z', ...fields };
}

function boardOf(suite: Suite, reports: readonly ReportFields[], atMs = AT): readonly PublishedModel[] {
  const lines = reports.map((one) => reportLine({ suite: suite.name, ...one })).join('\n');
  const { panes, counts } = oracle([suite], [bytesOf(lines)]);
  expect(counts.accepted).toBe(reports.length);
  return scoreModels({ suite, atMs, models: windowSumsFromPanes(suite, atMs, panes) });
}

function repeat(count: number, make: (i: number) => ReportFields): readonly ReportFields[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

const plain = { shrinkage: { kappa: 0, prior: 0.5 }, minN: 1 };

describe('scores of a window', () => {
  test('a lower-is-better metric scores high where it is low, and its interval ends swap', () => {
    const suite = smallSuite({ ...plain, metrics: { ms: { direction: 'lower', floor: 1000, ceil: 0, scale: 0 } } });
    const [model] = boardOf(
      suite,
      repeat(40, (i) => report({ metrics: { ms: 200 + (i % 5) } })),
    );
    const metric = model?.windows['1h']?.metrics.ms;
    expect(metric?.mean).toBe(202);
    expect(metric?.score).toBe(0.798);
    expect(metric?.lower).toBeLessThan(0.798);
    expect(metric?.upper).toBeGreaterThan(0.798);
  });

  test('shrinkage pulls towards the prior by κ imaginary reports', () => {
    const suite = smallSuite({ minN: 1 });
    const [model] = boardOf(
      suite,
      repeat(20, () => report({ metrics: { accuracy: 1 } })),
    );
    expect(model?.windows['1h']?.metrics.accuracy?.score).toBe((20 * 1 + 20 * 0.5) / 40);
  });

  test('one report has an interval from the shrunk 0 to the shrunk 1, and no variance', () => {
    const suite = smallSuite({ minN: 1 });
    const [model] = boardOf(suite, [report({ metrics: { accuracy: 0.9 } })]);
    expect(model?.windows['1h']?.metrics.accuracy).toMatchObject({
      n: 1,
      mean: 0.9,
      variance: null,
      lower: (1 * 0 + 10) / 21,
      upper: (1 * 1 + 10) / 21,
    });
  });

  test('anchors clamp what lies beyond them', () => {
    const suite = smallSuite({ ...plain, metrics: { a: { direction: 'higher', floor: 0, ceil: 1 } } });
    const [above] = boardOf(
      suite,
      repeat(2, () => report({ metrics: { a: 7 } })),
    );
    const [below] = boardOf(
      suite,
      repeat(2, () => report({ metrics: { a: -7 } })),
    );
    expect([above?.composite, below?.composite]).toEqual([1, 0]);
  });

  test.each([
    ['MAD', { median: 10, mad: 2, meanAd: 100 }, (12 - 10) / (1.4826 * 2)],
    ['mean deviation where MAD is 0', { median: 10, mad: 0, meanAd: 4 }, (12 - 10) / (1.2533 * 4)],
    ['nothing where both are 0', { median: 10, mad: 0, meanAd: 0 }, 0],
    ['a clip at 6', { median: 0, mad: 0.1, meanAd: 1 }, 6],
  ])('the cohort’s robust z uses %s', (_name, entry, z) => {
    const cohort = { version: 1, metrics: { a: entry } };
    for (const [direction, sign] of [
      ['higher', 1],
      ['lower', -1],
    ] as const) {
      const suite = smallSuite({ ...plain, cohort, metrics: { a: { direction } } });
      const [model] = boardOf(
        suite,
        repeat(2, () => report({ metrics: { a: 12 } })),
      );
      const signed = sign * z;
      expect(model?.composite).toBe(0.5 * (1 + signed / (1 + Math.abs(signed))));
    }
  });

  test('fewer than minN reports are null, never 0, while their statistics still show', () => {
    const [model] = boardOf(
      smallSuite(),
      repeat(29, () => report({ metrics: { accuracy: 0.5 } })),
    );
    const metric = model?.windows['1h']?.metrics.accuracy;
    expect([metric?.n, metric?.mean, metric?.score, metric?.lower, metric?.upper]).toEqual([29, 0.5, null, null, null]);
    expect([model?.status, model?.composite, model?.rank]).toEqual(['insufficient', null, null]);
  });

  test('less than minWeight is null as well', () => {
    const reports = repeat(30, () => report({ sampleSize: 2, metrics: { accuracy: 0.5 } }));
    expect(boardOf(smallSuite({ minWeight: 60 }), reports)[0]?.status).toBe('ranked');
    expect(boardOf(smallSuite({ minWeight: 61 }), reports)[0]?.status).toBe('insufficient');
  });

  const two = {
    must: { direction: 'higher', floor: 0, ceil: 1, required: true },
    may: { direction: 'higher', floor: 0, ceil: 1, weight: 3 },
  };

  test('an optional metric that is missing drops out, the others’ weights count alone, and it is listed', () => {
    const suite = smallSuite({ ...plain, metrics: two });
    const [with1] = boardOf(
      suite,
      repeat(3, () => report({ metrics: { must: 0.8, may: 0.4 } })),
    );
    const [without1] = boardOf(
      suite,
      repeat(3, () => report({ metrics: { must: 0.8 } })),
    );
    expect(with1?.windows['1h']?.score).toBeCloseTo((3 * 0.4 + 0.8) / 4, 14);
    expect(with1?.windows['1h']?.missing).toEqual([]);
    expect(without1?.windows['1h']?.score).toBeCloseTo(0.8, 14);
    expect(without1?.windows['1h']?.missing).toEqual(['may']);
    expect(without1?.windows['1h']?.metrics.may).toMatchObject({ n: 0, weight: 0, mean: null, score: null });
  });

  test('a required metric that is missing makes its window null', () => {
    const suite = smallSuite({ ...plain, metrics: two });
    const [model] = boardOf(
      suite,
      repeat(3, () => report({ metrics: { may: 0.4 } })),
    );
    expect([model?.windows['1h']?.score, model?.status]).toEqual([null, 'missing_required']);
  });

  test('a model whose older reports carry the required metric does not lack it, but has too few of it', () => {
    const suite = smallSuite({ ...plain, minN: 5, metrics: two });
    const fresh = repeat(3, () => report({ metrics: { may: 0.4 } }));
    const older = report({ observedAt: '2026-11-20T00:00:00Z', metrics: { must: 0.4, may: 0.4 } });
    expect(boardOf(suite, fresh)[0]?.status).toBe('missing_required');
    expect(boardOf(suite, [...fresh, older])[0]?.status).toBe('insufficient');
  });

  test('a window counts reports of any metric, unknown ones included', () => {
    const reports = [
      report({ sampleSize: 5, metrics: { accuracy: 0.5 } }),
      report({ sampleSize: 7, metrics: { unheard_of: 1e300 } }),
    ];
    const window = boardOf(smallSuite(), reports)[0]?.windows['1h'];
    expect([window?.n, window?.weight, window?.metrics.accuracy?.n]).toEqual([2, 12, 1]);
  });

  test('a weight past 2^32 makes the metric null with its reason, at 2^32 it does not', () => {
    const suite = smallSuite(plain);
    const rule = suite.metrics[0]!;
    const sums = { n: 4096, weight: 2n ** 32n, sumWq: 0n, sumWq2: 0n, min: 0, max: 0, buckets: [[0, 4096]] } as const;
    expect(scoreMetric(suite, rule, sums)).toMatchObject({ score: 0, mean: 0 });
    expect(scoreMetric(suite, rule, { ...sums, weight: 2n ** 32n + 1n })).toEqual({
      n: 4096,
      weight: 4294967297,
      mean: null,
      variance: null,
      min: null,
      max: null,
      p50: null,
      p95: null,
      score: null,
      lower: null,
      upper: null,
      reason: 'range',
    });
  });

  test('a binary metric is a rate over all trials with Wilson’s interval', () => {
    const suite = smallSuite({
      ...plain,
      metrics: { solved: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1 } },
    });
    const [model] = boardOf(suite, [
      report({ sampleSize: 6, metrics: { solved: 0.5 } }),
      report({ sampleSize: 4, metrics: { solved: 1 } }),
    ]);
    const metric = model?.windows['1h']?.metrics.solved;
    expect(metric?.mean).toBe(0.7);
    // Newcombe (1998), method 3, 7 of 10.
    expect(metric?.lower).toBeCloseTo(0.3967781, 7);
    expect(metric?.upper).toBeCloseTo(0.8922087, 7);
  });
});

describe('composites', () => {
  test('weigh the windows that have a score, renormalised', () => {
    const suite = smallSuite(plain);
    const fresh = repeat(2, () => report({ metrics: { accuracy: 0.9 } }));
    const old = repeat(2, () => report({ observedAt: '2026-11-20T00:00:00Z', metrics: { accuracy: 0.3 } }));
    const [both] = boardOf(suite, [...fresh, ...old]);
    const [onlyOld] = boardOf(suite, old);
    const week = (0.9 + 0.9 + 0.3 + 0.3) / 4;
    expect(both?.composite).toBeCloseTo(0.5 * 0.9 + 0.3 * 0.9 + 0.2 * week, 12);
    expect(onlyOld?.composite).toBe(0.3);
    expect(onlyOld?.windows['1h']).toMatchObject({ n: 0, score: null });
  });

  test('a model whose reports lie outside every window has no_data and keeps its row', () => {
    const suite = smallSuite();
    const old = [report({ observedAt: '2026-01-01T00:00:00Z', metrics: { accuracy: 0.3 } })];
    expect(boardOf(suite, old)).toEqual([]);
    const row = scoreModels({ suite, atMs: AT, models: [{ model: 'm', windows: new Map() }] })[0];
    expect([row?.status, row?.rank, Object.keys(row?.windows ?? {})]).toEqual(['no_data', null, ['1h', '24h', '7d']]);
  });

  test('a report at T is in no window and one a millisecond before is in the shortest', () => {
    const suite = smallSuite(plain);
    const [late] = boardOf(suite, [report({ observedAt: '2026-11-23T11:59:59.999Z', metrics: { accuracy: 1 } })]);
    expect(late?.windows['1h']?.n).toBe(1);
    expect(boardOf(suite, [report({ observedAt: '2026-11-23T12:00:00Z', metrics: { accuracy: 1 } })])).toEqual([]);
  });
});

describe('ranks', () => {
  const suite: Suite = parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: 'small',
    windows: { '1h': 1 },
    ...plain,
    metrics: { a: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1 } },
  });
  const model = (name: string, rate: number, trials: number) =>
    report({ model: name, sampleSize: trials, metrics: { a: rate } });

  test('overlapping intervals share a rank, and rows come by composite and then by name', () => {
    const board = boardOf(suite, [
      model('weak', 0.1, 1000),
      model('b', 0.8, 1000),
      model('a', 0.8, 1000),
      model('close', 0.79, 1000),
      report({ model: 'none', observedAt: '2026-11-23T11:00:00Z', metrics: { unheard_of: 1 } }),
    ]);
    expect(board.map((row) => [row.model, row.rank])).toEqual([
      ['a', 1],
      ['b', 1],
      ['close', 1],
      ['weak', 4],
      ['none', null],
    ]);
  });

  test('names are ordered by code point, capitals first', () => {
    const board = boardOf(
      suite,
      ['b', 'B', 'a-1', 'a', 'a.1', 'a1'].map((name) => model(name, 0.5, 10)),
    );
    expect(board.map((row) => row.model)).toEqual(['B', 'a', 'a-1', 'a.1', 'a1', 'b']);
  });
});

describe('published integers', () => {
  test('are strings above 2^53 only', () => {
    expect(publishedInteger(2n ** 53n)).toBe(2 ** 53);
    expect(publishedInteger(2n ** 53n + 1n)).toBe('9007199254740993');
  });

  test('every window of the suite is shown with its bounds, in order', () => {
    const windows = Object.entries(boardOf(smallSuite(), [report({ metrics: { accuracy: 1 } })])[0]?.windows ?? {});
    expect(windows.map(([name, window]: [string, PublishedWindow]) => [name, window.start, window.end])).toEqual([
      ['1h', '2026-11-23T11:00:00.000Z', '2026-11-23T12:00:00.000Z'],
      ['24h', '2026-11-22T12:00:00.000Z', '2026-11-23T12:00:00.000Z'],
      ['7d', '2026-11-16T12:00:00.000Z', '2026-11-23T12:00:00.000Z'],
    ]);
  });
});
