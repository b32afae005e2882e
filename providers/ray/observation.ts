import type { RayJob } from 'ray-job-submission-client';
import { cleanMessage, type Observation, WORD_LIMIT } from '../provider.ts';
import { handleOf } from './ownership.ts';
import { GANG_ENTRYPOINT } from './request.ts';

/** How the driver of a gang begins the lines that are its own; its ranks' lines begin with their rank. */
const GANG_MARK = '[merit] ';

/**
 * Ray's job as Merit sees it; `withItsNode`: it went down with it, whatever Ray says. `start_time` is when it was submitted, so Ray never says when a
 * job began to run.
 */
export function observationOf(key: string, session: string, job: RayJob, withItsNode = false): Observation {
  const handle = handleOf(key, session, job);
  if (withItsNode) {
    const message = cleanMessage(`the job's node has died; Ray says ${job.status}: ${messageOf(job)}`);
    const { exitCode, endedAtMs } = job;
    return { state: 'ended', handle, outcome: 'preempted', exitCode, message, startedAtMs: undefined, endedAtMs };
  }
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
        message: cleanMessage(messageOf(job)),
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

function messageOf(job: RayJob): string {
  const verdict = gangVerdict(job);
  const message = verdict === undefined ? job.message : `${verdict}; ${job.message}`;
  return job.errorType === undefined ? message : `${job.errorType}: ${message}`;
}

/** What became of a gang, in its driver's words: which rank failed, where and how. */
function gangVerdict(job: RayJob): string | undefined {
  if (job.entrypoint !== GANG_ENTRYPOINT || job.errorType !== 'JOB_ENTRYPOINT_COMMAND_ERROR') return undefined;
  // Ray's message is the log's end; its first line is Ray's own, and the second may have lost what stood before its cut.
  const lines = job.message.split('\n').slice(2);
  return lines.findLast((line) => line.startsWith(GANG_MARK))?.slice(GANG_MARK.length);
}

function outcomeOf(job: RayJob): 'succeeded' | 'failed' | 'stopped' | 'preempted' {
  if (job.status === 'SUCCEEDED') return 'succeeded';
  if (job.status === 'STOPPED') return 'stopped';
  const verdict = gangVerdict(job);
  if (verdict !== undefined) {
    const notItsFault =
      /was lost: its node has died$|^a node was lost before all had begun: |^no room for all its nodes at once /.test(
        verdict,
      );
    return notItsFault ? 'preempted' : 'failed';
  }
  return nodeWentAway(job) ? 'preempted' : 'failed';
}

/** Ray has one word for a supervisor that died; only its text says whether the node went away under it. */
function nodeWentAway({ errorType, message }: RayJob): boolean {
  return errorType === 'JOB_SUPERVISOR_ACTOR_DIED' && /\bnode (?:has died|was (?:terminated|preempted))/i.test(message);
}

/** What Ray says where all it knows is that a job's supervisor is not there any more: its node may have died. */
const SUPERVISOR_GONE: readonly string[] = [
  'JOB_SUPERVISOR_ACTOR_DIED',
  'JOB_SUPERVISOR_ACTOR_START_FAILURE',
  'JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE',
];

/** False for a failed job whose supervisor was lost, and Ray does not say to what. */
export function saysWhyItDied(job: RayJob): boolean {
  if (job.errorType === undefined || !SUPERVISOR_GONE.includes(job.errorType)) return true;
  const exit = /\bWorker exit type: (\w+)/.exec(job.message)?.[1];
  return nodeWentAway(job) || (exit !== undefined && exit !== 'SYSTEM_ERROR');
}
