import { spawn } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { OperatingError } from '../../../core/operating-error.ts';
import { DIGITS_DIR } from './digits-files.ts';

const TRAIN_TIMEOUT_MS = 120_000;
const MAX_SAID_BYTES = 8_192;

/**
 * Trains the incumbent as its team would by hand, outside Merit, and returns the reports of its live traffic, one line a slice. A round that
 * was interrupted keeps what was trained.
 */
export async function trainIncumbent(options: {
  readonly parameters: { readonly [key: string]: unknown };
  readonly folder: string;
  /** The venv's Python; undefined: train.mjs. */
  readonly python: string | undefined;
  readonly signal: AbortSignal;
}): Promise<readonly string[]> {
  const reports = join(options.folder, 'reports.ndjson');
  const earlier = await readFile(reports, 'utf8').catch(() => undefined);
  if (earlier === undefined) {
    await mkdir(options.folder, { recursive: true });
    const parameters = JSON.stringify({ ...options.parameters, outputs: pathToFileURL(options.folder).href });
    const command = options.python === undefined ? [process.execPath, 'train.mjs'] : [options.python, 'train.py'];
    await run(command, { MERIT_PARAMETERS: parameters }, options.signal);
  }
  return (earlier ?? (await readFile(reports, 'utf8'))).split('\n').filter((line) => line !== '');
}

function run(command: readonly string[], env: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
  const [program, ...args] = command as [string, ...string[]];
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: DIGITS_DIR,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: AbortSignal.any([signal, AbortSignal.timeout(TRAIN_TIMEOUT_MS)]),
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        said = (said + chunk.toString('utf8')).slice(-MAX_SAID_BYTES);
      });
    }
    child.on('error', (cause) => reject(new OperatingError('aborted', 'safe', 'training the incumbent', { cause })));
    child.on('close', (code) => {
      if (code === 0) resolve();
      else
        reject(
          new OperatingError('aborted', 'safe', 'training the incumbent', {
            cause: `${command.join(' ')} ended with ${code}:\n${said.trim()}`,
          }),
        );
    });
  });
}
