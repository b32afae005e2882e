import { isAbsolute } from 'node:path';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import {
  FLAVOURS_LIMIT,
  flavourRefusals,
  MACHINES_LIMIT,
  type RentedFlavour,
  rentedFlavourProperties,
} from '../cloud/rented-flavours.ts';
import type { PoolFlavour } from '../provider.ts';

/** A machine type with its accelerators, of which each node of a job has one whole. */
export interface VertexFlavour extends RentedFlavour {
  /** As in `g2-standard-48`. */
  readonly machineType: string;
  /** Of the flavour's GPUs; absent: it has none. */
  readonly accelerator?: (typeof ACCELERATORS)[number];
  /** How many the project's quota lets run at once, on spot where it is a spot flavour. Not asked of Google. */
  readonly machines: number;
}

/** `config` of a pool whose provider is `vertex`. */
export interface VertexConfig {
  /** Its id, or its number. */
  readonly project: string;
  readonly region: string;
  /** Of jobs that name none. */
  readonly image?: string;
  /** `gs://bucket/prefix`: jobs are staged, and write their outputs, below it. */
  readonly gcs: string;
  /** That jobs run with; absent: Vertex AI's own agent. */
  readonly serviceAccount?: string;
  /** Others that jobs may ask for. */
  readonly serviceAccounts?: readonly string[];
  /** Absolute path of a service account's key, or a configuration of workload identity federation; absent: application default credentials. */
  readonly credentialsFile?: string;
  /** Addresses of other servers than Google's own: private endpoints, simulators. */
  readonly endpoint?: string;
  readonly loggingEndpoint?: string;
  readonly storageEndpoint?: string;
  /** A VPC that jobs are peered with, with names of reserved ranges in it; or the network attachment of a Private Service Connect interface. */
  readonly network?: string;
  readonly reservedIpRanges?: readonly string[];
  readonly networkAttachment?: string;
  readonly kmsKey?: string;
  readonly bootDiskType?: (typeof DISK_TYPES)[number];
  readonly bootDiskGb?: number;
  /** How much longer than its lease Vertex AI lets a job run: what a lease may be extended by. */
  readonly extensionSeconds?: number;
  /** Besides Merit's own, as for the allocation of costs. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly flavours: readonly VertexFlavour[];
}

/** Those GPUs of the API that are not deprecated: the SDK sends no other. TPUs are no GPUs, and start differently. */
export const ACCELERATORS = [
  'NVIDIA_TESLA_P100',
  'NVIDIA_TESLA_V100',
  'NVIDIA_TESLA_P4',
  'NVIDIA_TESLA_T4',
  'NVIDIA_TESLA_A100',
  'NVIDIA_A100_80GB',
  'NVIDIA_L4',
  'NVIDIA_H100_80GB',
  'NVIDIA_H100_MEGA_80GB',
  'NVIDIA_H200_141GB',
  'NVIDIA_B200',
  'NVIDIA_GB200',
  'NVIDIA_RTX_PRO_6000',
] as const;
const DISK_TYPES = ['pd-ssd', 'pd-standard', 'hyperdisk-balanced'] as const;
export const DEFAULT_BOOT_DISK_GB = 100;
export const BOOT_DISK_LIMIT_GB = 64_000;
const EXTENSION_LIMIT_SECONDS = 28 * 86_400;
const SERVICE_ACCOUNTS_LIMIT = 32;
/** Google takes 64, Merit adds four. */
const LABELS_LIMIT = 40;

export const IMAGE_PATTERN = '^[^\\s]{1,255}$';
export const SERVICE_ACCOUNT_PATTERN = '^[a-z0-9-]+@[a-z0-9.-]+\\.gserviceaccount\\.com$';
export const NETWORK_PATTERN = '^projects/[0-9]+/global/networks/[a-z]([a-z0-9-]*[a-z0-9])?$';
export const GCS_PATTERN = '^gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\\s]*)?$';
/** What Merit writes under: plain names, no slash at its end. */
const GCS_PREFIX_PATTERN = '^gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$';
const LABEL_VALUE = '^[\\p{Ll}\\p{Lo}0-9_-]{0,63}$';
const LABEL_KEY = /^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}0-9_-]{0,62}$/u;
const URL_PATTERN = '^https?://[^/?#@\\s]+/?$';

export const vertexConfigSchema = {
  type: 'object',
  required: ['project', 'region', 'gcs', 'flavours'],
  examples: [
    {
      project: 'example-merit',
      region: 'europe-west4',
      image: 'europe-docker.pkg.dev/example-merit/train/train:1',
      gcs: 'gs://example-merit/training',
      serviceAccount: 'merit-training@example-merit.iam.gserviceaccount.com',
      flavours: [
        {
          name: 'l4',
          machineType: 'g2-standard-48',
          accelerator: 'NVIDIA_L4',
          gpus: 4,
          cpus: 48,
          memoryGib: 192,
          machines: 2,
        },
      ],
    },
  ],
  additionalProperties: false,
  properties: {
    project: { type: 'string', pattern: '^([a-z0-9.-]{1,60}:)?([a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,20})$' },
    region: { type: 'string', pattern: '^[a-z]+-[a-z]+[0-9]+$' },
    image: { type: 'string', pattern: IMAGE_PATTERN, description: 'of jobs that name none' },
    gcs: { type: 'string', maxLength: 512, pattern: GCS_PREFIX_PATTERN, description: 'gs://bucket/prefix' },
    serviceAccount: { type: 'string', pattern: SERVICE_ACCOUNT_PATTERN, description: 'that jobs run with' },
    serviceAccounts: {
      type: 'array',
      maxItems: SERVICE_ACCOUNTS_LIMIT,
      items: { type: 'string', pattern: SERVICE_ACCOUNT_PATTERN },
      description: 'others that jobs may ask for',
    },
    credentialsFile: {
      type: 'string',
      description: 'absolute path of a key, or of a configuration of workload identity',
    },
    endpoint: { type: 'string', pattern: URL_PATTERN },
    loggingEndpoint: { type: 'string', pattern: URL_PATTERN },
    storageEndpoint: { type: 'string', pattern: URL_PATTERN },
    network: { type: 'string', pattern: NETWORK_PATTERN, description: 'projects/NUMBER/global/networks/NAME' },
    reservedIpRanges: {
      type: 'array',
      maxItems: 16,
      items: { type: 'string', pattern: '^[a-z]([a-z0-9-]*[a-z0-9])?$' },
    },
    networkAttachment: { type: 'string', pattern: '^projects/[^/\\s]+/regions/[^/\\s]+/networkAttachments/[^/\\s]+$' },
    kmsKey: {
      type: 'string',
      pattern: '^projects/[^/\\s]+/locations/[^/\\s]+/keyRings/[^/\\s]+/cryptoKeys/[^/\\s]+$',
    },
    bootDiskType: { type: 'string', enum: [...DISK_TYPES] },
    bootDiskGb: { type: 'integer', minimum: DEFAULT_BOOT_DISK_GB, maximum: BOOT_DISK_LIMIT_GB },
    extensionSeconds: { type: 'integer', minimum: 0, maximum: EXTENSION_LIMIT_SECONDS },
    labels: {
      type: 'object',
      maxProperties: LABELS_LIMIT,
      additionalProperties: { type: 'string', pattern: LABEL_VALUE },
    },
    flavours: {
      type: 'array',
      minItems: 1,
      maxItems: FLAVOURS_LIMIT,
      items: {
        type: 'object',
        required: ['name', 'machineType', 'gpus', 'cpus', 'machines'],
        additionalProperties: false,
        properties: {
          ...rentedFlavourProperties,
          machineType: { type: 'string', pattern: '^[a-z][a-z0-9]*-[a-z0-9-]+$' },
          accelerator: { type: 'string', enum: [...ACCELERATORS] },
          machines: { type: 'integer', minimum: 1, maximum: MACHINES_LIMIT },
        },
      },
    },
  },
} as const;

/** What the schema cannot say, all of it at once. Throws RefusedInput. */
export function checkVertexConfig(config: VertexConfig, pool: readonly PoolFlavour[] | undefined): void {
  const { credentialsFile, network, reservedIpRanges, networkAttachment, flavours } = config;
  const refusals: Refusal[] = [...flavourRefusals(flavours, pool, 'machineType'), ...acceleratorRefusals(flavours)];
  if (credentialsFile !== undefined && !isAbsolute(credentialsFile))
    refusals.push(refuse('format', 'credentialsFile', 'must be an absolute path', 'write the full path'));
  if (network !== undefined && networkAttachment !== undefined)
    refusals.push(refuse('conflict', 'networkAttachment', 'stands beside network', 'keep one of the two'));
  if (reservedIpRanges !== undefined && network === undefined)
    refusals.push(refuse('required', 'network', 'is missing, and reservedIpRanges are in one', 'name the network'));
  const own = Object.keys(config.labels ?? {}).find((name) => name.startsWith('merit') || !LABEL_KEY.test(name));
  if (own !== undefined)
    refusals.push(
      refuse(
        'reserved',
        `labels/${own.slice(0, 80)}`,
        'is not a label that may be set here',
        'use 1 to 63 of a-z, 0-9, _ and -, beginning with a letter, and not with merit',
      ),
    );
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

function acceleratorRefusals(flavours: readonly VertexFlavour[]): readonly Refusal[] {
  return flavours.flatMap(({ gpus, accelerator }, i) => {
    if (gpus > 0 === (accelerator !== undefined)) return [];
    const field = `flavours/${i}/accelerator`;
    return gpus > 0
      ? [refuse('required', field, `is missing, and the flavour has ${gpus} GPUs`, 'name their type, as NVIDIA_L4')]
      : [refuse('conflict', field, 'is named, and the flavour has no GPU', 'remove it, or say how many in gpus')];
  });
}

/** A flavour with what the pool's file says of it. */
export type Flavour = VertexFlavour & { readonly spot: boolean };
