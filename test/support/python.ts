import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** The Python environment with Ray that `npm test` installed: MERIT_PYTHON is its python. */
export function pythonVenv(): string {
  const python = process.env.MERIT_PYTHON;
  if (python !== undefined && python !== '') return dirname(dirname(python));
  return join(homedir(), '.cache', 'merit', 'venv');
}

/**
 * Why a Ray cannot be started here, with the command that provides it; undefined where it can. Throws that text when
 * MERIT_REQUIRE_PARTS=1 (CI): there, a missing part is a failure and never a skip.
 */
export function rayInstallMissing(): string | undefined {
  const venv = pythonVenv();
  try {
    accessSync(join(venv, 'bin', 'ray'), constants.X_OK);
    return undefined;
  } catch {
    const reason = `no Ray in ${venv}: with Python 3.10 or later on PATH, "npm test" installs it`;
    if (process.env.MERIT_REQUIRE_PARTS === '1') throw new Error(reason);
    return reason;
  }
}

/** Why these modules cannot be imported here, with the command that provides them; '' where they can. For the title of a skipped suite. */
export function pythonModulesMissing(modules: readonly string[]): string {
  const python = join(pythonVenv(), 'bin', 'python');
  if (!existsSync(python))
    return ` (skipped: no Python in ${pythonVenv()}: with Python 3.10 or later on PATH, "npm test" installs it)`;
  try {
    execFileSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' });
    return '';
  } catch {
    return ` (skipped: ${python} lacks one of ${modules.join(', ')}: "npm test" installs them)`;
  }
}
