import { join } from 'node:path';
import { RefusedInput } from '../../../core/refusal.ts';
import { systemClock } from '../../../platform/clock.ts';
import { loadConfig, type ServerConfig } from '../../../platform/config.ts';
import { createLogger } from '../../../platform/logger.ts';
import { type Installation, startInstallation } from '../../roles/start-installation.ts';
import { clientOf } from '../client.ts';
import { findConnection, stateDir } from '../connection.ts';
import { type LoopResult, runDigitsLoop } from '../example/digits-loop.ts';
import { loopTable, nextCommands } from '../example/loop-table.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { packageVersion } from '../version.ts';

/** `merit start`: everything on one machine, until a signal; `--loop` runs the example first, `--exit` ends after it. */
export default async function start(invocation: Invocation): Promise<number> {
  const { options, io, signal } = invocation;
  const home = typeof options.stateDir === 'string' ? options.stateDir : stateDir(io);
  const env = {
    ...io.env,
    MERIT_HOME: home,
    ...(options.port === undefined ? {} : { MERIT_PORT: String(options.port) }),
  };
  const config = await configuration(env, io.cwd);
  const logFile = config.log.file ?? join(config.stateDir, 'merit.log');
  const log = createLogger({ level: config.log.level, file: logFile });
  const python = pythonOf(io.env);
  const installation = await startInstallation({
    config,
    version: packageVersion(),
    python,
    restartWitness: typeof options.restartWitness === 'string' ? options.restartWitness : undefined,
    clock: systemClock,
    log,
    say: (line) => io.note(line),
  });
  try {
    if (options.loop === true) {
      const result = await loop(
        invocation,
        installation,
        config.stateDir,
        typeof python === 'string' ? python : undefined,
      );
      await io.out(await loopTable(result));
      if (options.exit === true) return EXIT.ok;
      await io.out(nextCommands(installation.url, result));
    }
    io.note(`the log is ${logFile}; Ctrl-C ends everything`);
    await aborted(signal);
    return options.loop === true || options.exit === true ? EXIT.ok : EXIT.interrupted;
  } finally {
    io.note('ending');
    await installation.stop();
  }
}

/** What is wrong with the configuration ends with 78, all of it at once. */
async function configuration(env: Readonly<Record<string, string | undefined>>, cwd: string): Promise<ServerConfig> {
  try {
    return await loadConfig({ env, cwd });
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    throw new CliError(EXIT.badConfiguration, 'configuration', error.message, {
      mend: 'mend the configuration; nothing was started',
    });
  }
}

/** The launcher's finding: MERIT_PYTHON is a venv's Python with Ray; MERIT_NO_PYTHON says why there is none. */
function pythonOf(env: Readonly<Record<string, string | undefined>>): string | { readonly missing: string } {
  const found = env.MERIT_PYTHON;
  if (found !== undefined && found !== '') return found;
  return {
    missing:
      env.MERIT_NO_PYTHON ??
      'Python with Ray is not set up: `npm start` installs it, or name its python in MERIT_PYTHON',
  };
}

async function loop(
  invocation: Invocation,
  installation: Installation,
  home: string,
  python: string | undefined,
): Promise<LoopResult> {
  const { io, options, signal } = invocation;
  const found = await findConnection({ ...io, env: { ...io.env, MERIT_HOME: home, MERIT_URL: undefined } });
  const client = clientOf({ ...found, url: new URL(installation.url) }, signal);
  if (python === undefined)
    io.note('no Python: the example runs its train.mjs, on digits that it draws itself, with the local provider');
  return runDigitsLoop({
    client,
    folder: join(home, 'example'),
    python,
    again: options.again === true,
    say: (line) => io.note(line),
    signal,
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
