import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addEvidence, NO_EVIDENCE, S_FACTOR } from '../../../../scoring/rules/evidence.ts';
import { EvidenceSum, MAX_SMALL_WEIGHT } from '../../../../scoring/rules/evidence-sum.ts';

const term = fc.record({
  w: fc.integer({ min: 1, max: MAX_SMALL_WEIGHT }),
  s: fc.oneof(fc.integer({ min: 0, max: S_FACTOR }), fc.constantFrom(0, 2 ** 14 - 1, 2 ** 28 - 1, S_FACTOR)),
  beyond: fc.constantFrom<0 | 1>(0, 1),
});

function exact({ w, s, beyond }: { w: number; s: number; beyond: 0 | 1 }) {
  const [weight, value] = [BigInt(w), BigInt(s)];
  return { n: 1, weight, sumWs: weight * value, sumWs2: weight * value * value, beyond };
}

test('evidence that grows in doubles is the sum of BigInts, read between or not, mixed with whole sums or not', () => {
  fc.assert(
    fc.property(fc.array(term, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 9 }), (terms, every) => {
      const sum = new EvidenceSum();
      terms.forEach((one, i) => {
        if (i % every === 0) sum.add(exact(one));
        else sum.addSmall(one.w, one.s, one.beyond);
        if (i % (every + 2) === 0) expect(sum.sums.n).toBe(i + 1);
      });
      expect(sum.sums).toEqual(terms.map(exact).reduce(addEvidence, NO_EVIDENCE));
    }),
  );
});

test('no sum of the greatest terms overflows', () => {
  for (const s of [S_FACTOR, 3724 * 2 ** 28 + 2 ** 28 - 1]) {
    const one = { w: MAX_SMALL_WEIGHT, s, beyond: 1 } as const;
    const sum = new EvidenceSum();
    let expected = NO_EVIDENCE;
    for (let i = 0; i < 10_000; i++) {
      sum.addSmall(one.w, one.s, one.beyond);
      expected = addEvidence(expected, exact(one));
    }
    expect(sum.sums).toEqual(expected);
  }
});
