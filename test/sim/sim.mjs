// `npm run test:sim [-- --seeds N --seed N --trace --mutants]`: the simulation of the engine, or of the engine with faults planted into it. See
// run.ts and run-mutants.ts, which this runs under Node 24.
import { endAs, orExplain, ROOT, runNode } from '../../bin/launch.mjs';

const script = process.argv.includes('--mutants') ? 'run-mutants.ts' : 'run.ts';
await orExplain(async () => endAs(await runNode([`${ROOT}/test/sim/${script}`, ...process.argv.slice(2)])));
