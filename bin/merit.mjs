#!/usr/bin/env node
// The `merit` command. Plain JavaScript: help and version are answered here, without starting a second Node; everything else runs
// under Node 24 (api/cli/main.ts).
import { tooOld } from './old-node.mjs';

/** The server's jobs run on the Python that `npm start` has set up, where it has. */
async function withPython(root) {
  const { pythonNow } = await import('./install-python.mjs');
  const python = pythonNow(root);
  return python.state === 'ready' ? { ...process.env, MERIT_PYTHON: python.python } : process.env;
}

async function main() {
  const args = process.argv.slice(2);
  const first = args[0];
  if (args.length === 0 || (args.length === 1 && (first === '--help' || first === '-h' || first === 'help'))) {
    const { HELP } = await import('./help.mjs');
    // Asked for, help is data; with no arguments it is a usage error.
    (args.length === 0 ? process.stderr : process.stdout).write(HELP);
    if (args.length === 0) process.exitCode = 2;
    return;
  }
  const { endAs, needPackages, orExplain, packageVersion, ROOT, runNode } = await import('./launch.mjs');
  if (args.length === 1 && (first === '--version' || first === '-V')) {
    process.stdout.write(`${packageVersion()}\n`);
    return;
  }
  await orExplain(async () => {
    needPackages();
    const env = first === 'start' ? await withPython(ROOT) : process.env;
    endAs(await runNode([`${ROOT}/api/cli/main.ts`, ...args], { env }));
  });
}

// A closed pipe (`merit --help | head -1`) ends quietly.
process.stdout.on('error', (error) => {
  process.exitCode = error.code === 'EPIPE' ? process.exitCode : 1;
});

if (!tooOld()) main();
