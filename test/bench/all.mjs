// `npm run bench`: the launcher's row, then the rows of scoring (scoring.ts) under Node 24; with names, only those of scoring.
import { endAs, orExplain, ROOT, runNode } from '../../bin/launch.mjs';

const names = process.argv.slice(2);
if (names.length === 0) await import('./cli.mjs');
const launcherFailed = process.exitCode === 1;
await orExplain(async () => {
  const outcome = await runNode(['--conditions=merit-source', `${ROOT}/test/bench/scoring.ts`, ...names]);
  endAs(outcome === 0 && launcherFailed ? 1 : outcome);
});
