// What `npm start` and `npm test` do first: npm packages, then Python with Ray. Says on stderr what it does.
import { Interrupted } from './child.mjs';
import { ensurePackages } from './install-packages.mjs';
import { ensurePython } from './install-python.mjs';
import { ROOT } from './launch.mjs';

function say(line) {
  process.stderr.write(`${line}\n`);
}

/**
 * The environment for what is started next: MERIT_PYTHON is the venv's Python, or MERIT_NO_PYTHON says why there is none.
 * undefined where this was interrupted; the exit code is then set. Throws Unready.
 */
export async function prepare() {
  try {
    await ensurePackages(ROOT, say);
    const python = await ensurePython(ROOT, say);
    const { MERIT_PYTHON: _, MERIT_NO_PYTHON: __, ...env } = process.env;
    if (python.state === 'ready') return { ...env, MERIT_PYTHON: python.python };
    say(`No Ray: ${python.reason}\n  mend: ${python.mend}\n  going on with the local provider, which needs no Python`);
    return { ...env, MERIT_NO_PYTHON: python.reason };
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    say('Interrupted; the next start goes on from here.');
    process.exitCode = error.exitCode;
    return undefined;
  }
}
