import { describe, expect, test } from 'vitest';
import type { PromotionRule } from '../../../../core/suite.ts';
import { addEvidence, type EvidenceSums, NO_EVIDENCE } from '../../../../scoring/rules/evidence.ts';
import { mixtureTest } from '../../../../scoring/rules/msprt.ts';
import { seededRandom } from '../../../support/scoring-reports.ts';
import { armOf } from '../../../support/scoring-ticks.ts';

const rule: PromotionRule = {
  promoteAbove: 0.8,
  promoteTicks: 3,
  demoteBelow: 0.75,
  demoteTicks: 2,
  cooldownMs: 0,
  minEffect: 0,
  alpha: 0.05,
};

describe('the mixture test', () => {
  test('is the formula, on a case computed by hand', () => {
    // Two arms of 100 at 0.6 ± 0.1 and 0.5 ± 0.1: v = 100·0.01/99 each, V = 2v/100, pooled = v.
    const test1 = mixtureTest('a', armOf(0.6, 0.1, 100), armOf(0.5, 0.1, 100), rule, 2);
    const v = 1 / 99;
    const V = (2 * v) / 100;
    const tau2 = 0.04 * v;
    expect(test1?.d).toBeCloseTo(0.1, 12);
    expect(test1?.varianceOfD).toBeCloseTo(V, 12);
    expect(test1?.tau2).toBeCloseTo(tau2, 12);
    expect(test1?.logLikelihoodRatio).toBeCloseTo(
      0.5 * Math.log(V / (V + tau2)) + (tau2 * 0.01) / (2 * V * (V + tau2)),
      9,
    );
    expect(test1?.threshold).toBeCloseTo(Math.log(2 / 0.05), 12);
    expect(test1?.holds).toBe(true);
    // A least effect moves the ratio to what is left of the difference.
    const least = mixtureTest('a', armOf(0.6, 0.1, 100), armOf(0.5, 0.1, 100), { ...rule, minEffect: 0.075 }, 2);
    expect(least?.logLikelihoodRatio).toBeCloseTo(
      0.5 * Math.log(V / (V + tau2)) + (tau2 * 0.025 ** 2) / (2 * V * (V + tau2)),
      9,
    );
    expect(least?.holds).toBe(false);
  });

  test('says nothing below 30 reports in either arm', () => {
    const enough = armOf(0.9, 0.1, 30);
    const short = armOf(0.9, 0.1, 28);
    expect(mixtureTest('a', short, enough, rule, 1)).toBeUndefined();
    expect(mixtureTest('a', enough, short, rule, 1)).toBeUndefined();
    expect(mixtureTest('a', enough, NO_EVIDENCE, rule, 1)).toBeUndefined();
    expect(mixtureTest('a', { ...enough, n: 29 }, enough, rule, 1)).toBeUndefined();
    expect(mixtureTest('a', enough, enough, rule, 1)).toBeDefined();
  });

  test('is one-sided: a much worse candidate does not hold', () => {
    expect(mixtureTest('a', armOf(0.2, 0.1, 1000), armOf(0.8, 0.1, 1000), rule, 1)?.holds).toBe(false);
  });

  test('at no variance at all d > δ decides', () => {
    const holds = (a: number, b: number, minEffect: number) =>
      mixtureTest('a', armOf(a, 0, 30), armOf(b, 0, 30), { ...rule, minEffect }, 1)?.holds;
    expect([holds(0.75, 0.5, 0), holds(0.5, 0.5, 0), holds(0.75, 0.5, 0.25), holds(0.75, 0.5, 0.2)]).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });

  test('without an incumbent the candidate is held against θ_up', () => {
    expect(mixtureTest('a', armOf(0.9, 0.05, 100), null, rule, 1)).toMatchObject({ holds: true, incumbent: null });
    expect(mixtureTest('a', armOf(0.79, 0.05, 100), null, rule, 1)?.holds).toBe(false);
  });

  test('looked at after every pair of reports, identical pairs pass far less often than α', () => {
    const random = seededRandom(20261123);
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const report = (): EvidenceSums => {
      const s = BigInt(Math.round(Math.min(Math.max(0.7 + 0.1 * normal(), 0), 1) * 1e12));
      return { n: 1, weight: 1n, sumWs: s, sumWs2: s * s, beyond: 0 };
    };
    const pairs = 400;
    let passed = 0;
    for (let pair = 0; pair < pairs; pair++) {
      let a = NO_EVIDENCE;
      let b = NO_EVIDENCE;
      for (let i = 0; i < 300; i++) {
        a = addEvidence(a, report());
        b = addEvidence(b, report());
        if (mixtureTest('a', a, b, rule, 1)?.holds === true) {
          passed++;
          break;
        }
      }
    }
    // α bounds the chance over all looks; the measured share is near 1–2 %.
    expect(passed / pairs).toBeLessThan(0.05);
  });

  test('finds a real difference of half a standard deviation within a few hundred reports', () => {
    expect(mixtureTest('a', armOf(0.75, 0.1, 300), armOf(0.7, 0.1, 300), rule, 1)?.holds).toBe(true);
  });
});
