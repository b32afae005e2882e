import { expect, test } from 'vitest';
import { testDatabase } from '../support/db.ts';
import { Interleavings } from '../support/ledger-interleavings.ts';

/**
 * `npm run test:ledger` runs all of them, or MERIT_LEDGER_RUNS, or what fits into MERIT_LEDGER_SECONDS, from the seed MERIT_LEDGER_FROM on;
 * with the rest there are a few.
 */
const WHOLE = process.env.MERIT_LEDGER === 'whole';
const RUNS = WHOLE ? Number(process.env.MERIT_LEDGER_RUNS ?? 100_000) : 60;
const MOST_MS = WHOLE
  ? Number(process.env.MERIT_LEDGER_SECONDS ?? Number.POSITIVE_INFINITY) * 1000
  : Number.POSITIVE_INFINITY;
const FIRST_SEED = Number(process.env.MERIT_LEDGER_FROM ?? 1);
const END = FIRST_SEED + RUNS;
/** Seeds in a row of one world: with the rest, where there are few, each has its own. */
const SEEDS_A_WORLD = WHOLE ? 8 : 1;
/** At a time, each on a database of its own: one alone waits for answers most of the time. */
const LANES = WHOLE ? 6 : 2;
const MS_A_RUN = 2_000;
const TELL_EVERY_MS = 5_000;

test('whatever order statements of several connections come in, and whoever dies between two, the ledger did what the model does one by one', {
  timeout: 180_000 + RUNS * MS_A_RUN,
}, async () => {
  const sum = { runs: 0, transactions: 0, deaths: 0 };
  const beganAtMs = Date.now();
  let toldAtMs = beganAtMs;
  const tell = () => {
    toldAtMs = Date.now();
    const seconds = Math.round((toldAtMs - beganAtMs) / 1000);
    const { runs, transactions, deaths } = sum;
    process.stderr.write(
      `${runs} of ${RUNS} interleavings without a difference, ${transactions} transactions, ${deaths} deaths, ${seconds} s\n`,
    );
  };
  let next = FIRST_SEED;
  const lane = async () => {
    const database = await testDatabase();
    const interleavings = await Interleavings.open(database);
    try {
      while (next < END && Date.now() - beganAtMs < MOST_MS) {
        const world = next - (next % SEEDS_A_WORLD);
        const seeds = { from: next, to: Math.min(END, world + SEEDS_A_WORLD) };
        next = seeds.to;
        for (let seed = seeds.from; seed < seeds.to; seed++) {
          const { transactions, deaths } = await interleavings.run(seed, world);
          sum.runs += 1;
          sum.transactions += transactions;
          sum.deaths += deaths;
          if (WHOLE && Date.now() - toldAtMs > TELL_EVERY_MS) tell();
        }
      }
    } finally {
      // Nobody goes on where another found a difference.
      next = Number.POSITIVE_INFINITY;
      await interleavings.close();
      await database.close();
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: LANES }, lane));
  if (WHOLE) tell();
  for (const ended of lanes) if (ended.status === 'rejected') throw ended.reason;
  if (MOST_MS === Number.POSITIVE_INFINITY) expect(sum.runs).toBe(RUNS);
  expect(sum.deaths).toBeGreaterThan(0);
});
