import { cleanMessage, type Observation, WORD_LIMIT } from '../provider.ts';
import type { Look } from './jobs.ts';
import { type Job, STARTED } from './manifest.ts';
import { handleOf, RAN, RAN_POD } from './ownership.ts';
import { conditionOf, isLivePod, type Pod, rankOf, timeMs } from './pod.ts';
import { hasBegun, jobContainer, type PodEnd, podEnd, podWait } from './pod-end.ts';

export const PROVIDER_KIND = 'kubernetes';

const PHASES: readonly string[] = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'];

/** Whether the Job has ended, by its own word: its controller says so once none of its pods runs. */
export function isOver(job: Job): boolean {
  return conditionOf(job, 'Complete') !== undefined || conditionOf(job, 'Failed') !== undefined;
}

/** Kubernetes' Job as Merit sees it. `complaint`: why it has no pod. */
export function observationOf({ job, pods }: Look, complaint?: string): Observation {
  const handle = handleOf(PROVIDER_KIND, job);
  if (isOver(job)) return ended(job, pods);
  const going = job.metadata.deletionTimestamp !== undefined;
  // Made, and not started: as long as nobody repeats the submit, it never is.
  if (job.metadata.annotations?.[STARTED] === undefined) return { state: 'absent' };
  if (!going && isInterrupted(job, pods)) return interrupted(job);
  const odd = pods.find(({ status }) => status?.phase !== undefined && !PHASES.includes(status.phase));
  if (odd !== undefined)
    return { state: 'unknown-status', handle, word: cleanMessage(odd.status?.phase ?? '').slice(0, WORD_LIMIT) };
  const began = pods.filter(hasBegun);
  // A gang runs once all of it does: until then those that are there wait for the others.
  if (going || began.length >= (job.spec?.completions ?? 1))
    return { state: 'running', handle, startedAtMs: firstStart(began) };
  const waits = pods.filter((pod) => !hasBegun(pod)).map(podWait);
  const hopeless = waits.find(({ isFinal }) => isFinal);
  if (hopeless !== undefined)
    return {
      state: 'ended',
      handle,
      outcome: 'failed',
      exitCode: undefined,
      message: cleanMessage(hopeless.message),
      startedAtMs: undefined,
      endedAtMs: undefined,
    };
  return { state: 'pending', handle, message: cleanMessage(waits[0]?.message ?? complaint ?? waitOf(job)) };
}

/** The start in which it is seen to run, as annotations; undefined: it is not, or one is written down. */
export function startToMark({ job, pods }: Look): Readonly<Record<string, string>> | undefined {
  const { annotations } = job.metadata;
  if (annotations?.[STARTED] === undefined || annotations[RAN] !== undefined || isOver(job)) return undefined;
  const uid = pods.find(hasBegun)?.metadata.uid;
  const start = job.status?.startTime;
  return uid === undefined || start === undefined ? undefined : { [RAN]: start, [RAN_POD]: uid };
}

/** It ran, and was suspended: nothing of it is there any more, or what is there was started anew. */
function isInterrupted(job: Job, pods: readonly Pod[]): boolean {
  const ran = job.metadata.annotations?.[RAN];
  if (ran === undefined) return false;
  const isSuspended = job.spec?.suspend === true || conditionOf(job, 'Suspended') !== undefined;
  return isSuspended ? !pods.some(isLivePod) : job.status?.startTime !== ran || hasOtherPod(job, pods);
}

/** Times count whole seconds. Within a start a pod is never replaced (`backoffLimit` 0); of a gang others may be there still where one was removed. */
function hasOtherPod({ metadata: { annotations }, spec }: Job, pods: readonly Pod[]): boolean {
  const ranPod = annotations?.[RAN_POD];
  if (ranPod === undefined || pods.length === 0 || (spec?.completions ?? 1) > 1) return false;
  return pods.every(({ metadata }) => metadata.uid !== ranPod);
}

function interrupted(job: Job): Observation {
  const said = conditionOf(job, 'Suspended');
  return {
    state: 'ended',
    handle: handleOf(PROVIDER_KIND, job),
    outcome: 'preempted',
    exitCode: undefined,
    message: cleanMessage(`Suspended after it ran: ${said?.message ?? 'its queue took its place back'}`),
    startedAtMs: timeMs(job.metadata.annotations?.[RAN]),
    endedAtMs: timeMs(said?.lastTransitionTime),
  };
}

function waitOf({ spec, status }: Job): string {
  if (spec?.suspend !== true) return 'Pending: the Job has no pod yet';
  const said = status?.conditions?.find(({ type }) => type === 'Suspended');
  return `Suspended: ${said?.message ?? 'it waits for its queue'}`;
}

function firstStart(pods: readonly Pod[]): number | undefined {
  const times = pods.flatMap((pod) => {
    const { running, terminated } = jobContainer(pod)?.state ?? {};
    return timeMs(running?.startedAt ?? terminated?.startedAt) ?? [];
  });
  return times.length === 0 ? undefined : Math.min(...times);
}

function ended(job: Job, pods: readonly Pod[]): Observation {
  const failed = conditionOf(job, 'Failed');
  const ends = pods.flatMap((pod) => {
    const end = podEnd(pod);
    return end === undefined ? [] : [{ ...end, rank: rankOf(pod) }];
  });
  const cause = failed === undefined ? ends[0] : decisive(ends);
  const outcome = failed === undefined ? 'succeeded' : outcomeOf(failed.reason ?? '', failed.message ?? '', cause);
  const who = cause?.rank === undefined ? '' : `(rank ${cause.rank}) `;
  const said = cause === undefined || cause.message === '' ? (failed?.message ?? '') : `${who}${cause.message}`;
  const lasts = ends.flatMap(({ endedAtMs }) => endedAtMs ?? []);
  return {
    state: 'ended',
    handle: handleOf(PROVIDER_KIND, job),
    outcome,
    exitCode: outcome === 'succeeded' ? 0 : outcome === 'preempted' ? undefined : cause?.exitCode,
    message: cleanMessage(outcome === 'succeeded' ? '' : said),
    startedAtMs: firstStart(pods),
    endedAtMs: lasts.length > 0 ? Math.max(...lasts) : timeMs(failed?.lastTransitionTime ?? job.status?.completionTime),
  };
}

/** Of a gang the pod whose end ended the others: what was taken away, else what failed by itself first. */
function decisive<End extends PodEnd>(ends: readonly End[]): End | undefined {
  const inTime = [...ends].sort((a, b) => (a.endedAtMs ?? 0) - (b.endedAtMs ?? 0));
  return (
    inTime.find(({ outcome }) => outcome === 'preempted') ??
    inTime.find(({ outcome }) => outcome === 'failed') ??
    inTime.find(({ outcome }) => outcome === 'stopped') ??
    inTime[0]
  );
}

function outcomeOf(reason: string, message: string, cause: PodEnd | undefined) {
  if (reason === 'PodFailurePolicy' || cause?.outcome === 'preempted') return 'preempted';
  if (reason === 'DeadlineExceeded' || cause?.outcome === 'stopped') return 'stopped';
  return /DisruptionTarget/.test(message) ? 'preempted' : 'failed';
}
