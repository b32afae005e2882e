import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Clock } from '../../platform/clock.ts';
import { isAlive } from '../../platform/processes.ts';
import { signalProcess } from '../process-table.ts';
import { ProviderError } from '../provider.ts';
import { readClaim, readJob, writeClaim, writeExit, writeStop } from './job-folder.ts';
import { jobProcesses, jobState } from './job-state.ts';

const POLL_MS = 50;
/** After SIGKILL: the kernel's work, and the wrapper's last line. */
const KILL_MARGIN_MS = 10_000;

/** Begins the names of folders that are on their way out; no key begins with a dot. */
export const WITHDRAWN_PREFIX = '.withdrawn-';

/**
 * Takes back an intent that nothing runs: afterwards nothing ever will, and the key is as if never submitted. False: a wrapper claimed it.
 */
export async function withdraw(folder: string): Promise<boolean> {
  if (!writeClaim(folder, { by: 'release' })) return false;
  // Moved away whole: were it taken apart in place, a wrapper that comes late could claim it between the claim's removal and its own.
  const gone = join(dirname(folder), `${WITHDRAWN_PREFIX}${basename(folder)}-${randomBytes(4).toString('hex')}`);
  await rename(folder, gone);
  await removeFolder(gone);
  return true;
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}

/** Tells the attempt to end: SIGTERM to what runs of it, once. One that has not begun never will. */
export async function askToStop(folder: string): Promise<void> {
  const found = await jobState(folder);
  if (found.state === 'none' || found.state === 'ended') return;
  writeStop(folder);
  if (writeClaim(folder, { by: 'release' })) {
    const never = { exitCode: null, signal: null, why: 'never-started', startedAtMs: null } as const;
    writeExit(folder, { ...never, endedAtMs: Date.now() });
    return;
  }
  // A wrapper about to start the job either sees the stop, or has written job.json: then there is something to signal.
  const job = readJob(folder);
  if (job === undefined) return;
  for (const pid of await jobProcesses(folder, job)) signalProcess(pid, 'SIGTERM');
}

/** SIGTERM, after the grace SIGKILL; returns once nothing of it runs and its end is written down. Throws ProviderError `transient`. */
export async function stopAndWait(folder: string, graceMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  await askToStop(folder);
  const startedMs = clock.now();
  let termed = readJob(folder) !== undefined;
  for (;;) {
    const found = await jobState(folder);
    if (found.state === 'none' || found.state === 'intended') return;
    const pids = await jobProcesses(folder, readJob(folder));
    if (found.state === 'ended' && pids.length === 0) return;
    const waitedMs = clock.now() - startedMs;
    if (!termed && found.state === 'running') {
      termed = true;
      for (const pid of pids) signalProcess(pid, 'SIGTERM');
    }
    if (waitedMs >= graceMs || found.state === 'ended') for (const pid of pids) signalProcess(pid, 'SIGKILL');
    if (waitedMs >= graceMs + KILL_MARGIN_MS / 2) killWrapper(folder);
    if (waitedMs >= graceMs + KILL_MARGIN_MS) {
      throw new ProviderError('transient', 'processes of the job outlive SIGKILL', { effect: 'unknown' });
    }
    if (signal.aborted)
      throw new ProviderError('transient', 'broken off while the job was ending', { effect: 'unknown' });
    await clock.sleep(POLL_MS);
  }
}

/** One that does not write its last line although its job is gone hangs. */
function killWrapper(folder: string): void {
  const claim = readClaim(folder);
  if (claim?.by === 'wrapper' && isAlive(claim.pid, claim.startTime)) signalProcess(claim.pid, 'SIGKILL');
}
