import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { lastLines, runChild, usualCause } from '../../../bin/child.mjs';
import { cachedFolder, keepInCache } from './cache.ts';
import { findCommand } from './debian.ts';
import type { Say } from './part.ts';

/** A package of PyPI that brings a command, in a venv of its own. */
export interface PythonCommand {
  /** The command in the venv's `bin`. */
  readonly name: string;
  /** As pip takes it, pinned: `moto[server]==5.1.0`. */
  readonly requirement: string;
  /** What else must be there, or be kept out: `flask<4`. */
  readonly constraints?: readonly string[];
}

const RECIPE_OF = ({ requirement, constraints = [] }: PythonCommand) => [requirement, ...constraints].join('\n');

/** Where the venv is, or will be. Its scripts name their own place, so it is made where it stays. */
function folderOf(command: PythonCommand): string {
  return cachedFolder(command.name, RECIPE_OF(command));
}

/** The venv's Python; commands are run as its modules, for a script begins with the path of the folder that it was made in. */
export function venvPython(command: PythonCommand): string {
  return join(folderOf(command), 'venv', 'bin', 'python');
}

export function pythonCommandMissing(command: PythonCommand): string | undefined {
  if (existsSync(venvPython(command))) return undefined;
  return `${command.requirement} is not there: "npm run test:parts" fetches it`;
}

/** Makes the venv in the cache. Throws with a reason that a person can mend. */
export async function providePythonCommand(command: PythonCommand, say: Say): Promise<void> {
  await keepInCache(folderOf(command), say, async (place) => {
    const python = findCommand('python3');
    if (python === undefined) throw new Error('there is no python3: apt-get install python3 python3-venv');
    say(`Fetching ${command.requirement} (once for all clones) …`);
    const venv = join(place, 'venv');
    const steps = [
      [python, '-m', 'venv', venv],
      [join(venv, 'bin', 'python'), '-m', 'pip', 'install', '--quiet', ...RECIPE_OF(command).split('\n')],
    ] as const;
    for (const [program, ...args] of steps) {
      const env = { ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: '1' };
      const { code, tail } = await runChild(program, args, { env });
      if (code !== 0)
        throw new Error(`could not fetch ${command.name}: ${usualCause(tail)?.join('; ') ?? lastLines(tail)}`);
    }
  });
}
