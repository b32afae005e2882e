// `npm run test:sim [-- --seeds N --from N --seed N --trace --json]`: many seeds, or one with its whole trace.
import { parseArgs } from 'node:util';
import { type Outcome, simulate } from './simulate.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '500' },
    from: { type: 'string', default: '0' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    /** Ends at the first seed that fails. */
    first: { type: 'boolean', default: false },
  },
});

const SHOWN = 60;
const MOST_SHOWN = 5;

function show({ seed, broken, trace, steps }: Outcome): void {
  const lines = values.trace ? trace : trace.slice(-SHOWN);
  if (!values.trace && broken === undefined) return;
  console.log(lines.join('\n'));
  console.log(`seed ${seed} after ${steps} steps: ${broken ?? 'holds'}\n`);
}

const from = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;
const failed: { readonly seed: number; readonly broken: string }[] = [];
let [steps, bookings, virtualMs, fewest] = [0, 0, 0, Number.POSITIVE_INFINITY];
const startedAt = performance.now();
let ran = 0;
for (let seed = from; seed < from + count; seed++) {
  const outcome = await simulate(seed);
  ran++;
  steps += outcome.steps;
  bookings += outcome.bookings;
  virtualMs += outcome.virtualMs;
  fewest = Math.min(fewest, outcome.steps);
  if (outcome.broken !== undefined) failed.push({ seed, broken: outcome.broken });
  if (!values.json && (values.trace || failed.length <= MOST_SHOWN)) show(outcome);
  if (values.first && failed.length > 0) break;
}
const seconds = (performance.now() - startedAt) / 1000;
if (values.json) console.log(JSON.stringify({ ran, steps, fewest, bookings, virtualMs, seconds, failed }));
else {
  for (const { seed, broken } of failed) console.log(`seed ${seed}: ${broken.slice(0, 200)}`);
  console.log(
    `${ran} seeds, ${steps} steps (${fewest} at least), ${bookings} bookings, ${seconds.toFixed(1)} s; ${failed.length} failed`,
  );
}
process.exitCode = failed.length === 0 ? 0 : 1;
