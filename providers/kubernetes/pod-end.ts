import type { EndOutcome } from '../provider.ts';
import { type ContainerStatus, conditionOf, JOB_CONTAINER, type Pod, timeMs } from './pod.ts';

/** How one pod ended, or cannot begin. */
export interface PodEnd {
  readonly outcome: EndOutcome;
  readonly exitCode: number | undefined;
  readonly message: string;
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
}

/** The kubelet's words for a node that took a pod back, or never could have it: another try elsewhere mends it. */
const NODE_TOOK_IT =
  /^(Evicted|NodeLost|NodeShutdown|Shutdown|Terminated|Preempting|Preempted|UnexpectedAdmissionError|NodeAffinity|NodeName|NodePorts|TaintToleration|OutOf\w[\w./-]*)$/;
/** An eviction that the job itself brought about: every try would end so. */
const OWN_DOING =
  /ephemeral local storage usage exceeds|exceeded its local ephemeral storage limit|Usage of EmptyDir volume/i;
/** An image that no waiting brings. */
const NEVER_PULLED = /^(InvalidImageName|ErrImageNeverPull)$/;
const PULL_REFUSED =
  /not found|manifest unknown|does not exist|no match for platform|unauthorized|authentication required|denied|forbidden/i;

export function jobContainer(pod: Pod): ContainerStatus | undefined {
  const { containerStatuses: all = [] } = pod.status ?? {};
  return all.find(({ name }) => name === JOB_CONTAINER) ?? all[0];
}

/** A command that has ended counts too: the Job's own end comes a moment later. */
export function hasBegun(pod: Pod): boolean {
  const state = jobContainer(pod)?.state;
  return state?.running !== undefined || state?.terminated !== undefined;
}

/** undefined: it has not ended, or there is no telling how. */
export function podEnd(pod: Pod): PodEnd | undefined {
  const { status } = pod;
  if (status?.phase !== 'Succeeded' && status?.phase !== 'Failed') return undefined;
  const own = jobContainer(pod)?.state?.terminated;
  const init = status.initContainerStatuses?.find(({ state }) => (state?.terminated?.exitCode ?? 0) !== 0)?.state
    ?.terminated;
  const terminated = own ?? init;
  const disruption = conditionOf(pod, 'DisruptionTarget');
  const outcome = outcomeOf(status.phase, status.reason ?? '', status.message ?? '', disruption !== undefined);
  const words = [
    disruption === undefined ? undefined : `${disruption.reason ?? 'DisruptionTarget'}: ${disruption.message ?? ''}`,
    status.reason === undefined ? undefined : `${status.reason}: ${status.message ?? ''}`,
    terminated?.reason === undefined || terminated.reason === 'Completed' || terminated.reason === 'Error'
      ? undefined
      : reasonText(terminated.reason),
    terminated?.message,
  ];
  return {
    outcome,
    exitCode: outcome === 'preempted' ? undefined : terminated?.exitCode,
    message: words.filter((text) => text !== undefined && text !== '').join(' · '),
    startedAtMs: timeMs(own?.startedAt),
    endedAtMs: timeMs(terminated?.finishedAt) ?? timeMs(disruption?.lastTransitionTime),
  };
}

function outcomeOf(phase: string, reason: string, message: string, isDisrupted: boolean): EndOutcome {
  if (phase === 'Succeeded') return 'succeeded';
  if (OWN_DOING.test(message)) return 'failed';
  if (isDisrupted || NODE_TOOK_IT.test(reason)) return 'preempted';
  // Its time was over, by the lease or because it was given notice.
  return reason === 'DeadlineExceeded' ? 'stopped' : 'failed';
}

function reasonText(reason: string): string {
  return reason === 'OOMKilled' ? 'OOMKilled: it used more memory than it asked for' : reason;
}

/** What keeps a pod from its beginning, in the cluster's words. `isFinal`: no waiting mends it. */
export function podWait(pod: Pod): { readonly message: string; readonly isFinal: boolean } {
  const waiting = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])]
    .map(({ state }) => state?.waiting)
    .find((one) => one?.reason !== undefined && one.reason !== 'PodInitializing');
  if (waiting !== undefined) {
    const { reason = '', message = '' } = waiting;
    const isPull = reason === 'ErrImagePull' || reason === 'ImagePullBackOff';
    const isFinal = NEVER_PULLED.test(reason) || (isPull && PULL_REFUSED.test(message));
    return { message: message === '' ? reason : `${reason}: ${message}`, isFinal };
  }
  const scheduled = pod.status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  if (scheduled !== undefined)
    return { message: `${scheduled.reason ?? 'Unschedulable'}: ${scheduled.message ?? ''}`, isFinal: false };
  return { message: pod.status?.phase ?? 'Pending', isFinal: false };
}
