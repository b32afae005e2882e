// Brings node_modules in line with package-lock.json: `npm ci`, when it is missing or was installed from another lock file.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { firstErrors, lastLines, runChild, usualCause } from './child.mjs';
import { PRELOAD, Unready } from './launch.mjs';
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

/** npm's own script: the one that runs us, else the one on PATH. */
function npmScript() {
  const given = process.env.npm_execpath;
  const found = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'npm'));
  for (const path of given === undefined ? found : [given, ...found]) {
    try {
      const script = realpathSync(path);
      if (/npm-cli\.[cm]?js$/.test(script)) return script;
    } catch {
      // Not there: the next one.
    }
  }
  return undefined;
}

/** npm under this Node, with the preload that ends it when we are gone: an orphan would go on writing into node_modules. */
function runNpm(args, options) {
  const script = npmScript();
  if (script === undefined) return runChild('npm', args, options);
  // At once: asked by SIGTERM it would first put the old node_modules back, into the hands of the next install.
  const env = { ...process.env, MERIT_LAUNCHER_PID: String(process.pid), MERIT_END_SIGNAL: 'SIGKILL' };
  return runChild(process.execPath, [`--import=${PRELOAD}`, script, ...args], { ...options, env, channel: true });
}

function failure(root, code, tail) {
  if (code === -1) return new Unready('npm was not found', 'install npm (it comes with Node) and run this again');
  const usual = usualCause(tail);
  if (usual !== undefined)
    return new Unready(`"npm ci" failed: ${usual[0]}\n${firstErrors(tail) || lastLines(tail)}`, usual[1]);
  return new Unready(
    `"npm ci" failed (exit ${code}):\n${firstErrors(tail) || lastLines(tail)}`,
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
  const args = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  let { code, tail } = await runNpm(args, { cwd: root, say });
  // Somebody's interrupted npm was still writing there.
  if (code !== 0 && /ENOTEMPTY/.test(tail)) ({ code, tail } = await runNpm(args, { cwd: root, say }));
  if (code !== 0) throw failure(root, code, tail);
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  writeFileSync(join(root, 'node_modules', STAMP), hash);
}
