// Brings node_modules in line with package-lock.json: `npm ci`, when it is missing or was installed from another lock file.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastLines, runChild, usualCause } from './child.mjs';
import { Unready } from './launch.mjs';
import { withLock } from './lock.mjs';

/** Written last, so that an install that was cut short is none. */
const STAMP = '.merit-installed';

function lockHash(root) {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(`${process.platform}-${process.arch}`)
    .digest('hex');
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** npm writes node_modules/.package-lock.json when it has finished: true where that names all that the lock file does. */
function npmFinished(root) {
  const hidden = readText(join(root, 'node_modules', '.package-lock.json'));
  if (hidden === undefined) return false;
  try {
    const have = JSON.parse(hidden).packages;
    const want = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
    return Object.entries(want).every(([path, entry]) => {
      if (path === '' || entry.link || !path.startsWith('node_modules/')) return true;
      const found = have[path];
      if (found === undefined) return entry.optional === true || entry.devOptional === true;
      return found.version === entry.version && existsSync(join(root, path));
    });
  } catch {
    return false;
  }
}

/** True where nothing needs to be installed. Leaves a stamp behind where a plain `npm ci` or `npm install` left none. */
function isCurrent(root, hash) {
  const stampPath = join(root, 'node_modules', STAMP);
  if (readText(stampPath) === hash) return true;
  if (!npmFinished(root)) return false;
  try {
    writeFileSync(stampPath, hash);
  } catch {
    // A read-only clone is looked through again next time.
  }
  return true;
}

function npmCommand() {
  const path = process.env.npm_execpath;
  if (path !== undefined && /npm-cli\.[cm]?js$/.test(path) && existsSync(path)) return [process.execPath, [path]];
  return ['npm', []];
}

function failure(root, code, tail) {
  if (code === -1) return new Unready('npm was not found', 'install npm (it comes with Node) and run this again');
  const usual = usualCause(tail);
  if (usual !== undefined) return new Unready(`"npm ci" failed: ${usual[0]}\n${lastLines(tail)}`, usual[1]);
  return new Unready(
    `"npm ci" failed (exit ${code}):\n${lastLines(tail)}`,
    `run "npm ci" in ${root} and mend what it says`,
  );
}

/** Installs the npm packages where needed; throws Unready with the mend, or Interrupted. */
export async function ensurePackages(root, say) {
  if (!existsSync(join(root, 'package-lock.json'))) {
    throw new Unready('package-lock.json is missing', `check out the repository again: ${root} is not whole`);
  }
  const hash = lockHash(root);
  if (isCurrent(root, hash)) return;
  const lock = join(root, '.cache', 'install.lock');
  try {
    mkdirSync(join(root, '.cache'), { recursive: true });
    await withLock(
      lock,
      (pid) => say(`Waiting for another install of this clone (process ${pid}) …`),
      () => install(root, hash, say),
    );
  } catch (error) {
    const usual = usualCause(`${error.code ?? ''}`);
    if (usual === undefined || error instanceof Unready) throw error;
    throw new Unready(`the npm packages could not be installed in ${root}: ${usual[0]}`, usual[1]);
  }
}

async function install(root, hash, say) {
  if (isCurrent(root, hash)) return;
  say('Installing the npm packages, Node 24 and Postgres among them (once; about half a minute) …');
  // Before npm starts: what says "finished" must not outlive an install that is cut short.
  for (const mark of [STAMP, '.package-lock.json']) rmSync(join(root, 'node_modules', mark), { force: true });
  const [command, before] = npmCommand();
  const args = [...before, 'ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  const { code, tail } = await runChild(command, args, { cwd: root, say });
  if (code !== 0) throw failure(root, code, tail);
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  writeFileSync(join(root, 'node_modules', STAMP), hash);
}
