import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isWhole } from '../support/rotating.ts';
import { type Case, casesOf, furnishedWorld, nameOf, runCases, tableOf, trailLeaks } from '../support/saga-cases.ts';
import { tell } from '../support/saga-harness.ts';
import { ORDERS, PACES, race } from '../support/saga-races.ts';
import { STORIES } from '../support/saga-stories.ts';
import type { SagaWorld } from '../support/saga-world.ts';

/**
 * Every saga with a fault at each of its nodes, on real Postgres, both peers over HTTP, a provider and a crash that are the test's. `npm run test:sagas` runs
 * all cases, MERIT_SAGAS='^preempt: crash' those whose name matches; CI a twenty-fifth of them, which is a minute of CPU, and `npm test` a few, others each time.
 */
const ASKED = process.env.MERIT_SAGAS;
const WHOLE = ASKED !== undefined;
const NAMED = new RegExp(ASKED === undefined || ASKED === 'whole' ? '' : ASKED);
/** `npm test` runs this file one day in five: a multiple of five would tell a fifth of the cases, and never the others. */
const PART = WHOLE ? 1 : isWhole ? 25 : 299;
const LIMIT_MS = 7_200_000;
const DAY_MS = 86_400_000;
const due = <T>(all: readonly T[], part: number) => {
  const day = Math.floor(Date.now() / DAY_MS);
  return all.filter((_, i) => (i + day) % part === 0);
};

let world: SagaWorld;
beforeAll(async () => {
  world = await furnishedWorld();
});
afterAll(() => world.close());

const cases: Case[] = [];

describe('a saga', () => {
  test.each(STORIES)('that nothing happens to ends, and leaves nothing behind: $name', async (story) => {
    const told = await tell(world, story);
    expect(told.leaks).toEqual([]);
    cases.push(...casesOf(story, told));
  });

  test(
    'that fails, is not answered, repeats itself or crashes at any node ends once, and leaves nothing behind',
    async () => {
      const outcomes = await runCases(due(cases, PART).filter((of) => NAMED.test(nameOf(of))));
      process.stdout.write(`${tableOf(outcomes)}\n`);
      const leaking = outcomes.filter(({ told }) => told.leaks.length > 0);
      const shown = leaking.map(({ of, told }) => ({
        case: of === undefined ? 'a world' : nameOf(of),
        ...told,
        nodes: [],
      }));
      expect(shown).toEqual([]);
    },
    LIMIT_MS,
  );
});

describe('three or all of preempt, revoke, cancel and the end of the run', () => {
  const all = PACES.flatMap((pace) => ORDERS.map((order) => ({ pace, order, title: `${pace} ${order.join(', ')}` })));
  test.each(due(all, WHOLE ? 1 : 48))(
    'end in one state, and leave nothing behind: $title',
    async ({ pace, order }) => {
      expect(await race(world, pace, order)).toEqual([]);
    },
    LIMIT_MS,
  );
});

test('the trail of all that is whole, and the ledger’s invariants hold', async () => {
  expect(await trailLeaks(world)).toEqual([]);
});
