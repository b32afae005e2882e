import { describe, expect, test } from 'vitest';
import { canonicalText } from '../../../../core/canonical.ts';
import { guardrailTest } from '../../../../scoring/rules/guardrail.ts';
import { decideTick, startWatch, type TickOutcome, type WatchState } from '../../../../scoring/rules/promotion.ts';
import { smallSuite } from '../../../support/scoring-reports.ts';
import { armOf, type ChallengeCase, challengeOf, type ModelCase, seatOf } from '../../../support/scoring-ticks.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const suite = smallSuite({
  tick: '15m',
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true, guardrail: { min: 0.2 } },
  },
  promotion: {},
});
const tickMs = (index: number) => (index + 1) * 15 * MINUTE;

/** Walks one candidate (and perhaps an incumbent) through ticks until a decision; verdicts as one letter a tick. */
function walk(ticks: readonly { readonly candidate?: ChallengeCase; readonly incumbent?: ModelCase }[]) {
  let challenge: WatchState = startWatch('new', 0);
  let seat: WatchState = startWatch('old', 0);
  const letters: string[] = [];
  let outcome: TickOutcome | undefined;
  for (const [index, given] of ticks.entries()) {
    const { candidate, incumbent } = given;
    outcome = decideTick({
      suite,
      tickMs: tickMs(index),
      watermarkMs: tickMs(index) + 7,
      incumbent: incumbent === undefined ? null : seatOf(suite, 'old', incumbent, seat),
      challenges: candidate === undefined ? [] : [challengeOf(suite, 'new', { ...candidate, watch: challenge })],
    });
    letters.push(outcome.assessments.map((one) => one.verdict[0]).join(''));
    challenge = outcome.challenges.find((one) => one.model === 'new') ?? challenge;
    seat = outcome.incumbent ?? seat;
    if (outcome.decision !== null) break;
  }
  return { verdicts: letters.join(' '), decision: outcome?.decision ?? null, outcome };
}

const good: ChallengeCase = { composite: 0.9 };
const candidate = (...cases: readonly ChallengeCase[]) => walk(cases.map((one) => ({ candidate: one })));
const incumbent = (...cases: readonly ModelCase[]) => walk(cases.map((one) => ({ incumbent: one })));

describe('promotion', () => {
  test('comes with the third counted tick in a row, not before', () => {
    const walked = candidate(good, good, good);
    expect([walked.verdicts, walked.decision?.action]).toEqual(['c c c', 'promotion']);
    expect(candidate(good, good).decision).toBeNull();
  });

  test.each<[string, ChallengeCase]>([
    ['a composite below θ_up', { composite: 0.79 }],
    ['evidence that does not hold', { ...good, candidate: armOf(0.805, 0.2, 100) }],
    ['a guardrail breach', { ...good, beyond: 60, within: 40 }],
    ['a cooldown that is not over', { ...good, lastChangeMs: 0 }],
    ['a policy that denies', { ...good, policy: 'deny' }],
  ])('%s resets the run', (_name, bad) => {
    const walked = candidate(good, good, bad, good, good, good);
    expect([walked.verdicts, walked.decision?.action]).toEqual(['c c r c c c', 'promotion']);
  });

  test.each<[string, ChallengeCase]>([
    ['no new data', { ...good, newData: false }],
    ['no new data and a low score', { composite: 0.1, newData: false, beyond: 60, within: 40 }],
    ['a composite that is null', { composite: null }],
    ['a required metric below minN in every window', { composite: 0.1, n: 29 }],
    ['fewer than 30 reports of evidence', { composite: 0.1, candidate: armOf(0.95, 0.02, 28) }],
    ['a policy whose answer is not known', { ...good, policy: 'unknown' }],
  ])('%s neither counts nor resets', (_name, silent) => {
    const walked = candidate(good, good, silent, silent, good);
    expect([walked.verdicts, walked.decision?.action]).toEqual(['c c s s c', 'promotion']);
  });

  test('a composite of exactly θ_up counts', () => {
    expect(candidate({ composite: 0.8 }).verdicts).toBe('c');
  });

  test('minN reports of a required metric are enough', () => {
    expect([
      candidate({ ...good, n: suite.minN }).verdicts,
      candidate({ ...good, n: suite.minN - 1 }).verdicts,
    ]).toEqual(['c', 's']);
  });

  test('cooldown runs from the model’s last change and is over when its length has passed', () => {
    const at = (lastChangeMs: number) => candidate({ ...good, lastChangeMs }).outcome?.assessments[0]?.unmet;
    expect(at(tickMs(0) - 6 * HOUR + 1)).toEqual(['cooldown']);
    expect(at(tickMs(0) - 6 * HOUR)).toEqual([]);
  });

  test('an unknown policy is wanted only where everything else holds', () => {
    expect(candidate({ ...good, policy: 'unknown' }).outcome?.policyWanted).toEqual(['new']);
    expect(candidate({ composite: 0.1, policy: 'unknown' }).outcome?.policyWanted).toEqual([]);
    expect(candidate({ ...good, newData: false, policy: 'unknown' }).outcome?.policyWanted).toEqual([]);
  });

  test('with an incumbent the test is against it, without one against θ_up', () => {
    const over = { ...good, candidate: armOf(0.9, 0.05, 200) };
    const beatsIncumbent = { ...over, incumbent: armOf(0.85, 0.05, 200) };
    const losesToIncumbent = { ...over, incumbent: armOf(0.9, 0.05, 200) };
    const seat = { composite: 0.85 };
    expect(walk([{ candidate: over }]).verdicts).toBe('c');
    expect(walk([{ candidate: beatsIncumbent, incumbent: seat }]).verdicts).toBe('rc');
    expect(walk([{ candidate: losesToIncumbent, incumbent: seat }]).verdicts).toBe('rr');
    expect(walk([{ candidate: { ...over, incumbent: armOf(0.1, 0.05, 28) }, incumbent: seat }]).verdicts).toBe('rs');
    expect(walk([{ candidate: over, incumbent: seat }]).verdicts).toBe('rs');
  });

  test('of several that are ready the greatest composite wins, then the name', () => {
    const ready = (model: string, composite: number) =>
      challengeOf(suite, model, { composite, watch: { ...startWatch(model, 0), run: 2 } });
    const decide = (...challenges: readonly ReturnType<typeof ready>[]) =>
      decideTick({ suite, tickMs: tickMs(0), watermarkMs: tickMs(0), incumbent: null, challenges });
    expect(decide(ready('a', 0.85), ready('b', 0.9)).decision?.model).toBe('b');
    expect(decide(ready('b', 0.9), ready('a', 0.9)).decision?.model).toBe('a');
    expect(decide(ready('b', 0.9), ready('a', 0.9)).challenges).toEqual([startWatch('b', tickMs(0))]);
  });

  test('a change of the seat restarts every watch at the watermark, and who leaves it stays a candidate', () => {
    const outcome = decideTick({
      suite,
      tickMs: tickMs(9),
      watermarkMs: tickMs(9) + 5,
      incumbent: seatOf(suite, 'old', { composite: 0.85 }),
      challenges: [
        challengeOf(suite, 'z', { composite: 0.1 }),
        challengeOf(suite, 'new', {
          ...good,
          incumbent: armOf(0.5, 0.02, 400),
          watch: { ...startWatch('new', 3), run: 2 },
        }),
      ],
    });
    expect(outcome.decision).toMatchObject({
      action: 'promotion',
      model: 'new',
      evidence: { displaced: 'old', run: 3 },
    });
    expect(outcome.incumbent).toEqual(startWatch('new', tickMs(9) + 5));
    expect(outcome.challenges).toEqual(['old', 'z'].map((model) => startWatch(model, tickMs(9) + 5)));
    expect(outcome.seatChanged).toBe(true);
  });
});

describe('demotion', () => {
  test('comes with the second counted tick below θ_dn', () => {
    const walked = incumbent({ composite: 0.74 }, { composite: 0.1 });
    expect([walked.verdicts, walked.decision?.action]).toEqual(['c c', 'demotion']);
    expect(walked.outcome?.incumbent).toBeNull();
    expect(walked.outcome?.challenges).toEqual([startWatch('old', tickMs(1) + 7)]);
  });

  test('a blip of one tick does not demote, and the dead band ends a run', () => {
    expect(incumbent({ composite: 0.1 }, { composite: 0.78 }, { composite: 0.1 }, { composite: 0.75 })).toMatchObject({
      verdicts: 'c r c r',
      decision: null,
    });
  });

  test('missing data is never a low score, however long it is missing', () => {
    const silent = [{ composite: null }, { composite: 0, n: 29 }, { composite: 0, newData: false }] as const;
    expect(incumbent(...silent, ...silent, ...silent)).toMatchObject({ verdicts: 's s s s s s s s s', decision: null });
    expect(incumbent({ composite: 0.1 }, ...silent, { composite: 0.1 }).verdicts).toBe('c s s s c');
  });

  test('one guardrail breach demotes at once, whatever the composite', () => {
    for (const composite of [0.99, null]) {
      const walked = incumbent({ composite, beyond: 60, within: 40 });
      expect(walked.decision).toMatchObject({ action: 'demotion', evidence: { cause: 'guardrail' } });
    }
  });

  test('needs no cooldown and goes before a promotion at the same tick', () => {
    const outcome = decideTick({
      suite,
      tickMs: tickMs(0),
      watermarkMs: tickMs(0),
      incumbent: seatOf(suite, 'old', { composite: 0.1 }, { ...startWatch('old', 0), run: 1 }),
      challenges: [
        challengeOf(suite, 'new', {
          ...good,
          incumbent: armOf(0.1, 0.02, 400),
          watch: { ...startWatch('new', 0), run: 2 },
        }),
      ],
    });
    expect(outcome.decision).toMatchObject({ action: 'demotion', model: 'old' });
    expect(outcome.challenges.map((one) => [one.model, one.run])).toEqual([
      ['new', 0],
      ['old', 0],
    ]);
  });

  test('a noisy score inside the dead band never flips the seat', () => {
    const noisy = Array.from({ length: 168 }, (_, i) => ({ composite: 0.775 + (i % 2 === 0 ? 0.024 : -0.024) }));
    expect(incumbent(...noisy).decision).toBeNull();
  });
});

describe('the guardrail', () => {
  const rule = suite.metrics[0]!;

  test('breaches at ln 95 and accepts at ln(0.05/0.99), by counts alone', () => {
    // ln 2 a report beyond, ln(0.9/0.95) a report within.
    const verdict = (beyond: number, within: number) => guardrailTest(rule, { beyond, within }).verdict;
    expect([verdict(6, 0), verdict(7, 0), verdict(7, 5), verdict(7, 6)]).toEqual([
      'continue',
      'breach',
      'breach',
      'continue',
    ]);
    expect([verdict(0, 55), verdict(0, 56), verdict(0, 0)]).toEqual(['continue', 'accept', 'continue']);
  });

  test('of a p95 allows one in twenty, of a p99 one in a hundred', () => {
    const metrics = (quantile: number) => ({
      ms: { direction: 'lower', kind: 'quantile', quantile, floor: 9, ceil: 1, guardrail: { max: 5 } },
    });
    const p0 = (quantile: number) =>
      guardrailTest(smallSuite({ metrics: metrics(quantile) }).metrics[0]!, { beyond: 0, within: 0 }).p0;
    expect(p0(0.95)).toBeCloseTo(0.05, 12);
    expect(p0(0.99)).toBeCloseTo(0.01, 12);
  });

  test('acceptance restarts its counts behind the tick, and nothing else does', () => {
    const walked = incumbent({ composite: 0.9, beyond: 0, within: 56 });
    expect(walked.outcome?.incumbent?.guardrails).toEqual([{ metric: 'accuracy', restartTickMs: tickMs(0) }]);
    expect(incumbent({ composite: 0.9, beyond: 0, within: 55 }).outcome?.incumbent?.guardrails).toEqual([]);
  });
});

describe('a decision', () => {
  test('is the same bytes whenever it is made from the same facts, and says everything it rests on', () => {
    const decide = () => canonicalText(candidate(good, good, good).decision);
    expect(decide()).toBe(decide());
    const { decision } = candidate(good, good, good);
    expect(decision).toMatchObject({
      action: 'promotion',
      suite: 'small',
      suiteHash: suite.hash,
      tick: '1970-01-01T00:45:00.000Z',
      model: 'new',
      evidence: {
        composite: 0.9,
        promoteAbove: 0.8,
        run: 3,
        challengeStart: '1970-01-01T00:00:00.000Z',
        displaced: null,
        metrics: [{ metric: 'accuracy', incumbent: null, candidate: { n: 400, weight: 400, mean: 0.95 }, holds: true }],
      },
    });
  });

  test('is refused by assertion where the tick is not final or the suite has no promotion rules', () => {
    const input = { suite, tickMs: 10, watermarkMs: 9, incumbent: null, challenges: [] };
    expect(() => decideTick(input)).toThrow('not final');
    expect(() => decideTick({ ...input, suite: smallSuite(), watermarkMs: 10 })).toThrow('no promotion rules');
  });
});
