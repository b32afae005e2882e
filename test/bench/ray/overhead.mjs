// `npm run bench:ray-overhead [-- PAIRS]`: Merit's own time from an accepted request to its POST at a real Ray, beside Ray's Python SDK. See
// overhead.ts, which this runs under Node 24 with the Python that `npm test` installed.
import { endAs, orExplain, ROOT, runNode } from '../../../bin/launch.mjs';
import { prepare } from '../../../bin/prepare.mjs';

await orExplain(async () => {
  const env = await prepare();
  if (env !== undefined)
    endAs(await runNode([`${ROOT}/test/bench/ray/overhead.ts`, ...process.argv.slice(2)], { env }));
});
