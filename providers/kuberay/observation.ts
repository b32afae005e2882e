import { handleOf, RAN } from '../kubernetes/ownership.ts';
import { conditionOf, type Pod, timeMs } from '../kubernetes/pod.ts';
import { podWait } from '../kubernetes/pod-end.ts';
import { cleanMessage, type EndOutcome, type Observation, WORD_LIMIT } from '../provider.ts';
import { observationOf as rayObservationOf } from '../ray/observation.ts';
import { PROVIDER_KIND } from './ownership.ts';
import { isOver, NODE_TYPE_LABEL, type RayJobObject, type RayJobStatus } from './ray-job.ts';
import { waitingReason } from './waiting-reason.ts';

/** What an observation is made of. */
export interface Seen {
  readonly job: RayJobObject;
  readonly pods: readonly Pod[];
  /** For so long this process has seen it without a word of the operator. */
  readonly silentMs: number;
}

export interface ObservationSettings {
  readonly operatorSilentMs: number;
}

/** As Ray words them; the second line on is what the job printed last. */
const ENTRYPOINT_FAILED = /^Job entrypoint command failed with exit code (-?\d+)/;
const SUPERVISOR_DIED = /actor (?:died|is dead|failed to start)|supervisor actor/i;

/** A RayJob as Merit sees it: KubeRay's word of the whole, Ray's of the job in it, and what its pods say. */
export function observationOf(seen: Seen, settings: ObservationSettings): Observation {
  const { job } = seen;
  const handle = handleOf(PROVIDER_KIND, job);
  const status = job.status ?? {};
  const word = status.jobDeploymentStatus ?? '';
  if (isInterrupted(seen))
    return ended(job, 'preempted', 'suspended after it ran: it would run once more from its beginning');
  switch (word) {
    case '':
      return pending(job, unclaimed(seen, settings));
    case 'Initializing':
      return beginning(seen);
    case 'Running':
      return running(seen);
    case 'Complete':
    case 'Failed':
      return judged(job);
    case 'ValidationFailed':
      return ended(job, 'failed', `KubeRay does not take it: ${status.message ?? ''}`);
    case 'Suspending':
    case 'Suspended':
      // What ran has its notice.
      if (word === 'Suspending' && job.metadata.annotations?.[RAN] !== undefined)
        return { state: 'running', handle, startedAtMs: startedAtMs(status) };
      return pending(job, `${word}: somebody else has set suspend, and Merit waits for its resumption`);
    case 'Retrying':
      return pending(job, 'Retrying');
    default:
      return { state: 'unknown-status', handle, word: cleanMessage(word).slice(0, WORD_LIMIT) };
  }
}

/** The cluster in which Ray is seen to run the job, as long as none is written down: each start has one of its own. */
export function clusterToMark({ metadata: { annotations }, status = {} }: RayJobObject): string | undefined {
  if (annotations?.[RAN] !== undefined || status.jobStatus !== 'RUNNING') return undefined;
  return status.jobDeploymentStatus === 'Running' && status.rayClusterName !== '' ? status.rayClusterName : undefined;
}

/** It ran, and was suspended: its cluster is gone, or another one was made. What has an end by now has that. */
function isInterrupted({ job: { metadata, status = {} }, pods }: Seen): boolean {
  const ran = metadata.annotations?.[RAN];
  if (ran === undefined || isOver(status) || metadata.deletionTimestamp !== undefined) return false;
  if (status.jobDeploymentStatus === 'Suspending') return pods.length === 0;
  return status.rayClusterName !== ran;
}

/** Being deleted: KubeRay starts nothing of it any more. */
function isEnding({ metadata }: RayJobObject): boolean {
  return metadata.deletionTimestamp !== undefined;
}

function unclaimed({ silentMs, job }: Seen, { operatorSilentMs }: ObservationSettings): string {
  if (job.spec?.suspend === true) return 'Suspended: somebody else has set suspend, and Merit waits for its resumption';
  if (silentMs < operatorSilentMs) return 'KubeRay has not taken it up yet';
  const text = `KubeRay’s operator says nothing of it for ${Math.floor(silentMs / 1000)} s:`;
  return `${text} is it running, and does it watch this namespace?`;
}

function beginning({ job, pods }: Seen): Observation {
  if (isEnding(job)) return ended(job, 'stopped', 'its RayJob was deleted before it began');
  const hopeless = pods.map(podWait).find(({ isFinal }) => isFinal);
  if (hopeless !== undefined) return ended(job, 'failed', `it can never begin: ${hopeless.message}`);
  return pending(job, waitingReason(job, pods));
}

function running({ job, pods }: Seen): Observation {
  const status = job.status ?? {};
  const handle = handleOf(PROVIDER_KIND, job);
  switch (status.jobStatus ?? '') {
    case 'SUCCEEDED':
    case 'FAILED':
    case 'STOPPED':
      return judged(job);
    case '':
    case 'PENDING':
    case 'RUNNING': {
      const lost = lostHead(pods);
      if (lost !== undefined && isEnding(job)) return ended(job, 'stopped', 'its RayJob was deleted');
      if (lost !== undefined) return ended(job, 'preempted', `its head was lost: ${lost}`);
      if (status.jobStatus === 'RUNNING') return { state: 'running', handle, startedAtMs: startedAtMs(status) };
      return pending(job, 'the cluster is there; Ray starts the job');
    }
    default:
      return { state: 'unknown-status', handle, word: cleanMessage(String(status.jobStatus)).slice(0, WORD_LIMIT) };
  }
}

/** Why no head is left: KubeRay starts no other one for a job that ran, and would tell it as running for ever. undefined: it is there. */
function lostHead(pods: readonly Pod[]): string | undefined {
  const heads = pods.filter(({ metadata }) => metadata.labels?.[NODE_TYPE_LABEL] === 'head');
  if (heads.some(isThere)) return undefined;
  const [last] = heads;
  if (last === undefined) return 'its pod is gone, as after a preemption, an eviction or the end of its node';
  const told = conditionOf(last, 'DisruptionTarget') ?? last.status;
  return (
    [told?.reason, told?.message].filter((text) => text !== undefined && text !== '').join(': ') || 'its pod ended'
  );
}

/** The pod of a node that died is told as running for as long as the node has a name: its controllers mark it for taking away, and as not ready. */
function isThere(pod: Pod): boolean {
  const { metadata, status } = pod;
  if (status?.phase !== 'Running' && status?.phase !== 'Pending') return false;
  const isTaken = metadata.deletionTimestamp !== undefined && conditionOf(pod, 'DisruptionTarget') !== undefined;
  return !isTaken || conditionOf(pod, 'Ready') !== undefined;
}

/** Where the head pod of one that runs seems to be lost, so that another look at the job decides. */
export function headSeemsLost({ job, pods }: Pick<Seen, 'job' | 'pods'>): boolean {
  return job.status?.jobDeploymentStatus === 'Running' && lostHead(pods) !== undefined;
}

/** How it ended, by Ray's word of the job and KubeRay's reason. */
function judged(job: RayJobObject): Observation {
  const { jobStatus = '', reason = '', message = '' } = job.status ?? {};
  if (jobStatus === 'SUCCEEDED') return ended(job, 'succeeded', message, 0);
  if (jobStatus === 'STOPPED') return ended(job, 'stopped', message);
  if (reason === 'DeadlineExceeded') {
    const began = jobStatus === 'RUNNING';
    if (began) return ended(job, 'stopped', 'DeadlineExceeded: its lease is over');
    return ended(job, 'preempted', 'DeadlineExceeded: its pods did not come in time');
  }
  if (jobStatus === 'FAILED') return failed(job, message);
  // KubeRay gave up on the cluster or on submitting, which is not the job's fault.
  return ended(job, 'preempted', [reason, message].filter((text) => text !== '').join(': '));
}

/** A RayJob tells neither Ray's type of error nor the exit code: both stand in its text. */
function failed(job: RayJobObject, message: string): Observation {
  const key = job.metadata.name;
  const exit = ENTRYPOINT_FAILED.exec(message)?.[1];
  const errorType =
    exit !== undefined
      ? 'JOB_ENTRYPOINT_COMMAND_ERROR'
      : SUPERVISOR_DIED.test(message)
        ? 'JOB_SUPERVISOR_ACTOR_DIED'
        : undefined;
  const told = rayObservationOf(key, '', {
    type: 'SUBMISSION',
    submissionId: key,
    jobId: undefined,
    status: 'FAILED',
    entrypoint: job.spec?.entrypoint ?? '',
    message,
    errorType,
    submittedAtMs: undefined,
    endedAtMs: undefined,
    metadata: {},
    exitCode: exit === undefined ? undefined : Number(exit),
    nodeId: undefined,
  });
  if (told.state !== 'ended') throw new Error('Ray has another end for FAILED');
  return ended(job, told.outcome, told.message, told.exitCode);
}

function pending(job: RayJobObject, message: string): Observation {
  return { state: 'pending', handle: handleOf(PROVIDER_KIND, job), message: cleanMessage(message) };
}

function ended(
  job: RayJobObject,
  outcome: EndOutcome,
  message: string,
  exitCode?: number,
): Extract<Observation, { state: 'ended' }> {
  const status = job.status ?? {};
  return {
    state: 'ended',
    handle: handleOf(PROVIDER_KIND, job),
    outcome,
    exitCode,
    message: cleanMessage(message),
    startedAtMs: startedAtMs(status),
    endedAtMs: timeMs(status.rayJobInfo?.endTime) ?? timeMs(status.endTime),
  };
}

/** Of the job in Ray: the cluster was there by then. */
function startedAtMs({ rayJobInfo }: RayJobStatus): number | undefined {
  return timeMs(rayJobInfo?.startTime);
}
