import { describe, expect, test } from 'vitest';
import {
  completeTick,
  decidingVersion,
  inShare,
  isComplete,
  lastCommonTick,
  newestBefore,
} from '../../../../scoring/rules/rollout.ts';
import { windowAt, windowSpec } from '../../../../scoring/rules/windows.ts';
import { seededRandom, smallSuite } from '../../../support/scoring-reports.ts';

const models = Array.from({ length: 2_000 }, (_, i) => `model-${i}`);

describe('a share of the models', () => {
  test('keeps its models as it grows, from none to all', () => {
    let before = new Set<string>();
    for (let share = 0; share <= 100; share += 4) {
      const now = new Set(models.filter((model) => inShare('board', model, share)));
      expect([...before].every((model) => now.has(model))).toBe(true);
      before = now;
      if (share === 0) expect(now.size).toBe(0);
    }
    expect(before.size).toBe(models.length);
  });

  test('is as large as it says, within what chance allows', () => {
    for (const share of [1, 10, 50, 90]) {
      const held = models.filter((model) => inShare('board', model, share)).length;
      const expected = (models.length * share) / 100;
      // 5 σ of a binomial.
      expect(Math.abs(held - expected)).toBeLessThan(5 * Math.sqrt(expected * (1 - share / 100)));
    }
  });

  test('is another one in another suite, and the same wherever it is asked', () => {
    const of = (suite: string) => models.filter((model) => inShare(suite, model, 50)).join();
    expect(of('board')).not.toBe(of('other'));
    expect(of('board')).toBe(of('board'));
    // Kept forever: models must not move between versions by an update of Merit.
    expect(models.slice(0, 12).filter((model) => inShare('board', model, 30))).toEqual([
      'model-0',
      'model-1',
      'model-3',
      'model-9',
      'model-11',
    ]);
  });

  test('says which version decides for a model; without a version beside it is the active one', () => {
    for (const model of models.slice(0, 100)) {
      const next = { suiteHash: 'b', share: 40 };
      expect(decidingVersion('board', model, 'a', next)).toBe(inShare('board', model, 40) ? 'b' : 'a');
      expect(decidingVersion('board', model, 'a', null)).toBe('a');
    }
  });
});

describe('a version that starts in the middle', () => {
  test('is complete at the first tick of which every window starts behind what was read before it', () => {
    const next = seededRandom(5);
    const windows = [{ '1h': 1 }, { '24h': 1 }, { '1h': 0.5, '7d': 0.5 }, { '1h': 0.5, '24h': 0.3, '7d': 0.2 }];
    for (let i = 0; i < 400; i++) {
      const suite = smallSuite({ tick: ['1m', '15m', '1h', '7m'][i % 4], windows: windows[(i >> 2) % 4] });
      const newestMs = 1_767_600_000_000 + Math.floor(next() * 1e9);
      const tickMs = completeTick(suite, newestMs)!;
      const whole = (at: number) =>
        suite.windows.every(({ name }) => windowAt(windowSpec(name), at).startMs > newestMs);
      expect(tickMs % suite.tickMs).toBe(0);
      expect(whole(tickMs)).toBe(true);
      expect(whole(tickMs - suite.tickMs)).toBe(false);
      const latest = newestBefore(suite, tickMs);
      expect(latest).toBeGreaterThanOrEqual(newestMs);
      expect(latest).toBeLessThan(newestMs + suite.tickMs + windowSpec('7d').stepMs);
    }
  });

  test('is complete from its first tick on where nothing was read before', () => {
    expect(completeTick(smallSuite(), null)).toBeNull();
    expect(isComplete(null, null)).toBe(true);
    expect([isComplete(100, null), isComplete(100, 99), isComplete(100, 100)]).toEqual([false, false, true]);
  });
});

describe('the last tick that two versions have both scored', () => {
  const scored = (tickMs: number, scoredTickMs: number | null) => ({ tickMs, scoredTickMs });

  test.each([
    ['ticks of one length', scored(15, 120), scored(15, 90), null, 90],
    ['ticks of two lengths', scored(15, 120), scored(20, 100), null, 60],
    ['one that scored nothing yet', scored(15, 120), scored(15, null), null, null],
    ['none since the second began', scored(15, 120), scored(15, 90), 90, null],
    ['one since the second began', scored(15, 120), scored(15, 105), 90, 105],
  ])('%s', (_what, a, b, after, expected) => {
    expect(lastCommonTick(a, b, after)).toBe(expected);
    expect(lastCommonTick(b, a, after)).toBe(expected);
  });
});
