// node bin/run.mjs TOOL ARGS…: runs a tool of node_modules/.bin under Node 24.
import { tooOld } from './old-node.mjs';

async function main() {
  const { endAs, orExplain, ROOT, runNode, Unready } = await import('./launch.mjs');
  const { existsSync, realpathSync } = await import('node:fs');
  const [tool, ...args] = process.argv.slice(2);
  await orExplain(async () => {
    if (tool === undefined || !/^[a-z0-9][a-z0-9-]*$/.test(tool))
      throw new Unready('run.mjs needs the name of a tool', 'node bin/run.mjs vitest run', 2);
    const path = `${ROOT}/node_modules/.bin/${tool}`;
    if (!existsSync(path)) throw new Unready(`${tool} is not among the installed npm packages`, 'run "npm ci"');
    endAs(await runNode([realpathSync(path), ...args]));
  });
}

if (!tooOld()) main();
