import { describe, expect, test } from 'vitest';
import { compareDecisions } from '../../../../scoring/backtest/compare.ts';
import type { BacktestDecision } from '../../../../scoring/backtest/decision-list.ts';

/** `3 promote a`. */
function decided(...texts: readonly string[]): BacktestDecision[] {
  return texts.map((text) => {
    const [tick, action, model] = text.split(' ');
    return { tick, action, model, incumbentBefore: null, evidence: {} } as unknown as BacktestDecision;
  });
}

describe('two lists of decisions', () => {
  test.each<[string, readonly string[], readonly string[], readonly object[]]>([
    ['that are the same differ in nothing', ['1 promote a', '2 demote a'], ['1 promote a', '2 demote a'], []],
    [
      'differ by what stands in one only, in the order of ticks',
      ['1 promote a', '4 demote a'],
      ['1 promote a', '2 promote b'],
      [
        { kind: 'only_b', tick: '2', model: 'b', action: 'promote' },
        { kind: 'only_a', tick: '4', model: 'a', action: 'demote' },
      ],
    ],
    [
      'differ by the tick of one decision',
      ['1 promote a'],
      ['3 promote a'],
      [{ kind: 'other_tick', model: 'a', action: 'promote', a: '1', b: '3' }],
    ],
    [
      'differ by the model, where both decide the same at one tick; what happens to the models later stands alone',
      ['1 promote a', '5 demote a'],
      ['1 promote b', '3 promote a'],
      [
        { kind: 'other_model', tick: '1', action: 'promote', a: 'a', b: 'b' },
        { kind: 'only_b', tick: '3', model: 'a', action: 'promote' },
        { kind: 'only_a', tick: '5', model: 'a', action: 'demote' },
      ],
    ],
    [
      'pair repeated decisions in their order, those at one tick first',
      ['1 promote a', '2 demote a', '5 promote a'],
      ['2 demote a', '5 promote a', '9 promote a'],
      [{ kind: 'other_tick', model: 'a', action: 'promote', a: '1', b: '9' }],
    ],
  ])('%s', (_rule, a, b, expected) => {
    expect(compareDecisions(decided(...a), decided(...b))).toEqual(expected);
  });
});
