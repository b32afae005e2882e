import { describe, expect, test } from 'vitest';
import { decideJointly } from '../../../../scoring/rules/joint-tick.ts';
import { decideTick, startWatch, type TickInput } from '../../../../scoring/rules/promotion.ts';
import { smallSuite } from '../../../support/scoring-reports.ts';
import { armOf, type ChallengeCase, challengeOf, type ModelCase, seatOf } from '../../../support/scoring-ticks.ts';

const TICK_MS = 900_000;
const rules = { promoteAbove: 0.8, promoteTicks: 1, demoteBelow: 0.5, demoteTicks: 1 };
const oldSuite = smallSuite({ promotion: rules });
const newSuite = smallSuite({ promotion: rules, minN: 29 });

interface LaneCase {
  readonly seat?: readonly [model: string, given: ModelCase];
  readonly challenges: Readonly<Record<string, ChallengeCase>>;
  readonly decidesFor?: readonly string[];
}

function laneOf(suite: typeof oldSuite, { seat, challenges, decidesFor }: LaneCase): TickInput {
  return {
    suite,
    tickMs: TICK_MS,
    watermarkMs: TICK_MS,
    incumbent: seat === undefined ? null : seatOf(suite, ...seat),
    challenges: Object.entries(challenges).map(([model, given]) => challengeOf(suite, model, given)),
    ...(decidesFor === undefined ? {} : { decidesFor: (model: string) => decidesFor.includes(model) }),
  };
}

const strong: ChallengeCase = { composite: 0.95 };
const weak: ChallengeCase = { composite: 0.6 };

describe('a contest under two versions', () => {
  test('is decided by the version that decides about the challenger, whatever the other one says', () => {
    const active = laneOf(oldSuite, { challenges: { a: strong, b: weak }, decidesFor: ['b'] });
    const next = laneOf(newSuite, { challenges: { a: strong, b: strong }, decidesFor: ['a'] });
    const { decided } = decideJointly([active, next]);
    expect(decided).toMatchObject({ by: 1, decision: { action: 'promotion', model: 'a', suiteHash: newSuite.hash } });
  });

  test('is decided by nobody where only the version that does not decide is convinced', () => {
    const active = laneOf(oldSuite, { challenges: { a: strong }, decidesFor: [] });
    const next = laneOf(newSuite, { challenges: { a: weak }, decidesFor: ['a'] });
    const { decided, outcomes } = decideJointly([active, next]);
    expect(decided).toBeNull();
    expect(outcomes[0]).toMatchObject({
      decision: null,
      seatChanged: false,
      wouldBe: { action: 'promotion', model: 'a' },
    });
    expect(outcomes[1]!.wouldBe).toBeNull();
    // Its run grows all the same, so that it is known when the share changes.
    expect(outcomes[0]!.challenges).toMatchObject([{ model: 'a', run: 1 }]);
  });

  test('goes behind a demotion; the incumbent is judged by the version of its share', () => {
    const seat = ['i', { composite: 0.3 }] as const;
    const active = laneOf(oldSuite, {
      seat,
      challenges: { a: { ...strong, incumbent: armOf(0.3, 0.02, 400) } },
      decidesFor: ['a'],
    });
    const judged = laneOf(newSuite, { seat, challenges: { a: weak }, decidesFor: ['i'] });
    expect(decideJointly([active, judged]).decided).toMatchObject({
      by: 1,
      decision: { action: 'demotion', model: 'i' },
    });
    const unjudged = laneOf(newSuite, { seat, challenges: { a: weak }, decidesFor: [] });
    const other = decideJointly([{ ...active, decidesFor: (model) => model !== 'x' }, unjudged]);
    expect(other.decided).toMatchObject({ by: 0, decision: { action: 'demotion', model: 'i' } });
    expect(other.outcomes[1]!.wouldBe).toMatchObject({ action: 'demotion', model: 'i' });
  });

  test('of two that are ready at once goes to the greater composite, then the model id, in whatever order the versions come', () => {
    for (const [composites, winner] of [
      [[0.9, 0.95], 'b'],
      [[0.95, 0.9], 'a'],
      [[0.9, 0.9], 'a'],
    ] as const) {
      const active = laneOf(oldSuite, {
        challenges: { a: { composite: composites[0] }, b: strong },
        decidesFor: ['a'],
      });
      const next = laneOf(newSuite, { challenges: { a: strong, b: { composite: composites[1] } }, decidesFor: ['b'] });
      expect(decideJointly([active, next]).decided?.decision.model).toBe(winner);
      expect(decideJointly([next, active]).decided?.decision.model).toBe(winner);
    }
  });

  test('with one version alone is what decideTick says', () => {
    for (const given of [strong, weak, { composite: null }, { ...strong, policy: 'unknown' } as const]) {
      const input = laneOf(oldSuite, { seat: ['i', { composite: 0.4 }], challenges: { a: given } });
      const { decided, outcomes } = decideJointly([input]);
      expect(outcomes).toEqual([decideTick(input)]);
      expect(decided?.decision ?? null).toEqual(decideTick(input).decision);
      expect(outcomes[0]!.wouldBe).toBeNull();
    }
  });

  test('asks the policy only about models that are decided about', () => {
    const unknown: ChallengeCase = { ...strong, policy: 'unknown' };
    const input = laneOf(oldSuite, {
      challenges: { a: unknown, b: { ...strong, watch: startWatch('b', 0) } },
      decidesFor: ['a'],
    });
    const { outcomes, decided } = decideJointly([input]);
    expect(outcomes[0]!.policyWanted).toEqual(['a']);
    expect(decided).toBeNull();
    expect(outcomes[0]!.wouldBe).toMatchObject({ model: 'b' });
  });
});
