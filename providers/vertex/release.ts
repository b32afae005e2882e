import { type CustomJobs, isLive } from './custom-jobs.ts';

/** Asks the job to end, once: that it was asked shows in its state. Unknown and ended keys are silent; true: something of it still runs. */
export async function cancelOnce(jobs: CustomJobs, key: string, signal: AbortSignal): Promise<boolean> {
  const live = (await jobs.all(key, signal)).filter(isLive);
  for (const { name, state } of live) if (state !== 'JOB_STATE_CANCELLING') await jobs.cancel(name, signal);
  return live.length > 0;
}
