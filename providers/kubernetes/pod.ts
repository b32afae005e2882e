import type { KubernetesObject } from '../../platform/kubernetes/list.ts';

/** A pod, as far as it is looked at; times as Kubernetes writes them. */
export interface Pod extends KubernetesObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly activeDeadlineSeconds?: number;
    readonly containers?: readonly Container[];
    readonly initContainers?: readonly (Container & { readonly restartPolicy?: string })[];
    readonly overhead?: Amounts;
  };
  readonly status?: PodStatus;
}

export type Amounts = Readonly<Record<string, string | number>>;

export interface Container {
  readonly name: string;
  readonly resources?: { readonly requests?: Amounts; readonly limits?: Amounts };
}

export interface PodStatus {
  readonly phase?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly startTime?: string;
  readonly conditions?: readonly Condition[];
  readonly initContainerStatuses?: readonly ContainerStatus[];
  readonly containerStatuses?: readonly ContainerStatus[];
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
}

export interface ContainerStatus {
  readonly name: string;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly running?: { readonly startedAt?: string };
    readonly terminated?: {
      readonly exitCode: number;
      readonly signal?: number;
      readonly reason?: string;
      readonly message?: string;
      readonly startedAt?: string;
      readonly finishedAt?: string;
    };
  };
}

/** The container that runs a job's command; others are sidecars of the cluster's own. */
export const JOB_CONTAINER = 'job';
/** The job controller's, of the pods of an indexed Job. */
const RANK_LABEL = 'batch.kubernetes.io/job-completion-index';

/** Its place in a gang; undefined: it is alone. */
export function rankOf({ metadata: { labels } }: Pod): string | undefined {
  return labels?.[RANK_LABEL];
}

/** Neither its own end nor somebody else's has come. An unknown word counts as live. */
export function isLivePod({ status }: Pod): boolean {
  return status?.phase !== 'Succeeded' && status?.phase !== 'Failed';
}

export function conditionOf(
  { status }: { readonly status?: { readonly conditions?: readonly Condition[] } },
  type: string,
): Condition | undefined {
  return status?.conditions?.find((one) => one.type === type && one.status === 'True');
}

export function timeMs(text: string | undefined): number | undefined {
  const ms = Date.parse(text ?? '');
  return Number.isNaN(ms) ? undefined : ms;
}
