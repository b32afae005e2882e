// `npm run bench:json-columns`: see json-columns.ts, which this runs under Node 24.
import { endAs, orExplain, ROOT, runNode } from '../../bin/launch.mjs';

await orExplain(async () => endAs(await runNode(['--conditions=merit-source', `${ROOT}/test/bench/json-columns.ts`])));
