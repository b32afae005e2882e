import { isLive, type TrainingJobs } from './training-jobs.ts';

/** Gives the job SageMaker's SIGTERM, once: it is told of a stop by its state. Unknown and ended names are silent. */
export async function stopOnce(jobs: TrainingJobs, key: string, signal: AbortSignal): Promise<boolean> {
  const job = await jobs.findOurs(key, signal);
  if (job === undefined || !isLive(job.TrainingJobStatus)) return false;
  if (job.TrainingJobStatus !== 'Stopping') await jobs.stop(key, signal);
  return true;
}
