import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { liveInstant, liveWindows, withReport } from '../../../../scoring/rules/live.ts';
import { PaneTable } from '../../../../scoring/rules/pane-table.ts';
import { rankAmong, rankModels } from '../../../../scoring/rules/rank.ts';
import { scoreModel, scoreModels } from '../../../../scoring/rules/score-models.ts';
import { windowSumsFromPanes } from '../../../../scoring/rules/window-sums.ts';
import { liveWindowAt, windowAt, windowSpec } from '../../../../scoring/rules/windows.ts';
import { contributionOf, DAY_MS, HOUR_MS, liveSums, NOW, past, suite } from '../../../support/live-sums.ts';

describe('a live window', () => {
  test('is the one that T falls into: it ends at the next multiple of its step, also where T is a multiple', () => {
    for (const name of ['1h', '24h', '7d'] as const) {
      const spec = windowSpec(name);
      const end = liveWindowAt(spec, NOW).endMs;
      expect(end).toBe(Math.ceil(NOW / spec.stepMs) * spec.stepMs);
      expect(liveWindowAt(spec, end)).toEqual(windowAt(spec, end + spec.stepMs));
      expect(liveWindowAt(spec, end - 1)).toEqual(windowAt(spec, end));
    }
  });

  test('with one report more is what the panes give once that report is in them', () => {
    fc.assert(
      fc.property(fc.array(past, { maxLength: 30 }), past, fc.boolean(), (before, one, ahead) => {
        const reports = before.map(({ agoMs, value, w }) => contributionOf(NOW - agoMs, value, w));
        const extra = contributionOf(ahead ? NOW + (one.agoMs % HOUR_MS) : NOW - one.agoMs, one.value, one.w);
        const atMs = liveInstant(NOW, extra.observedAtMs);
        const { sums, counted } = withReport(suite, NOW, liveSums(reports, atMs), extra);
        const late = NOW - extra.observedAtMs > 7 * DAY_MS;
        const truth = liveSums(late ? reports : [...reports, extra], atMs);
        expect(sums.windows).toEqual(truth.windows);
        const holding = liveWindows(suite, atMs).filter(({ bounds }) => bounds.startMs <= extra.observedAtMs);
        expect(counted).toEqual(late ? [] : holding.map(({ name }) => name));
      }),
      { numRuns: 60 },
    );
  });

  test('scored on the hour is, to the bit, the model that the tick at that hour publishes', () => {
    const reports = Array.from({ length: 50 }, (_, i) => contributionOf(NOW - i * HOUR_MS, (i * 0.37) % 1, 1 + i));
    const tick = Math.ceil(NOW / HOUR_MS) * HOUR_MS;
    const panes = new PaneTable(suite.hash);
    for (const one of reports) panes.add(one);
    const [published] = scoreModels({ suite, atMs: tick, models: windowSumsFromPanes(suite, tick, panes.rows()) });
    // The last minute of the hour: all windows end with it.
    const atMs = tick - 1;
    expect(scoreModel(suite, atMs, liveSums(reports, atMs), liveWindowAt)).toEqual({ ...published, rank: null });
  });

  test('leaves the sums it was given as they were', () => {
    const reports = [contributionOf(NOW - 5, 0.25), contributionOf(NOW - 9, 0.75)];
    const sums = liveSums(reports, NOW);
    withReport(suite, NOW, sums, contributionOf(NOW, 0.5));
    expect(sums).toEqual(liveSums(reports, NOW));
  });
});

test('before the first report of a suite T is the report’s own time', () => {
  expect([liveInstant(null, 5), liveInstant(9, 5), liveInstant(5, 9)]).toEqual([5, 9, 9]);
});

test('the rank among a published board is the one that the whole board would give', () => {
  const end = fc.double({ min: 0, max: 1, noNaN: true });
  const interval = fc.tuple(end, end).map(([a, b]) => ({ lower: Math.min(a, b), upper: Math.max(a, b) }));
  fc.assert(
    fc.property(fc.array(interval, { minLength: 1, maxLength: 20 }), interval, (board, after) => {
      const whole = [after, ...board.slice(1)].map((row, i) => ({ model: `m${i}`, ...row }));
      const ranked = rankModels(whole as never[]);
      const lowers = Float64Array.from(board, ({ lower }) => lower).sort();
      expect(rankAmong(lowers, board[0]!.lower, after.upper)).toBe(ranked.find(({ model }) => model === 'm0')!.rank);
      const without = Float64Array.from(board.slice(1), ({ lower }) => lower).sort();
      expect(rankAmong(without, null, after.upper)).toBe(ranked.find(({ model }) => model === 'm0')!.rank);
    }),
  );
  expect(rankAmong(new Float64Array(), null, null)).toBeNull();
});
