import { describe, expect, test } from 'vitest';
import { type Decided, flippedTicks } from '../../../../scoring/rules/review.ts';

const TICKS = ['2026-01-05T09:01:00.000Z', '2026-01-05T09:02:00.000Z'] as const;
const at = (i: 0 | 1) => Date.parse(TICKS[i]);

function record(action: 'promote' | 'demote', extra: object): Decided {
  return {
    action,
    evidence: { compositeByTick: { [TICKS[0]]: 0.5, [TICKS[1]]: 0.5 }, ...extra },
  } as unknown as Decided;
}

describe('late data would have flipped', () => {
  test('a promotion where a tick it counted is below the threshold now, or has no composite any more', () => {
    const promotion = record('promote', { promoteAbove: 0.8, promoteTicks: 2 });
    expect(flippedTicks(promotion, new Map([[at(0), 0.8]]))).toEqual([]);
    expect(flippedTicks(promotion, new Map([[at(0), 0.79]]))).toEqual([
      { tick: TICKS[0], was: 0.5, is: 0.79, threshold: 0.8 },
    ]);
    expect(flippedTicks(promotion, new Map([[at(1), null]]))).toMatchObject([{ tick: TICKS[1], is: null }]);
  });

  test('a demotion where a tick it counted is at or above the threshold now', () => {
    const demotion = record('demote', { cause: 'below', demoteBelow: 0.7, demoteTicks: 2 });
    expect(flippedTicks(demotion, new Map([[at(0), 0.69]]))).toEqual([]);
    expect(flippedTicks(demotion, new Map([[at(0), 0.7]]))).toMatchObject([{ tick: TICKS[0], is: 0.7 }]);
  });

  test('nothing that a breach of a guardrail rests on, and nothing at other ticks', () => {
    const breach = record('demote', { cause: 'guardrail', demoteBelow: 0.7, demoteTicks: 2 });
    expect(flippedTicks(breach, new Map([[at(0), 0.9]]))).toEqual([]);
    expect(flippedTicks(record('demote', { cause: 'below', demoteBelow: 0.7 }), new Map([[0, 0.9]]))).toEqual([]);
  });
});
