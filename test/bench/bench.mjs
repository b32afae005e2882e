// `npm run bench [-- rows…]`: every benchmark of the project, or those named: launcher, columns, panes, recompute, durable, ingest-kafka, slow-sockets, latency. Plain
// JavaScript: the launcher's row is about the Node that starts this one, whichever that is from 20 on.
import { tooOld } from '../../bin/old-node.mjs';

async function main() {
  const { endAs, orExplain, ROOT, runNode } = await import('../../bin/launch.mjs');
  await orExplain(async () => {
    const env = { ...process.env, MERIT_BENCH_NODE: process.env.MERIT_BENCH_NODE ?? process.execPath };
    endAs(await runNode([`${ROOT}/test/bench/scoring.ts`, ...process.argv.slice(2)], { env }));
  });
}

if (!tooOld()) main();
