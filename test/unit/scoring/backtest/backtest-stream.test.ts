import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSuite, type Suite } from '../../../../core/suite.ts';
import { backtestStream, type SidedNotice } from '../../../../scoring/backtest/backtest-stream.ts';
import { tickAfter } from '../../../../scoring/rules/evidence.ts';
import {
  backtestOf,
  type ContestReport,
  checksumByPanes,
  chunksOf,
  contestReports,
  contestSuite,
} from '../../../support/backtest-cases.ts';
import { type ReportFields, reportLine, seededRandom, smallSuite } from '../../../support/scoring-reports.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const EPOCH_MS = Date.parse('2026-01-05T09:00:00Z');
const observed = ({ observedAt }: { readonly observedAt: string }) => Date.parse(observedAt);

/** Each report once, none too late for anything. */
const reports = contestReports(1).filter(
  (one, i, all) =>
    all.findIndex(({ reportId }) => reportId === one.reportId) === i && observed(one) > EPOCH_MS - DAY_MS,
);
const whole = await backtestOf(contestSuite, reports);

function changed(document: object): Suite {
  return parseSuite({ ...contestSuite.document, ...document });
}

function withRule(promotion: object): Suite {
  return changed({ promotion: { ...(contestSuite.document.promotion as object), ...promotion } });
}

function shuffled<T>(list: readonly T[], next: () => number): T[] {
  const keyed = list.map((one) => ({ one, key: next() }));
  return keyed.sort((a, b) => a.key - b.key).map(({ one }) => one);
}

/** Reports between two that make ticks final; the first of each made one final. */
function blocksOf(given: readonly ContestReport[]): ContestReport[][] {
  const blocks: ContestReport[][] = [];
  let nextTickMs = Number.NEGATIVE_INFINITY;
  for (const report of given) {
    if (observed(report) >= nextTickMs) {
      blocks.push([]);
      nextTickMs = tickAfter(observed(report), contestSuite.tickMs);
    }
    blocks.at(-1)!.push(report);
  }
  return blocks;
}

describe('a backtest', () => {
  test('gives one result whatever the files and chunks, and with whatever is spilled to disk', async () => {
    const lines = reports.slice(0, 250).map((report) => JSON.stringify(report));
    const run = (texts: readonly string[], chunkBytes: number) =>
      backtestStream({
        suite: contestSuite,
        against: null,
        incumbent: null,
        fromMs: null,
        untilMs: null,
        sources: texts.map((text) => chunksOf(text, chunkBytes)),
        onChunk: async () => {},
        maxDigestsInMemory: 100,
        maxRowBytesInMemory: 10_000,
      });
    const expected = await backtestOf(contestSuite, reports.slice(0, 250), { chunkBytes: 2 ** 20 });
    expect(expected.decisions).toHaveLength(2);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 7, max: 9000 }), fc.integer({ min: 1, max: 4 }), async (chunkBytes, files) => {
        const size = Math.ceil(lines.length / files);
        const texts = Array.from({ length: files }, (_, i) => lines.slice(i * size, (i + 1) * size).join('\n'));
        expect(await run(texts, chunkBytes)).toEqual(expected);
      }),
      { numRuns: 5 },
    );
  });

  test('gives the scores that the pure rules give over all panes, whatever the order of the reports', async () => {
    const expected = checksumByPanes(contestSuite, reports);
    expect(whole.checksum).toBe(expected);
    const mixed = await backtestOf(contestSuite, shuffled(reports, seededRandom(1)));
    expect([mixed.checksum, mixed.inputDigest, mixed.accepted]).toEqual([expected, whole.inputDigest, whole.accepted]);
  });

  test('decides the same however reports are mixed between two that make ticks final, once their models are known', async () => {
    const known = new Set<string>();
    const next = seededRandom(5);
    const mixed = blocksOf(reports).flatMap((block) => {
      const [first, ...rest] = block;
      const isNews = block.some(({ model }) => !known.has(model));
      for (const { model } of block) known.add(model);
      return isNews ? block : [first!, ...shuffled(rest, next)];
    });
    expect(mixed).not.toEqual(reports);
    const { decisions, checksum } = await backtestOf(contestSuite, mixed);
    expect({ decisions, checksum }).toEqual({ decisions: whole.decisions, checksum: whole.checksum });
  });

  test('keeps for weeks what late data needs, and no more: sparse reports up to 7 days late', async () => {
    const suite = smallSuite({ tick: '2h', minN: 2, promotion: { promoteAbove: 0.3, demoteBelow: 0.2 } });
    const next = seededRandom(2);
    let watermarkMs = EPOCH_MS;
    const sparse = Array.from({ length: 200 }, (_, i): ReportFields => {
      const atMs =
        next() < 0.3 ? watermarkMs - Math.floor(next() * 7 * DAY_MS) : watermarkMs + Math.floor(next() * 10 * HOUR_MS);
      watermarkMs = Math.max(watermarkMs, atMs);
      const metrics = { accuracy: next() };
      return { reportId: `r${i}`, model: `m${i % 4}`, observedAt: new Date(atMs).toISOString(), metrics };
    });
    const lines = sparse.map((fields) => JSON.parse(reportLine(fields)) as ReportFields);
    const result = await backtestOf(suite, lines, { chunkBytes: 300, maxPanes: 1000 });
    expect(result.checksum).toBe(checksumByPanes(suite, lines));
    expect(watermarkMs - EPOCH_MS).toBeGreaterThan(25 * DAY_MS);
    expect(result.late).toBeGreaterThan(30);
  });

  test('skips a gap of a thousand years, and stands the ends of the calendar', async () => {
    const suite = smallSuite({ tick: '1d', windows: { '7d': 1 }, minN: 1 });
    const at = [
      '0000-01-01T00:00:00+23:59',
      '0003-05-05T05:05:00Z',
      '2026-01-01T00:00:00Z',
      '9999-12-31T23:59:59-23:59',
    ];
    const lines = at.map((observedAt, i) =>
      JSON.parse(reportLine({ reportId: `r${i}`, observedAt, metrics: { accuracy: 1 } })),
    );
    const result = await backtestOf(suite, lines, { maxRowBytesInMemory: 1 });
    // The last report is in no final tick.
    expect(result).toMatchObject({ accepted: 4, ticks: 21, late: 0 });
    const around = [...at, '9999-12-28T00:00:00Z', '9999-12-31T23:59:59-23:58'].slice(-3);
    const late = around.map((observedAt, i) =>
      JSON.parse(reportLine({ reportId: `l${i}`, observedAt, metrics: { accuracy: 0.5 } })),
    );
    expect((await backtestOf(smallSuite({ minN: 1 }), late)).checksum).toBe(
      checksumByPanes(smallSuite({ minN: 1 }), late),
    );
  });
});

describe('what was decided', () => {
  test('up to an instant is what the whole archive decides up to it', async () => {
    for (const tick of [0, 2, 5].map((i) => whole.decisions[i]!.tick)) {
      const untilMs = Date.parse(tick);
      const cut = await backtestOf(contestSuite, reports, { untilMs });
      const untilThen = whole.decisions
        .filter((decision) => decision.tick <= tick)
        .map(({ review: _, ...rest }) => rest);
      expect(cut.decisions.map(({ review: _, ...rest }) => rest)).toEqual(untilThen);
      expect(cut.lastTick).toBe(tick);
      expect(cut.outside).toBe(reports.filter((report) => observed(report) >= untilMs).length);
    }
  });

  test('from an instant on is what an archive decides that begins there', async () => {
    const fromMs = EPOCH_MS + HOUR_MS;
    const begun = await backtestOf(
      contestSuite,
      reports.filter((report) => observed(report) >= fromMs),
    );
    const { decisions, checksum, replayed } = await backtestOf(contestSuite, reports, { fromMs });
    expect({ decisions, checksum, replayed }).toEqual({
      decisions: begun.decisions,
      checksum: begun.checksum,
      replayed: begun.accepted,
    });
    expect(begun.decisions).not.toEqual(whole.decisions);
  });

  test('says so where late data put a tick it rests on to the other side of the threshold', () => {
    const [first, ...others] = whole.decisions;
    expect(first).toMatchObject({ action: 'promote', model: 'a', review: [{ threshold: 0.6 }] });
    expect(first!.review!.every(({ was, is }) => was >= 0.6 && (is ?? 0) < 0.6)).toBe(true);
    expect(others.map(({ review }) => review)).toEqual(others.map(() => undefined));
  });

  test('is nothing by a suite without promotion rules, whose scores are there all the same', async () => {
    const { promotion: _, ...document } = contestSuite.document;
    const result = await backtestOf(parseSuite(document), reports);
    expect(result).toMatchObject({ decisions: [], incumbent: null, ticks: whole.ticks });
    expect(result.checksum).not.toBe(whole.checksum);
  });

  test('leaves out what is more than 7 days late, another suite’s, or of a model whose future came by mistake', async () => {
    const others = reports.slice(0, 50).map((one) => ({ ...one, reportId: `other-${one.reportId}`, suite: 'other' }));
    const mistake = { ...reports[60]!, observedAt: '2027-01-01T00:00:00Z' };
    const result = await backtestOf(contestSuite, [
      ...reports.slice(0, 50),
      mistake,
      ...others,
      ...reports.slice(70, 80),
    ]);
    expect(result).toMatchObject({ accepted: 111, replayed: 51, lateArchived: 10 });
  });
});

describe('against another suite', () => {
  test('the same one there is no difference, and none of its lines is told twice', async () => {
    const notices: SidedNotice[] = [];
    const bad = { ...reports[0]!, reportId: 'bad', metrics: { accuracy: 2 } };
    const onChunk = async (told: readonly SidedNotice[]) => void notices.push(...told);
    const result = await backtestOf(contestSuite, [...reports, bad], { against: changed({}), onChunk });
    expect(result.diff).toEqual([]);
    expect(result.against).toMatchObject({ checksum: whole.checksum, decisions: whole.decisions, quarantined: 1 });
    expect(notices).toEqual([
      { line: reports.length + 1, reason: expect.stringMatching(/^valid: metrics.accuracy/) as string },
    ]);
  });

  test('a stricter rule decides later, or not at all, over the same reports', async () => {
    const against = withRule({ promoteAbove: 0.66, promoteTicks: 4 });
    const result = await backtestOf(contestSuite, reports, { against });
    const alone = await backtestOf(against, reports);
    expect(result.against).toEqual({ ...alone, diff: undefined });
    expect(result.against?.inputDigest).toBe(result.inputDigest);
    const decisions = result.diff.filter(({ kind }) => kind !== 'score');
    expect(decisions).toMatchObject([
      { kind: 'other_tick', model: 'a', action: 'promote', a: whole.decisions[0]!.tick },
      { kind: 'other_tick', model: 'c', action: 'promote' },
      { kind: 'other_tick', model: 'c', action: 'demote' },
      { kind: 'only_a', model: 'b', action: 'promote' },
      { kind: 'only_a', model: 'b', action: 'demote' },
      { kind: 'other_tick', model: 'd', action: 'promote', a: whole.decisions.at(-1)!.tick },
    ]);
    expect(result.diff.filter(({ kind }) => kind === 'score')).toEqual([]);
  });

  test('other metrics and ticks give other scores at the last tick of both, and lines that only one of them refuses', async () => {
    const notices: SidedNotice[] = [];
    const metrics = { accuracy: { direction: 'higher', floor: 0.5, ceil: 1, valid: [0, 0.99], required: true } };
    const against = changed({ metrics, tick: '15m' });
    const onChunk = async (told: readonly SidedNotice[]) => void notices.push(...told);
    const result = await backtestOf(contestSuite, reports, { against, onChunk });
    const refused = reports.filter((report) => report.metrics.accuracy! > 0.99).length;
    expect(notices.map(({ by }) => by)).toEqual(Array(refused).fill('against'));
    expect(refused).toBeGreaterThan(3);
    expect(result.against?.quarantined).toBe(refused);
    const scores = result.diff.filter((one) => one.kind === 'score');
    const tick = '2026-01-06T01:15:00.000Z';
    expect(scores.map((one) => [one.tick, one.model]).sort()).toEqual(
      ['a', 'b', 'c', 'd'].map((model) => [tick, model]),
    );
    const alone = await backtestOf(against, reports, { against: contestSuite });
    expect(alone.diff.find((one) => one.kind === 'score')).toMatchObject({ tick });
    expect(scores.every(({ a, b }) => a !== null && b !== null && a.composite !== b.composite)).toBe(true);
  });
});

describe('a backtest ends', () => {
  test('with the reason of an abort, between chunks and while it settles', async () => {
    const signal = AbortSignal.abort(new Error('stopped'));
    await expect(backtestOf(contestSuite, reports, { signal })).rejects.toThrow('stopped');
    const stop = new AbortController();
    const onChunk = async (_: readonly SidedNotice[], __: number, lines: number) => {
      if (lines >= reports.length) stop.abort(new Error('stopped late'));
    };
    await expect(backtestOf(contestSuite, reports, { signal: stop.signal, onChunk })).rejects.toThrow('stopped late');
  });

  test('where it would keep more panes than its limit, with the mend', async () => {
    await expect(backtestOf(contestSuite, reports, { maxPanes: 500 })).rejects.toMatchObject({
      code: 'capacity',
      mend: expect.stringContaining('--from') as string,
    });
  });

  test('without a report in an empty result', async () => {
    const result = await backtestOf(contestSuite, [], { against: changed({ minN: 6 }) });
    expect(result).toMatchObject({ accepted: 0, lastTick: null, incumbent: null, decisions: [], diff: [] });
  });
});
