// `npm run bench:score-compute`: see score-compute.ts, which this runs under Node 24.
import { endAs, orExplain, ROOT, runNode } from '../../bin/launch.mjs';

await orExplain(async () => endAs(await runNode(['--conditions=merit-source', `${ROOT}/test/bench/score-compute.ts`])));
