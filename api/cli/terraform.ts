import { type ExecFileException, execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CliError, EXIT } from './exit.ts';
import { readInputFile } from './files.ts';
import type { Invocation } from './invocation.ts';
import { oneLine } from './text.ts';

/** A state of tens of thousands of resources: its outputs are few, but come with it. */
const MOST_BYTES = 256 * 1024 * 1024;
/** A state in a remote backend has to be fetched. */
const LIMIT_MS = 120_000;
const MOST_SAID = 2_000;

/** What `terraform show -json` prints of a folder; of a file, or `-`, what it printed there before. */
export async function terraformShown(
  { io, signal }: Pick<Invocation, 'io' | 'signal'>,
  path: string,
): Promise<unknown> {
  const folder = resolve(io.cwd, path);
  const isFolder = path !== '-' && (await stat(folder).catch(() => undefined))?.isDirectory() === true;
  const bytes = isFolder ? await show(folder, signal, io.env) : await readInputFile(io, path, MOST_BYTES);
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    throw new CliError(EXIT.badValue, 'file', `${JSON.stringify(path)} is not JSON`, {
      mend: 'name the folder of an applied configuration, or a file with what `terraform show -json` printed there',
    });
  }
}

function show(folder: string, signal: AbortSignal, env: NodeJS.ProcessEnv): Promise<Buffer> {
  return new Promise((fulfil, reject) => {
    execFile(
      'terraform',
      [`-chdir=${folder}`, 'show', '-json', '-no-color'],
      {
        encoding: 'buffer',
        maxBuffer: MOST_BYTES,
        timeout: LIMIT_MS,
        signal,
        env: { ...process.env, ...env, TF_IN_AUTOMATION: '1' },
      },
      (error, stdout, stderr) =>
        error === null ? fulfil(stdout) : reject(failure(folder, error, stderr.toString('utf8'))),
    );
  });
}

function failure(folder: string, error: ExecFileException, stderr: string): unknown {
  if (error.name === 'AbortError') return error;
  if (error.code === 'ENOENT')
    return new CliError(EXIT.badConfiguration, 'terraform', 'terraform is not on the PATH', {
      mend: 'install it, or name a file with what `terraform show -json` printed',
    });
  const why =
    error.killed === true ? `took longer than ${LIMIT_MS / 1000} s` : `failed: ${oneLine(stderr).slice(0, MOST_SAID)}`;
  return new CliError(EXIT.badValue, 'terraform', `terraform show in ${JSON.stringify(folder)} ${why}`, {
    mend: 'run `terraform init` and `terraform apply` there first',
  });
}
