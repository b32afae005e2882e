// The Python that runs Ray and the example: a venv in the user's cache folder, shared between clones, made once for each content of
// infra/python and Python version. It appears under its name only when it is complete, by a link to the folder it was built in
// (a venv cannot be moved), so neither an interrupt nor two starts at once can leave a half one behind.
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { lastLines, runChild, usualCause } from './child.mjs';
import { withLock } from './lock.mjs';

const NEEDED_MINOR = 10;
const CANDIDATES = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python'];
/** Measured: 1.1 GB for the venv and pip's unpacking. */
const NEEDED_DISK_BYTES = 2 * 1024 ** 3;
const PROBE_LIMIT_MS = 10_000;
/** A build folder that nothing points to is somebody's interrupted install once it is this old. */
const ABANDONED_MS = 60 * 60_000;

const PROBE =
  'import sys,json,importlib.util as u;print(json.dumps([sys.version_info[0],sys.version_info[1],sys.executable,bool(u.find_spec("venv")),bool(u.find_spec("ensurepip")),bool(u.find_spec("pip")),bool(u.find_spec("virtualenv"))]))';

/** Runs a module as `python -m` does, and lets Linux end it when we are gone (prctl PR_SET_PDEATHSIG, SIGTERM). */
const MODULE = `import sys, runpy
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 15)
except Exception:
    pass
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)`;

function runModule(python, args, options) {
  return runChild(python, ['-c', MODULE, ...args], options);
}

/** Folder for what is kept between clones. */
export function cacheFolder(env = process.env) {
  const base = env.XDG_CACHE_HOME?.startsWith('/') ? env.XDG_CACHE_HOME : join(env.HOME || homedir(), '.cache');
  return join(base, 'merit');
}

function probe(command) {
  const result = spawnSync(command, ['-c', PROBE], {
    encoding: 'utf8',
    timeout: PROBE_LIMIT_MS,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (result.status !== 0) return undefined;
  try {
    const [major, minor, executable, venv, ensurepip, pip, virtualenv] = JSON.parse(result.stdout);
    return { command: executable || command, major, minor, venv, ensurepip, pip, virtualenv };
  } catch {
    return undefined;
  }
}

/** The first Python ≥ 3.10 on PATH, or undefined. */
export function findPython() {
  for (const command of CANDIDATES) {
    const found = probe(command);
    if (found !== undefined && found.major === 3 && found.minor >= NEEDED_MINOR) return found;
  }
  return undefined;
}

/** Where the venv for this clone's requirements and this Python is, or would be. */
export function venvFolder(root, python, env = process.env) {
  const hash = createHash('sha256').update(
    `${python.major}.${python.minor} ${process.platform}-${process.arch} ${python.command}\n`,
  );
  for (const file of ['requirements.txt', 'constraints.txt'])
    hash.update(readFileSync(join(root, 'infra', 'python', file)));
  return join(cacheFolder(env), `venv-${hash.digest('hex').slice(0, 16)}`);
}

function usable(folder) {
  return existsSync(join(folder, 'bin', 'python'));
}

/**
 * What Python this clone has now, without installing anything:
 * {state: 'ready', python} | {state: 'to-install', folder} | {state: 'absent', reason, mend}.
 */
export function pythonNow(root) {
  const refused = process.env.MERIT_NO_PYTHON;
  if (refused !== undefined && refused !== '')
    return { state: 'absent', reason: refused, mend: 'unset MERIT_NO_PYTHON' };
  const given = process.env.MERIT_PYTHON;
  if (given !== undefined && given !== '') {
    if (existsSync(given)) return { state: 'ready', python: given };
    return {
      state: 'absent',
      reason: `MERIT_PYTHON names ${given}, which is not there`,
      mend: 'unset MERIT_PYTHON or mend it',
    };
  }
  const found = findPython();
  if (found === undefined) {
    return {
      state: 'absent',
      reason: `no Python 3.${NEEDED_MINOR} or later was found`,
      mend: 'install Python 3.11 (on Debian: apt-get install python3 python3-venv)',
    };
  }
  const folder = venvFolder(root, found);
  if (usable(folder)) return { state: 'ready', python: join(folder, 'bin', 'python') };
  if (!((found.venv && (found.ensurepip || found.pip)) || found.virtualenv)) {
    return {
      state: 'absent',
      reason: `Python 3.${found.minor} is here, but without its venv module`,
      mend: 'on Debian: apt-get install python3-venv',
    };
  }
  return { state: 'to-install', folder, found };
}

/** As pythonNow, installing where needed. Never throws for what a person can mend: Merit runs without Python too. Throws Interrupted. */
export async function ensurePython(root, say) {
  const now = pythonNow(root);
  if (now.state !== 'to-install') return now;
  const { folder, found } = now;
  try {
    mkdirSync(dirname(folder), { recursive: true });
    accessSync(dirname(folder), constants.W_OK);
    return await withLock(
      `${folder}.lock`,
      (pid) => say(`Waiting for another start that installs Ray (process ${pid}) …`),
      () => build(root, folder, found, say),
    );
  } catch (error) {
    if (error.exitCode !== undefined) throw error;
    const usual = usualCause(`${error.code ?? ''} ${error.message}`);
    return absent(
      `Ray could not be installed in ${dirname(folder)}: ${usual?.[0] ?? error.message}`,
      usual?.[1] ?? 'mend it and run this again',
    );
  }
}

function absent(reason, mend) {
  return { state: 'absent', reason, mend };
}

async function build(root, folder, found, say) {
  const ready = { state: 'ready', python: join(folder, 'bin', 'python') };
  if (usable(folder)) return ready;
  sweep(folder);
  const free = statfsSync(dirname(folder));
  if (free.bavail * free.bsize < NEEDED_DISK_BYTES) {
    return absent(
      `Ray needs 2 GB of disk in ${dirname(folder)}, ${Math.floor((free.bavail * free.bsize) / 1024 ** 2)} MB are free`,
      'free some, or point XDG_CACHE_HOME elsewhere',
    );
  }
  say(`Installing Ray and scikit-learn for Python 3.${found.minor} (once for all clones; 1 to 3 minutes) …`);
  const place = `${folder}.build-${randomBytes(4).toString('hex')}`;
  const env = { ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_NO_INPUT: '1', PYTHONNOUSERSITE: '1' };
  try {
    const made = await makeVenv(found, place, env, say);
    if (made.code !== 0) return failed('make a venv', made.tail);
    const args = [
      'pip',
      ...made.pipArgs,
      'install',
      '--quiet',
      '--progress-bar',
      'off',
      '-r',
      join(root, 'infra', 'python', 'requirements.txt'),
    ];
    const installed = await runModule(made.pip, args, { env, say });
    if (installed.code !== 0) return failed('install Ray', installed.tail);
    // A link to a venv whose Python went away gives way to the new one.
    if (!usable(folder)) rmSync(folder, { force: true });
    symlinkSync(basename(place), folder);
    return ready;
  } catch (error) {
    if (error.code === 'EEXIST' && usable(folder)) return ready;
    throw error;
  } finally {
    if (!pointsTo(folder, place)) rmSync(place, { recursive: true, force: true });
  }
}

/** venv with its own pip; where Debian left ensurepip out, without one, driven by the base Python's pip; else virtualenv. */
async function makeVenv(found, place, env, say) {
  if (found.venv && found.ensurepip) {
    const { code, tail } = await runModule(found.command, ['venv', place], { env, say });
    if (code === 0) return { code, tail, pip: join(place, 'bin', 'python'), pipArgs: [] };
    rmSync(place, { recursive: true, force: true });
    if (!found.pip && !found.virtualenv) return { code, tail };
  }
  if (found.venv && found.pip) {
    const { code, tail } = await runModule(found.command, ['venv', '--without-pip', place], { env, say });
    return { code, tail, pip: found.command, pipArgs: ['--python', join(place, 'bin', 'python')] };
  }
  const { code, tail } = await runModule(found.command, ['virtualenv', place], { env, say });
  return { code, tail, pip: join(place, 'bin', 'python'), pipArgs: [] };
}

function failed(doing, tail) {
  const usual = usualCause(tail);
  if (usual !== undefined) return absent(`could not ${doing}: ${usual[0]}`, usual[1]);
  return absent(`could not ${doing}:\n${lastLines(tail)}`, 'mend what it says and run this again');
}

function pointsTo(folder, place) {
  try {
    return readlinkSync(folder) === basename(place);
  } catch {
    return false;
  }
}

/** Removes what interrupted installs left. Runs under the lock, so nobody else is building; a fresh folder may be an orphaned pip's. */
function sweep(folder) {
  for (const name of readdirSync(dirname(folder))) {
    const path = join(dirname(folder), name);
    if (!name.startsWith(`${basename(folder)}.build-`) || pointsTo(folder, path)) continue;
    try {
      if (Date.now() - statSync(path).mtimeMs > ABANDONED_MS) rmSync(path, { recursive: true, force: true });
    } catch {
      // Another's, or gone meanwhile: no hindrance.
    }
  }
}
