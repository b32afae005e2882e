import type { RayJob } from 'ray-job-submission-client';
import { cleanMessage, type Observation } from '../provider.ts';
import { handleOf } from './ownership.ts';

const WORD_LIMIT = 64;

/** Ray's job as Merit sees it. `start_time` is when it was submitted, so Ray never says when a job began to run. */
export function observationOf(key: string, job: RayJob): Observation {
  const handle = handleOf(key, job);
  switch (job.status) {
    case 'PENDING':
      return { state: 'pending', handle, message: cleanMessage(job.message) };
    case 'RUNNING':
      return { state: 'running', handle, startedAtMs: undefined };
    case 'SUCCEEDED':
    case 'STOPPED':
    case 'FAILED':
      return {
        state: 'ended',
        handle,
        outcome: outcomeOf(job),
        exitCode: job.exitCode,
        message: cleanMessage(job.errorType === undefined ? job.message : `${job.errorType}: ${job.message}`),
        startedAtMs: undefined,
        endedAtMs: job.endedAtMs,
      };
    default:
      return { state: 'unknown-status', handle, word: cleanMessage(job.status).slice(0, WORD_LIMIT) };
  }
}

/** False for the three words after which nothing of a job runs; an unknown word counts as live. */
export function isLive(job: RayJob): boolean {
  return job.status !== 'SUCCEEDED' && job.status !== 'STOPPED' && job.status !== 'FAILED';
}

function outcomeOf(job: RayJob): 'succeeded' | 'failed' | 'stopped' | 'preempted' {
  if (job.status === 'SUCCEEDED') return 'succeeded';
  if (job.status === 'STOPPED') return 'stopped';
  // Ray has one word for a supervisor that died; only its text says whether the node went away under it.
  const nodeWentAway =
    job.errorType === 'JOB_SUPERVISOR_ACTOR_DIED' &&
    /\bnode (?:has died|was (?:terminated|preempted))/i.test(job.message);
  return nodeWentAway ? 'preempted' : 'failed';
}
