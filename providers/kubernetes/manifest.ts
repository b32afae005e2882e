import type { KubernetesObject } from '../../platform/kubernetes/list.ts';
import { type AttemptSpec, ProviderError } from '../provider.ts';
import { DEFAULT_NOTICE_SECONDS, type KubernetesConfig } from './config.ts';
import type { Flavour } from './flavour.ts';
import type { KubernetesJobOptions } from './job-options.ts';
import { type Owner, ownerAnnotations, ownerLabels } from './ownership.ts';
import { type Condition, JOB_CONTAINER } from './pod.ts';
import { HOME_PATH, RUN_PATH, type SecretFiles, START_FILE } from './start.ts';

/** A batch/v1 Job, as far as it is looked at. */
export interface Job extends KubernetesObject {
  readonly spec?: {
    readonly suspend?: boolean;
    readonly activeDeadlineSeconds?: number;
    readonly completions?: number;
  };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly startTime?: string;
    readonly completionTime?: string;
    readonly active?: number;
    readonly terminating?: number;
  };
}

/** Set together with the first start: until then the attempt is not taken. */
export const STARTED = 'merit/started';
/** Merit ends a job by its lease, with its notice and its log; Kubernetes does, without either, where Merit no longer can. */
const LEASE_SLACK_SECONDS = 900;
/** What the API takes. */
const DEADLINE_LIMIT_SECONDS = 2_147_483_647;
const QUEUE_LABEL = 'kueue.x-k8s.io/queue-name';

/** Throws ProviderError `invalid` for what no pod can ask for. */
export function checkResources({ resources: { gpuMilli } }: AttemptSpec, flavour: Flavour): void {
  const refused = (text: string) => new ProviderError('invalid', `flavour ${flavour.name}: ${text}`);
  if (gpuMilli > 0n && flavour.gpuResource === undefined) throw refused('it has no GPU: name another flavour');
  if (gpuMilli % 1000n !== 0n) throw refused('Kubernetes gives whole GPUs: ask for 1 or more, or for none');
}

export function deadlineSeconds(leaseMs: number): number {
  return Math.min(Math.max(1, Math.ceil(leaseMs / 1000)) + LEASE_SLACK_SECONDS, DEADLINE_LIMIT_SECONDS);
}

/** The Job of an attempt, suspended: what it needs is made before it starts. */
export function jobManifest(
  spec: AttemptSpec,
  owner: Owner,
  flavour: Flavour,
  options: KubernetesJobOptions,
  config: KubernetesConfig,
  secrets: number,
): object {
  const { key, nodes = 1 } = spec;
  const labels = { ...config.labels, ...ownerLabels(key, owner) };
  const annotations = { ...config.annotations, ...ownerAnnotations(owner) };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: key,
      labels: { ...labels, ...(config.queue === undefined ? {} : { [QUEUE_LABEL]: config.queue }) },
      annotations,
    },
    spec: {
      suspend: true,
      parallelism: nodes,
      completions: nodes,
      completionMode: nodes === 1 ? 'NonIndexed' : 'Indexed',
      // Another try is another attempt, which is booked and paid for as one.
      backoffLimit: 0,
      activeDeadlineSeconds: deadlineSeconds(spec.leaseMs),
      podReplacementPolicy: 'Failed',
      // So that the Job says itself that its pod was taken from it, also when the pod is gone.
      podFailurePolicy: {
        rules: [{ action: 'FailJob', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] }],
      },
      template: {
        metadata: {
          labels,
          annotations: { ...annotations, 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false' },
        },
        spec: podSpec(spec, flavour, options, config, secrets),
      },
    },
  };
}

/** The same pod alone, for a try that is not kept: what would refuse it refuses this. */
export function podManifest(job: object, key: string): object {
  const { template } = (job as { readonly spec: { readonly template: { readonly metadata: object } } }).spec;
  return { apiVersion: 'v1', kind: 'Pod', ...template, metadata: { ...template.metadata, name: `${key}-try` } };
}

function podSpec(
  { key, nodes = 1, resources }: AttemptSpec,
  flavour: Flavour,
  options: KubernetesJobOptions,
  config: KubernetesConfig,
  secrets: number,
): object {
  const serviceAccount = options.serviceAccount ?? config.serviceAccount;
  const priorityClass = options.priorityClass ?? config.priorityClass;
  const pullPolicy = options.imagePullPolicy ?? config.imagePullPolicy;
  const { runAsUser } = config;
  const claims = options.claims ?? [];
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: config.noticeSeconds ?? DEFAULT_NOTICE_SECONDS,
    enableServiceLinks: false,
    automountServiceAccountToken: serviceAccount !== undefined,
    nodeSelector: { ...options.nodeSelector, ...flavour.nodeSelector },
    tolerations: [
      ...(resources.gpuMilli > 0n ? [{ key: flavour.gpuResource, operator: 'Exists', effect: 'NoSchedule' }] : []),
      ...(flavour.tolerations ?? []),
      ...(config.tolerations ?? []),
    ],
    securityContext: {
      seccompProfile: { type: 'RuntimeDefault' },
      ...(runAsUser === undefined ? {} : { runAsUser, runAsNonRoot: true, fsGroup: runAsUser }),
    },
    ...(nodes === 1 ? {} : { subdomain: key }),
    ...(serviceAccount === undefined ? {} : { serviceAccountName: serviceAccount }),
    ...(priorityClass === undefined ? {} : { priorityClassName: priorityClass }),
    ...(config.imagePullSecrets === undefined
      ? {}
      : { imagePullSecrets: config.imagePullSecrets.map((name) => ({ name })) }),
    containers: [
      {
        name: JOB_CONTAINER,
        image: options.image ?? config.image,
        ...(pullPolicy === undefined ? {} : { imagePullPolicy: pullPolicy }),
        // A fixed text: no tenant value is in it.
        command: ['/bin/sh', `${RUN_PATH}/${START_FILE}`],
        envFrom: (options.secrets ?? []).map((name) => ({ secretRef: { name } })),
        resources: amounts(resources, flavour),
        securityContext: { allowPrivilegeEscalation: false },
        // The log's last lines are told with a failure, as what the job said.
        terminationMessagePolicy: 'FallbackToLogsOnError',
        volumeMounts: [
          { name: 'run', mountPath: RUN_PATH, readOnly: true },
          { name: 'home', mountPath: HOME_PATH },
          ...(options.shmGib === undefined ? [] : [{ name: 'shm', mountPath: '/dev/shm' }]),
          ...claims.map(({ path, readOnly = false }, i) => ({ name: `claim-${i}`, mountPath: path, readOnly })),
        ],
      },
    ],
    volumes: [
      { name: 'run', projected: { sources: secretNames(key, secrets).map((name) => ({ secret: { name } })) } },
      { name: 'home', emptyDir: {} },
      ...(options.shmGib === undefined
        ? []
        : [{ name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: `${options.shmGib}Gi` } }]),
      ...claims.map(({ name, readOnly = false }, i) => ({
        name: `claim-${i}`,
        persistentVolumeClaim: { claimName: name, readOnly },
      })),
    ],
  };
}

/** GPUs and memory are what a job may use at most, too; CPUs are its share, which it may exceed while others let it. */
function amounts({ gpuMilli, cpuMilli, memoryBytes }: AttemptSpec['resources'], { gpuResource }: Flavour): object {
  const gpus = gpuMilli > 0n && gpuResource !== undefined ? { [gpuResource]: String(gpuMilli / 1000n) } : {};
  const memory = memoryBytes > 0n ? { memory: String(memoryBytes) } : {};
  const cpu = cpuMilli > 0n ? { cpu: `${cpuMilli}m` } : {};
  return { requests: { ...cpu, ...memory, ...gpus }, limits: { ...memory, ...gpus } };
}

export function secretNames(key: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, i) => (i === 0 ? key : `${key}-code-${i - 1}`));
}

/** What goes with the Job, and is gone with it. */
function owned(job: Job, name: string): object {
  const { name: jobName, uid, labels = {}, annotations = {} } = job.metadata;
  const mine = (all: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(all).filter(([label]) => label.startsWith('merit/') && label !== STARTED));
  return {
    name,
    labels: { ...mine(labels), 'app.kubernetes.io/managed-by': 'merit' },
    annotations: mine(annotations),
    ownerReferences: [
      { apiVersion: 'batch/v1', kind: 'Job', name: jobName, uid, controller: true, blockOwnerDeletion: true },
    ],
  };
}

export function secretManifest(job: Job, name: string, files: SecretFiles): object {
  const data = Object.fromEntries(Object.entries(files).map(([file, bytes]) => [file, bytes.toString('base64')]));
  return { apiVersion: 'v1', kind: 'Secret', metadata: owned(job, name), type: 'Opaque', data };
}

/** Gives the pods of a gang their names. */
export function serviceManifest(job: Job): object {
  const { name, uid } = job.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: owned(job, name),
    spec: {
      clusterIP: 'None',
      // They look for each other before any of them is ready.
      publishNotReadyAddresses: true,
      selector: { 'batch.kubernetes.io/controller-uid': uid },
    },
  };
}
