import { describe, expect, test } from 'vitest';
import { isWhole } from '../support/rotating.ts';
import { MUTANTS } from './mutants.ts';
import { judge } from './mutate.ts';
import { REGRESSIONS } from './regressions.ts';
import { CHAOS_STEPS, simulate } from './simulate.ts';

/** CI runs the whole of it; a user’s `npm test` a slice. Each day takes the next. `npm run test:sim` runs any number of them. */
const SEEDS = isWhole ? 500 : 40;
const MUTANTS_A_DAY = isWhole ? 5 : 1;
/** A mutant that this many seeds do not find is missed. */
const MUTANT_SEEDS = 1_000;
const MUTANT_LIMIT_MS = 600_000;
const SHOWN = 60;
const day = Math.floor(Date.now() / 86_400_000);

/** A failing seed shows the end of its trace; `npm run test:sim -- --seed N --trace` shows all of it. */
async function expectToHold(seed: number): Promise<void> {
  const { broken, steps, trace } = await simulate(seed);
  const told = broken === undefined ? '' : `${trace.slice(-SHOWN).join('\n')}\nseed ${seed}: ${broken}`;
  expect(told).toBe('');
  expect(steps).toBeGreaterThanOrEqual(CHAOS_STEPS);
}

describe('the engine, simulated from a seed', () => {
  test('two runs of one seed give the same trace, and another seed another one', async () => {
    for (const seed of [1, 2, 3]) {
      const [once, again, other] = [await simulate(seed), await simulate(seed), await simulate(seed + 100)];
      expect(again.trace).toEqual(once.trace);
      expect(other.trace).not.toEqual(once.trace);
    }
  });

  test.each(REGRESSIONS)('holds for seed $seed, which once failed: $found', ({ seed }) => expectToHold(seed));

  test(`keeps every invariant at every step of ${SEEDS} seeds, and ends all that can end`, async () => {
    for (let i = 0; i < SEEDS; i++) await expectToHold(day * SEEDS + i);
  });
});

describe('the simulator', () => {
  const often = MUTANTS.filter(({ rare }) => rare !== true);
  const today = Array.from({ length: MUTANTS_A_DAY }, (_, i) => often[(day * MUTANTS_A_DAY + i) % often.length]!);
  test.each(today)(
    'finds a planted fault: $name',
    async (mutant) => {
      const { by } = await judge(mutant, MUTANT_SEEDS);
      expect(by, 'no seed found it').toBeDefined();
    },
    MUTANT_LIMIT_MS,
  );
});
