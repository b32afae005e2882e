// `npm run test:sim -- --mutants [--seeds N] [--only WORD]`: every planted fault has to be found within so many seeds.
import { parseArgs } from 'node:util';
import { MUTANTS } from './mutants.ts';
import { judge } from './mutate.ts';

const { values } = parseArgs({
  options: {
    mutants: { type: 'boolean' },
    seeds: { type: 'string', default: '1000' },
    only: { type: 'string', default: '' },
    jobs: { type: 'string', default: '2' },
  },
});

const queue = MUTANTS.filter(({ name }) => name.includes(values.only));
const missed: string[] = [];
let caught = 0;

async function work(): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const { name, by, seeds, seconds } = await judge(mutant, Number(values.seeds));
    if (by === undefined) missed.push(name);
    else caught++;
    const how = by === undefined ? 'MISSED' : `seed ${by.seed}: ${by.broken.split('\n')[0]?.slice(0, 110)}`;
    console.log(`${name}: ${how} (${seeds} seeds, ${seconds.toFixed(1)} s)`);
  }
}

await Promise.all(Array.from({ length: Number(values.jobs) }, work));
console.log(`${caught} mutants caught, ${missed.length} missed${missed.length === 0 ? '' : `: ${missed.join('; ')}`}`);
process.exitCode = missed.length === 0 ? 0 : 1;
