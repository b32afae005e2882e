import type { KubernetesObject } from '../../platform/kubernetes/list.ts';
import type { Condition } from '../kubernetes/pod.ts';

/** A RayJob as Kubernetes tells it, as far as it is looked at. Words stay texts: a newer KubeRay may say more. */
export interface RayJobObject extends KubernetesObject {
  readonly spec?: { readonly suspend?: boolean; readonly activeDeadlineSeconds?: number; readonly entrypoint?: string };
  readonly status?: RayJobStatus;
}

export interface RayJobStatus {
  readonly jobDeploymentStatus?: string;
  /** Ray's own word for the job. */
  readonly jobStatus?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly rayClusterName?: string;
  /** `<service>.<namespace>.svc.<domain>:8265`, once the cluster was ready. */
  readonly dashboardURL?: string;
  readonly startTime?: string;
  readonly endTime?: string;
  readonly rayJobInfo?: { readonly startTime?: string; readonly endTime?: string };
  readonly rayClusterStatus?: { readonly conditions?: readonly Condition[] };
}

export const RAY_JOBS = (namespace: string) => `/apis/ray.io/v1/namespaces/${namespace}/rayjobs`;
export const RAY_CLUSTERS = (namespace: string) => `/apis/ray.io/v1/namespaces/${namespace}/rayclusters`;
export const PODS = (namespace: string) => `/api/v1/namespaces/${namespace}/pods`;
export const CONFIG_MAPS = (namespace: string) => `/api/v1/namespaces/${namespace}/configmaps`;

/** KubeRay's own label of pods: head or worker. */
export const NODE_TYPE_LABEL = 'ray.io/node-type';

const OVER: readonly string[] = ['SUCCEEDED', 'FAILED', 'STOPPED'];

/** Nothing of the job runs any more, by Ray's word or KubeRay's; an unknown word counts as live. */
export function isOver({ jobDeploymentStatus = '', jobStatus = '' }: RayJobStatus): boolean {
  return OVER.includes(jobStatus) || ['Complete', 'Failed', 'ValidationFailed'].includes(jobDeploymentStatus);
}
