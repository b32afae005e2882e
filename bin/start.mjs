// `npm start`: installs what is missing, then starts Merit and runs the example loop. Arguments go to `merit start --loop`.
import { tooOld } from './old-node.mjs';

async function main() {
  const { endAs, orExplain, ROOT, runNode } = await import('./launch.mjs');
  const { prepare } = await import('./prepare.mjs');
  await orExplain(async () => {
    const env = await prepare();
    if (env === undefined) return;
    endAs(await runNode([`${ROOT}/api/cli/main.ts`, 'start', '--loop', ...process.argv.slice(2)], { env }));
  });
}

if (!tooOld()) main();
