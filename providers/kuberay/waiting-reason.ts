import { conditionOf, type Pod } from '../kubernetes/pod.ts';
import { podWait } from '../kubernetes/pod-end.ts';
import type { RayJobObject } from './ray-job.ts';

/** What a pod says while all is well. */
const USUAL: readonly string[] = ['Pending', 'Running', 'Succeeded', 'ContainerCreating', 'PodInitializing'];

/** Why a cluster is not there yet, in the words of whoever holds it up: KubeRay, the scheduler, a kubelet. */
export function waitingReason(job: RayJobObject, pods: readonly Pod[]): string {
  const conditions = job.status?.rayClusterStatus?.conditions ?? [];
  const failure = conditions.find(({ type, status }) => type === 'ReplicaFailure' && status === 'True');
  if (failure !== undefined) {
    const message = failure.message ?? failure.reason ?? '';
    return `${/exceeded quota/i.test(message) ? 'the namespace’s quota is exceeded' : 'no pod could be made'}: ${message}`;
  }
  for (const pod of pods) {
    const { message } = podWait(pod);
    if (!USUAL.includes(message)) return `${pod.metadata.name}: ${message}`;
  }
  const ready = pods.filter((pod) => conditionOf(pod, 'Ready') !== undefined).length;
  return pods.length === 0 ? 'KubeRay makes the cluster’s pods' : `${ready} of ${pods.length} pods are ready`;
}
