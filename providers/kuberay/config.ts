import { isAbsolute } from 'node:path';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { type ClusterConfig, clusterConfigProperties } from '../kubernetes/cluster.ts';
import {
  type ClusterFlavour,
  flavourRefusals,
  flavoursOf as flavoursOfCluster,
  flavoursSchema,
  LABEL_NAME_PATTERN,
  labelsSchema,
} from '../kubernetes/flavour.ts';
import type { PoolFlavour } from '../provider.ts';

export interface KubeRayFlavour extends ClusterFlavour {
  /** All nodes of a job have the same value of this label: one zone, one rack. */
  readonly topologyKey?: string;
}

/** `config` of a pool whose provider is `kuberay`. */
export interface KubeRayConfig extends ClusterConfig {
  /** Of every pod of a job: an image with Ray in it. */
  readonly image: string;
  /** The Ray in it, which KubeRay starts in its way. */
  readonly rayVersion: string;
  /** Says by name that a Ray which runs anybody's code without a token is wanted. */
  readonly allowUnauthenticated?: boolean;
  /** Where Ray's dashboards are, with {service} and {namespace}; absent: through the API server, by its proxy of services. */
  readonly dashboards?: string;
  readonly serviceAccount?: string;
  readonly imagePullSecrets?: readonly string[];
  readonly priorityClass?: string;
  /** Besides Merit's own, on all that a job is made of. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Between a job's SIGTERM and SIGKILL when it is drained. */
  readonly stopGraceSeconds?: number;
  /** How long the nodes of a gang are waited for, once the cluster is there. */
  readonly gangStartSeconds?: number;
  /** How long pods may take to come: KubeRay ends a job that many seconds after its lease. */
  readonly startSeconds?: number;
  /** How long the cluster of a job that has ended is kept for its log, where nobody releases it. */
  readonly keepSeconds?: number;
  /** After so long without a word of it, KubeRay's operator is told to be away. */
  readonly operatorSilentSeconds?: number;
  readonly flavours: readonly KubeRayFlavour[];
}

export const DEFAULT_STOP_GRACE_SECONDS = 30;
export const DEFAULT_GANG_START_SECONDS = 900;
export const DEFAULT_START_SECONDS = 900;
export const DEFAULT_KEEP_SECONDS = 300;
export const DEFAULT_OPERATOR_SILENT_SECONDS = 30;
const SECONDS_LIMIT = 86_400;
const ANNOTATIONS_LIMIT = 32;
const SECRETS_LIMIT = 8;

export const IMAGE_PATTERN = '^[^\\s]{1,255}$';
const OBJECT_NAME_PATTERN = '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$';
/** Below this KubeRay can start no Ray that asks for a token. */
const TOKENS_SINCE = [2, 52] as const;

const secondsSchema = { type: 'integer', minimum: 1, maximum: SECONDS_LIMIT } as const;
const flavourSchema = flavoursSchema.items;

export const kubeRayConfigSchema = {
  type: 'object',
  required: ['image', 'rayVersion', 'flavours'],
  examples: [
    {
      kubeconfig: '/etc/merit/kubeconfig',
      namespace: 'training',
      image: 'rayproject/ray:2.60.0-gpu',
      rayVersion: '2.60.0',
      flavours: [
        {
          name: 'h100',
          gpuResource: 'nvidia.com/gpu',
          nodeSelector: { 'nvidia.com/gpu.product': 'NVIDIA-H100-80GB-HBM3' },
          tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists' }],
        },
      ],
    },
  ],
  additionalProperties: false,
  properties: {
    ...clusterConfigProperties,
    image: { type: 'string', pattern: IMAGE_PATTERN, description: 'of every pod of a job, with Ray in it' },
    rayVersion: { type: 'string', pattern: '^[0-9]+\\.[0-9]+\\.[0-9]+$', description: 'of the Ray in the image' },
    allowUnauthenticated: { type: 'boolean', description: 'a Ray that asks for no token is wanted' },
    dashboards: {
      type: 'string',
      pattern: '^https?://[^\\s?#]+$',
      description: 'address of a dashboard, with {service} and {namespace}; absent: by the API server’s proxy',
    },
    serviceAccount: { type: 'string', pattern: OBJECT_NAME_PATTERN },
    imagePullSecrets: {
      type: 'array',
      maxItems: SECRETS_LIMIT,
      items: { type: 'string', pattern: OBJECT_NAME_PATTERN },
    },
    priorityClass: { type: 'string', pattern: OBJECT_NAME_PATTERN },
    labels: labelsSchema,
    annotations: { type: 'object', maxProperties: ANNOTATIONS_LIMIT, additionalProperties: { type: 'string' } },
    stopGraceSeconds: secondsSchema,
    gangStartSeconds: secondsSchema,
    startSeconds: secondsSchema,
    keepSeconds: secondsSchema,
    operatorSilentSeconds: secondsSchema,
    flavours: {
      ...flavoursSchema,
      items: {
        ...flavourSchema,
        properties: {
          ...flavourSchema.properties,
          topologyKey: {
            type: 'string',
            pattern: LABEL_NAME_PATTERN,
            description: 'all nodes of a job have the same value of this label',
          },
        },
      },
    },
  },
} as const;

/** What the schema cannot say, all of it at once. Throws RefusedInput. */
export function checkKubeRayConfig(config: KubeRayConfig, pool: readonly PoolFlavour[] | undefined): void {
  const { kubeconfig, tokenFile, flavours, labels, annotations } = config;
  const paths = Object.entries({ kubeconfig, tokenFile }).filter(([, path]) => path !== undefined && !isAbsolute(path));
  const refusals: readonly Refusal[] = [
    ...flavourRefusals(flavours, pool),
    ...paths.map(([field]) => refuse('format', field, 'must be an absolute path', 'write the full path')),
    ...dashboardRefusals(config),
    ...tokenRefusals(config),
    ...reservedRefusals('labels', labels),
    ...reservedRefusals('annotations', annotations),
  ];
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

function dashboardRefusals({ dashboards }: KubeRayConfig): readonly Refusal[] {
  if (dashboards === undefined) return [];
  const missing = ['{service}', '{namespace}'].filter((part) => !dashboards.includes(part));
  const isAddress = URL.canParse(dashboards.replaceAll('{service}', 's').replaceAll('{namespace}', 'n'));
  if (missing.length === 0 && isAddress) return [];
  const problem = missing.length === 0 ? 'is no address' : `lacks ${missing.join(', ')}`;
  return [refuse('format', 'dashboards', problem, 'write it as http://{service}.{namespace}.svc.cluster.local:8265')];
}

function reservedRefusals(field: string, given: Readonly<Record<string, string>> = {}): readonly Refusal[] {
  const reserved = Object.keys(given).find((name) => /^(merit|ray\.io|app\.kubernetes\.io)\//.test(name));
  if (reserved === undefined) return [];
  return [refuse('reserved', `${field}/${reserved.slice(0, 80)}`, 'is Merit’s or KubeRay’s', 'remove it')];
}

function tokenRefusals({ rayVersion, allowUnauthenticated = false }: KubeRayConfig): readonly Refusal[] {
  const [major = 0, minor = 0] = rayVersion.split('.').map(Number);
  const [sinceMajor, sinceMinor] = TOKENS_SINCE;
  if (allowUnauthenticated || major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)) return [];
  const mend = `use Ray ${TOKENS_SINCE.join('.')} or later, or say allowUnauthenticated: true: whoever reaches such a Ray runs code there`;
  return [refuse('range', 'rayVersion', `is ${rayVersion}, which cannot ask for a token`, mend)];
}

/** A flavour with what the pool's file says of it. */
export type Flavour = KubeRayFlavour & { readonly spot: boolean };

export function flavoursOf(config: KubeRayConfig, pool?: readonly PoolFlavour[]): readonly Flavour[] {
  return flavoursOfCluster(config.flavours, pool);
}
