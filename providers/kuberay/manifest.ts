import { KEY_LABEL, ownerAnnotations, ownerLabels, ownerOf } from '../kubernetes/ownership.ts';
import { type AttemptSpec, ProviderError } from '../provider.ts';
import { metadataOf } from '../ray/ownership.ts';
import { requestOf } from '../ray/request.ts';
import { type Code, codeInPod, codeUris } from './code-volume.ts';
import {
  DEFAULT_GANG_START_SECONDS,
  DEFAULT_KEEP_SECONDS,
  DEFAULT_START_SECONDS,
  DEFAULT_STOP_GRACE_SECONDS,
  type Flavour,
  type KubeRayConfig,
} from './config.ts';
import type { KubeRayJobOptions } from './job-options.ts';
import { PROVIDER_KIND } from './ownership.ts';

/** KubeRay counts in 32 bits. */
const DEADLINE_LIMIT_SECONDS = 2 ** 31 - 1;
/** Beyond the job's own grace a pod has so long to end. */
const POD_MARGIN_SECONDS = 15;
/** Another pod of a RayJob is a worker of this group. */
const GROUP = 'nodes';
const SPOT_NOTICE = 'ray job stop --address http://127.0.0.1:8265';

/** Throws ProviderError `invalid` for what no pod can be given. */
export function checkFits({ resources }: AttemptSpec, { name, gpuResource }: Flavour): void {
  const { gpuMilli, cpuMilli } = resources;
  const refused = (text: string) => new ProviderError('invalid', `flavour ${name}: ${text}`);
  if (gpuMilli % 1000n !== 0n) throw refused('a pod is given whole GPUs: ask for whole ones');
  if (cpuMilli === 0n && gpuMilli === 0n) throw refused('each node asks for nothing: book cpus or gpus for it');
  if (gpuMilli > 0n && gpuResource === undefined) throw refused('it has no GPU: name another flavour');
}

/** The RayJob of an attempt: its own cluster, whose head is its first node, and on which KubeRay starts the job by HTTP. */
export function rayJobOf(
  spec: AttemptSpec,
  flavour: Flavour,
  options: KubeRayJobOptions,
  code: Code,
  config: KubeRayConfig,
) {
  const owner = ownerOf(spec, PROVIDER_KIND);
  const { runtime_env, spread } = options;
  const sent = requestOf(
    spec,
    { name: flavour.name },
    { ...(runtime_env === undefined ? {} : { runtime_env }), ...(spread === undefined ? {} : { spread }) },
    codeUris(code),
    {
      stopGraceSeconds: config.stopGraceSeconds ?? DEFAULT_STOP_GRACE_SECONDS,
      gangStartSeconds: config.gangStartSeconds ?? DEFAULT_GANG_START_SECONDS,
    },
  );
  const runtimeEnv = {
    ...sent.runtimeEnv,
    ...(sent.env === undefined ? {} : { env_vars: sent.env }),
    ...(sent.workingDir === undefined ? {} : { working_dir: sent.workingDir }),
    ...(sent.pyModules === undefined ? {} : { py_modules: sent.pyModules }),
  };
  return {
    apiVersion: 'ray.io/v1',
    kind: 'RayJob',
    metadata: {
      name: spec.key,
      labels: { ...config.labels, ...ownerLabels(spec.key, owner) },
      annotations: { ...config.annotations, ...ownerAnnotations(owner) },
    },
    spec: {
      jobId: spec.key,
      submissionMode: 'HTTPMode',
      entrypoint: sent.entrypoint,
      // JSON is YAML.
      runtimeEnvYAML: JSON.stringify(runtimeEnv),
      metadata: metadataOf(spec),
      // What a job is tried again for is Merit's to say.
      backoffLimit: 0,
      shutdownAfterJobFinishes: true,
      ttlSecondsAfterFinished: config.keepSeconds ?? DEFAULT_KEEP_SECONDS,
      activeDeadlineSeconds: deadlineSeconds(spec.leaseMs, config),
      rayClusterSpec: clusterOf(spec, flavour, options, code, config),
    },
  };
}

/** KubeRay counts from when it took the job up, so that what its pods take to come is added to the lease. */
export function deadlineSeconds(leaseMs: number, { startSeconds = DEFAULT_START_SECONDS }: KubeRayConfig): number {
  return Math.min(Math.max(1, Math.ceil(leaseMs / 1000)) + startSeconds, DEADLINE_LIMIT_SECONDS);
}

function clusterOf(spec: AttemptSpec, flavour: Flavour, options: KubeRayJobOptions, code: Code, config: KubeRayConfig) {
  const others = (spec.nodes ?? 1) - 1;
  const pod = (type: 'head' | 'worker') => podOf(type, spec, flavour, options, code, config);
  return {
    rayVersion: config.rayVersion,
    ...(config.allowUnauthenticated === true ? {} : { authOptions: { mode: 'token' } }),
    headGroupSpec: { rayStartParams: {}, template: pod('head') },
    ...(others === 0
      ? {}
      : {
          workerGroupSpecs: [
            {
              groupName: GROUP,
              replicas: others,
              minReplicas: others,
              maxReplicas: others,
              rayStartParams: {},
              template: pod('worker'),
            },
          ],
        }),
  };
}

/** Every node of a job is a pod like the others; the head is the one that Ray's own processes run in, too. */
function podOf(
  type: 'head' | 'worker',
  spec: AttemptSpec,
  flavour: Flavour,
  options: KubeRayJobOptions,
  code: Code,
  config: KubeRayConfig,
) {
  const image = options.image ?? config.image;
  const { volumes, initContainers, volumeMounts } = codeInPod(spec.key, code, image);
  const amounts = podResources(spec, flavour);
  const nodeSelector = { ...options.nodeSelector, ...flavour.nodeSelector };
  const affinity = affinityOf(spec, flavour, options);
  const graceSeconds = config.stopGraceSeconds ?? DEFAULT_STOP_GRACE_SECONDS;
  return {
    metadata: {
      labels: { ...config.labels, ...ownerLabels(spec.key, ownerOf(spec, PROVIDER_KIND)) },
      ...(config.annotations === undefined ? {} : { annotations: config.annotations }),
    },
    spec: {
      // A head that starts anew in its pod has forgotten the job, and KubeRay would run it a second time.
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: graceSeconds + POD_MARGIN_SECONDS,
      automountServiceAccountToken: config.serviceAccount !== undefined,
      ...(Object.keys(nodeSelector).length === 0 ? {} : { nodeSelector }),
      ...(flavour.tolerations === undefined ? {} : { tolerations: flavour.tolerations }),
      ...(affinity === undefined ? {} : { affinity }),
      ...(config.serviceAccount === undefined ? {} : { serviceAccountName: config.serviceAccount }),
      ...(config.priorityClass === undefined ? {} : { priorityClassName: config.priorityClass }),
      ...(config.imagePullSecrets === undefined
        ? {}
        : { imagePullSecrets: config.imagePullSecrets.map((name) => ({ name })) }),
      ...(volumes.length === 0 ? {} : { volumes, initContainers }),
      containers: [
        {
          name: `ray-${type}`,
          image,
          resources: { requests: amounts, limits: amounts },
          lifecycle: { preStop: { exec: { command: ['/bin/sh', '-c', farewell(type, spec.key, graceSeconds)] } } },
          ...(volumeMounts.length === 0 ? {} : { volumeMounts }),
        },
      ],
    },
  };
}

/** What Kubernetes takes a pod away for, the job is told: SIGTERM and its grace, as by a drain. Then Ray ends, and the pod with it. */
function farewell(type: 'head' | 'worker', key: string, graceSeconds: number): string {
  const notice = type === 'head' ? `timeout ${graceSeconds} ${SPOT_NOTICE} ${key} >/dev/null 2>&1; ` : '';
  return `${notice}ray stop >/dev/null 2>&1 || true`;
}

/** What one pod asks for, by Kubernetes' names. */
export function podResources({ resources }: AttemptSpec, { gpuResource }: Flavour): Readonly<Record<string, string>> {
  const { gpuMilli, cpuMilli, memoryBytes } = resources;
  return {
    ...(cpuMilli > 0n ? { cpu: `${cpuMilli}m` } : {}),
    ...(memoryBytes > 0n ? { memory: String(memoryBytes) } : {}),
    ...(gpuMilli > 0n && gpuResource !== undefined ? { [gpuResource]: String(gpuMilli / 1000n) } : {}),
  };
}

function affinityOf({ key, nodes = 1 }: AttemptSpec, { topologyKey }: Flavour, { spread }: KubeRayJobOptions) {
  if (nodes === 1 || (topologyKey === undefined && spread === undefined)) return undefined;
  const labelSelector = { matchLabels: { [KEY_LABEL]: key } };
  const required = (topology: string) => ({
    requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector, topologyKey: topology }],
  });
  return {
    ...(topologyKey === undefined ? {} : { podAffinity: required(topologyKey) }),
    ...(spread === undefined ? {} : { podAntiAffinity: required('kubernetes.io/hostname') }),
  };
}
