import { isAbsolute } from 'node:path';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import type { PoolFlavour } from '../provider.ts';
import { type ClusterConfig, clusterConfigProperties } from './cluster.ts';
import {
  type ClusterFlavour,
  flavourRefusals,
  flavoursSchema,
  labelsSchema,
  type Toleration,
  tolerationsSchema,
} from './flavour.ts';

/** `config` of a pool whose provider is `kubernetes`. */
export interface KubernetesConfig extends ClusterConfig {
  /** Of jobs that name none. */
  readonly image?: string;
  readonly imagePullPolicy?: ImagePullPolicy;
  /** Names of Secrets in the namespace. */
  readonly imagePullSecrets?: readonly string[];
  /** That pods run as; absent: `default`, whose token they do not get. */
  readonly serviceAccount?: string;
  /** Others that jobs may ask for. */
  readonly serviceAccounts?: readonly string[];
  readonly priorityClass?: string;
  readonly priorityClasses?: readonly string[];
  /** Secrets and claims of volumes in the namespace that jobs may ask for. */
  readonly secrets?: readonly string[];
  readonly claims?: readonly string[];
  /** Kueue's LocalQueue, which then says when a job starts. */
  readonly queue?: string;
  /** What a job has between its notice and its end. */
  readonly noticeSeconds?: number;
  readonly runAsUser?: number;
  readonly tolerations?: readonly Toleration[];
  /** Of jobs and pods, besides Merit's own. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly flavours: readonly ClusterFlavour[];
}

export const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'] as const;
export type ImagePullPolicy = (typeof PULL_POLICIES)[number];

export const DEFAULT_NOTICE_SECONDS = 30;
const NOTICE_LIMIT_SECONDS = 3_600;
const NAMES_LIMIT = 64;
export const IMAGE_PATTERN = '^[^\\s]{1,1024}$';
export const NAME_PATTERN = '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$';

const objectName = { type: 'string', pattern: NAME_PATTERN } as const;
const names = { type: 'array', maxItems: NAMES_LIMIT, items: objectName } as const;

export const kubernetesConfigSchema = {
  type: 'object',
  required: ['flavours'],
  examples: [
    {
      kubeconfig: '/etc/merit/kubeconfig.yaml',
      namespace: 'training',
      image: 'registry.example/train:1',
      flavours: [
        {
          name: 'a100',
          gpuResource: 'nvidia.com/gpu',
          nodeSelector: { 'nvidia.com/gpu.product': 'NVIDIA-A100-SXM4-80GB' },
        },
      ],
    },
  ],
  additionalProperties: false,
  properties: {
    ...clusterConfigProperties,
    image: { type: 'string', pattern: IMAGE_PATTERN, description: 'of jobs that name none' },
    imagePullPolicy: { type: 'string', enum: [...PULL_POLICIES] },
    imagePullSecrets: names,
    serviceAccount: { ...objectName, description: 'that pods run as; absent: default, without its token' },
    serviceAccounts: { ...names, description: 'others that jobs may ask for' },
    priorityClass: objectName,
    priorityClasses: { ...names, description: 'others that jobs may ask for' },
    secrets: { ...names, description: 'Secrets that jobs may ask for' },
    claims: { ...names, description: 'PersistentVolumeClaims that jobs may ask for' },
    queue: { ...objectName, description: 'LocalQueue of Kueue, which then says when a job starts' },
    noticeSeconds: { type: 'integer', minimum: 1, maximum: NOTICE_LIMIT_SECONDS },
    runAsUser: { type: 'integer', minimum: 1, maximum: 2_147_483_647 },
    tolerations: tolerationsSchema,
    labels: labelsSchema,
    annotations: { type: 'object', maxProperties: 32, additionalProperties: { type: 'string', maxLength: 4096 } },
    flavours: flavoursSchema,
  },
} as const;

/** What the schema cannot say, all of it at once. Throws RefusedInput. */
export function checkKubernetesConfig(config: KubernetesConfig, pool: readonly PoolFlavour[] | undefined): void {
  const refusals: Refusal[] = [...clusterRefusals(config), ...flavourRefusals(config.flavours, pool)];
  for (const member of ['labels', 'annotations'] as const) {
    const own = Object.keys(config[member] ?? {}).find((name) =>
      /^(merit\/|batch\.kubernetes\.io\/|kueue\.x-k8s\.io\/)/.test(name),
    );
    if (own !== undefined)
      refusals.push(refuse('reserved', `${member}/${own.slice(0, 80)}`, 'is not set here', 'use another prefix'));
  }
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

/** Of what the kinds on Kubernetes share. */
export function clusterRefusals({ kubeconfig, context, tokenFile }: ClusterConfig): readonly Refusal[] {
  const paths = Object.entries({ kubeconfig, tokenFile }).flatMap(([field, path]) =>
    path === undefined || isAbsolute(path)
      ? []
      : [refuse('format', field, 'must be an absolute path', 'write the full path')],
  );
  const alone =
    kubeconfig === undefined && context !== undefined
      ? [refuse('conflict', 'context', 'stands without a kubeconfig', 'name the kubeconfig that has it')]
      : [];
  return [...paths, ...alone];
}
