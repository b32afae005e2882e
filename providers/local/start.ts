import { spawn } from 'node:child_process';
import { chmod, copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { folderFiles, RayJobError } from 'ray-job-submission-client';
import { systemClock } from '../../platform/clock.ts';
import { ProviderError } from '../provider.ts';
import { readClaim, workPath } from './job-folder.ts';

const WRAPPER = fileURLToPath(new URL('./job-wrapper.ts', import.meta.url));
/** A wrapper claims its folder within 0.2 s on an idle machine. */
const CLAIM_LIMIT_MS = 20_000;
const POLL_MS = 20;

/** Copies the files that travel with a job; the same that any other provider gets. Whole or not at all. Throws ProviderError. */
export async function placeWorkdir(folder: string, workdir: string, signal: AbortSignal): Promise<void> {
  const half = `${workPath(folder)}.new`;
  try {
    const files = await folderFiles(workdir, signal);
    await rm(half, { recursive: true, force: true });
    await mkdir(half, { recursive: true, mode: 0o700 });
    for (const file of files) {
      signal.throwIfAborted();
      const target = join(half, file.path);
      await mkdir(dirname(target), { recursive: true });
      await copyFile(join(workdir, file.path), target);
      await chmod(target, file.executable ? 0o700 : 0o600);
    }
    await rm(workPath(folder), { recursive: true, force: true });
    await rename(half, workPath(folder));
  } catch (error) {
    if (error instanceof RayJobError) throw new ProviderError('invalid', error.message, { cause: error });
    const problem = error instanceof Error ? error.message : String(error);
    throw new ProviderError('transient', `the work folder could not be copied: ${problem}`, { cause: error });
  }
}

/**
 * Starts a wrapper and returns once the folder is claimed, by it or by an earlier one that was on its way. Throws ProviderError
 * `transient`.
 */
export async function startWrapper(folder: string, path: string, signal: AbortSignal): Promise<void> {
  const child = spawn(process.execPath, ['--max-old-space-size=64', WRAPPER, folder], {
    detached: true,
    stdio: 'ignore',
    cwd: folder,
    env: { PATH: path },
  });
  let over: string | undefined;
  child.once('error', (error) => {
    over = error.message;
  });
  child.once('exit', (code) => {
    over = `its wrapper ended with ${code}`;
  });
  child.unref();
  const deadlineMs = performance.now() + CLAIM_LIMIT_MS;
  for (;;) {
    const ended = over;
    if (readClaim(folder) !== undefined) return;
    if (ended !== undefined) throw new ProviderError('transient', `the job could not be started: ${ended}`);
    if (signal.aborted || performance.now() >= deadlineMs) {
      throw new ProviderError('transient', 'the job did not start in time', { effect: 'unknown' });
    }
    await systemClock.sleep(POLL_MS);
  }
}
