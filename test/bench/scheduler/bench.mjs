// `npm run bench:scheduler [-- rows…] [--trace FOLDER]`: the scheduler's benchmarks, or those rows that are named. See rows.ts, which this
// runs under Node 24.
import { endAs, orExplain, ROOT, runNode } from '../../../bin/launch.mjs';

await orExplain(async () => endAs(await runNode([`${ROOT}/test/bench/scheduler/rows.ts`, ...process.argv.slice(2)])));
