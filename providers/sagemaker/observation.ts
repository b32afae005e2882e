import { cleanMessage, type EndOutcome, type Handle, type Observation, WORD_LIMIT } from '../provider.ts';
import { handleOf } from './ownership.ts';
import type { TrainingJob } from './training-jobs.ts';

/** What SageMaker does before the command runs, and again after it took a spot machine back. */
const BEFORE: readonly string[] = [
  'Pending',
  'Starting',
  'LaunchingMLInstances',
  'PreparingTrainingStack',
  'Downloading',
  'DownloadingTrainingImage',
  'Interrupted',
  'Restarting',
];
const RUNNING: readonly string[] = ['Training', 'Uploading', 'Updating', 'Stopping'];
/** Faults of AWS, not of the job: nothing but another try mends them. */
const NOT_ITS_FAULT = /^(InternalServerError|CapacityError)\b|unable to provision requested ml compute capacity/i;
const EXIT_CODE = /\bexit code: (\d{1,3})\b/i;

/** SageMaker's job as Merit sees it. */
export function observationOf(key: string, job: TrainingJob): Observation {
  const handle = handleOf(key, job.TrainingJobArn);
  switch (job.TrainingJobStatus) {
    case 'InProgress':
      return inProgress(handle, job);
    case 'Stopping':
      return { state: 'running', handle, startedAtMs: job.TrainingStartTime?.getTime() };
    case 'Completed':
    case 'Failed':
    case 'Stopped':
      return ended(handle, job);
    case 'Deleting':
      // Only what has ended can be deleted; how it ended is not told any more.
      return { state: 'absent' };
    default:
      return { state: 'unknown-status', handle, word: wordOf(String(job.TrainingJobStatus)) };
  }
}

function inProgress(handle: Handle, job: TrainingJob): Observation {
  const secondary = String(job.SecondaryStatus);
  if (RUNNING.includes(secondary)) return { state: 'running', handle, startedAtMs: job.TrainingStartTime?.getTime() };
  if (!BEFORE.includes(secondary)) return { state: 'unknown-status', handle, word: wordOf(secondary) };
  const said = job.SecondaryStatusTransitions?.at(-1)?.StatusMessage;
  return { state: 'pending', handle, message: cleanMessage(said ? `${secondary}: ${said}` : secondary) };
}

function ended(handle: Handle, job: TrainingJob): Observation {
  const outcome = outcomeOf(job);
  const exit = EXIT_CODE.exec(job.FailureReason ?? '')?.[1];
  return {
    state: 'ended',
    handle,
    outcome,
    exitCode: outcome === 'succeeded' ? 0 : outcome === 'failed' && exit !== undefined ? Number(exit) : undefined,
    message: cleanMessage([job.FailureReason ?? reasonOf(job), billed(job)].filter((text) => text !== '').join(' · ')),
    startedAtMs: job.TrainingStartTime?.getTime(),
    endedAtMs: (job.TrainingEndTime ?? job.LastModifiedTime)?.getTime(),
  };
}

function outcomeOf({
  TrainingJobStatus: status,
  SecondaryStatus: secondary,
  FailureReason: reason,
}: TrainingJob): EndOutcome {
  if (status === 'Completed') return 'succeeded';
  if (status === 'Failed') return NOT_ITS_FAULT.test(reason ?? '') ? 'preempted' : 'failed';
  // Of its lease what waiting for spot machines left was too short, or they were taken and never came back.
  return secondary === 'MaxWaitTimeExceeded' || secondary === 'Interrupted' ? 'preempted' : 'stopped';
}

function reasonOf({ TrainingJobStatus: status, SecondaryStatus: secondary }: TrainingJob): string {
  return status === 'Stopped' && secondary !== 'Stopped' ? String(secondary) : '';
}

/** What AWS takes money for: of a spot job less than it ran, of one that was interrupted not the waiting. */
function billed({
  BillableTimeInSeconds: billable,
  TrainingTimeInSeconds: ran,
  ResourceConfig: resources,
}: TrainingJob): string {
  if (billable === undefined) return '';
  const count = resources?.InstanceCount ?? 1;
  return `AWS bills ${billable} s${ran === undefined ? '' : ` of ${ran} s`}${count > 1 ? ` on each of ${count} instances` : ''}`;
}

function wordOf(text: string): string {
  return cleanMessage(text).slice(0, WORD_LIMIT);
}
