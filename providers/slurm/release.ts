import type { Clock } from '../../platform/clock.ts';
import { ProviderError } from '../provider.ts';
import { isWaitingState, type SlurmJob } from './job-record.ts';
import { isLive, type Jobs } from './jobs.ts';
import { RunFolder } from './run-folder.ts';

const LOOK_EVERY_MS = 500;
/** slurmd kills what is left KillWait (30 s, where nobody set another) after SIGTERM; a cancel that slurmctld lost is sent again. */
const CANCEL_EVERY_MS = 60_000;
/** Then Merit is told, and asks anew. */
const PATIENCE_MS = 600_000;

/** Gives what runs its notice, as often as it is called; what waits is taken out of the queue, for it has nothing to save. Silent where there is nothing. */
export async function drainJob(shared: string, jobs: Jobs, key: string, signal: AbortSignal): Promise<void> {
  const folder = new RunFolder(shared, key);
  const live = (await jobs.list(signal)).get(key)?.filter(isLive) ?? [];
  if (live.length === 0) return;
  if (await forbids(folder, live)) {
    for (const job of live) await jobs.cancel(job, signal);
    return;
  }
  if ((await folder.owner()) === undefined) return;
  await folder.giveNotice();
  for (const job of live) if (!isWaitingState(job.state)) await jobs.cancel(job, signal, 'URG');
}

/** True where nothing runs, and nothing will: the claim is taken before a job could. */
async function forbids(folder: RunFolder, live: readonly SlurmJob[]): Promise<boolean> {
  if (!live.every(({ state }) => isWaitingState(state))) return false;
  if ((await folder.owner()) === undefined) return true;
  return (await folder.forbid()) || (await folder.claim())?.by === 'release';
}

/** Cancels all jobs of the key and returns once nothing of them runs, and nothing ever will; what holds its environment is gone then. Throws ProviderError `transient`, effect unknown, where that takes too long. */
export async function releaseJob(
  shared: string,
  jobs: Jobs,
  clock: Clock,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  const folder = new RunFolder(shared, key);
  // A submit whose reply was lost may still come: it finds the claim taken.
  if ((await folder.owner()) !== undefined) await folder.forbid();
  const limitMs = clock.now() + PATIENCE_MS;
  const cancelledAtMs = new Map<number, number>();
  for (;;) {
    const live = (await jobs.list(signal)).get(key)?.filter(isLive) ?? [];
    if (live.length === 0) return folder.clean();
    for (const job of live) {
      const nowMs = clock.now();
      if (nowMs - (cancelledAtMs.get(job.id) ?? Number.NEGATIVE_INFINITY) < CANCEL_EVERY_MS) continue;
      cancelledAtMs.set(job.id, nowMs);
      await jobs.cancel(job, signal);
    }
    if (clock.now() >= limitMs) throw new ProviderError('transient', `Slurm still ends ${key}`, { effect: 'unknown' });
    await clock.sleep(LOOK_EVERY_MS, signal);
    if (signal.aborted) throw new ProviderError('transient', `${key} is being cancelled`, { effect: 'unknown' });
  }
}
