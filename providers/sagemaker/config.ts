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

/** An instance type, of which each node of a job has one whole. */
export interface SageMakerFlavour extends RentedFlavour {
  /** As in `ml.g5.12xlarge`. */
  readonly instanceType: string;
  /** The account's quota of this type for training jobs, on spot where it is a spot flavour. Not asked of Service Quotas. */
  readonly instances: number;
}

export interface Vpc {
  readonly subnets: readonly string[];
  readonly securityGroupIds: readonly string[];
}

/** `config` of a pool whose provider is `sagemaker`. */
export interface SageMakerConfig {
  readonly region: string;
  /** The role that jobs run with; SageMaker assumes it. */
  readonly roleArn: string;
  /** Other roles that jobs may ask for. */
  readonly roles?: readonly string[];
  /** Of jobs that name none. */
  readonly image?: string;
  /** `s3://bucket/prefix`: jobs are staged, and write their model and checkpoints, below it. */
  readonly s3: string;
  /** Absolute path of what a credential_process prints, read at each call; absent: the SDK's own chain. */
  readonly credentialsFile?: string;
  /** Of the shared credentials file. */
  readonly profile?: string;
  /** Addresses of other servers than AWS' own: VPC endpoints, simulators. */
  readonly endpoint?: string;
  readonly logsEndpoint?: string;
  readonly s3Endpoint?: string;
  readonly vpc?: Vpc;
  readonly networkIsolation?: boolean;
  readonly encryptTraffic?: boolean;
  /** Of volumes, and of what jobs write to S3. */
  readonly kmsKeyId?: string;
  readonly volumeGib?: number;
  /** How much longer than its lease SageMaker lets a job run: what a lease may be extended by. */
  readonly extensionSeconds?: number;
  /** Tags besides Merit's own, as for the allocation of costs. */
  readonly tags?: Readonly<Record<string, string>>;
  readonly flavours: readonly SageMakerFlavour[];
}

export const DEFAULT_VOLUME_GIB = 30;
export const DEFAULT_EXTENSION_SECONDS = 0;
export const VOLUME_LIMIT_GIB = 16_384;
const ROLES_LIMIT = 32;
/** SageMaker takes 50, Merit adds four. */
const TAGS_LIMIT = 40;
/** The longest that SageMaker lets a job run. */
export const RUNTIME_LIMIT_SECONDS = 28 * 86_400;

export const ROLE_PATTERN = '^arn:aws[a-z-]*:iam::[0-9]{12}:role/?[a-zA-Z_0-9+=,.@/-]+$';
export const IMAGE_PATTERN = '^[^\\s]{1,255}$';
export const S3_PATTERN = '^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\\s]*)?$';
/** What Merit writes under: plain names, no slash at its end. */
const S3_PREFIX_PATTERN = '^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$';
const TAG_PATTERN = '^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{0,256}$';
const URL_PATTERN = '^https?://[^/?#@\\s]+/?$';

export const vpcSchema = {
  type: 'object',
  required: ['subnets', 'securityGroupIds'],
  additionalProperties: false,
  properties: {
    subnets: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      items: { type: 'string', pattern: '^subnet-[0-9a-z]{1,25}$' },
    },
    securityGroupIds: {
      type: 'array',
      minItems: 1,
      maxItems: 5,
      items: { type: 'string', pattern: '^sg-[0-9a-z]{1,29}$' },
    },
  },
} as const;

export const sageMakerConfigSchema = {
  type: 'object',
  required: ['region', 'roleArn', 's3', 'flavours'],
  examples: [
    {
      region: 'eu-central-1',
      roleArn: 'arn:aws:iam::123456789012:role/merit-training',
      image: '123456789012.dkr.ecr.eu-central-1.amazonaws.com/train:1',
      s3: 's3://example-merit/training',
      flavours: [{ name: 'a10g', instanceType: 'ml.g5.12xlarge', gpus: 4, cpus: 48, memoryGib: 192, instances: 2 }],
    },
  ],
  additionalProperties: false,
  properties: {
    region: { type: 'string', pattern: '^[a-z]{2,4}(-[a-z]+)+-[0-9]+$' },
    roleArn: { type: 'string', maxLength: 2048, pattern: ROLE_PATTERN, description: 'the role that jobs run with' },
    roles: {
      type: 'array',
      maxItems: ROLES_LIMIT,
      items: { type: 'string', maxLength: 2048, pattern: ROLE_PATTERN },
      description: 'other roles that jobs may ask for',
    },
    image: { type: 'string', pattern: IMAGE_PATTERN, description: 'of jobs that name none' },
    s3: { type: 'string', maxLength: 512, pattern: S3_PREFIX_PATTERN, description: 's3://bucket/prefix' },
    credentialsFile: { type: 'string', description: 'absolute path of what a credential_process prints' },
    profile: { type: 'string', minLength: 1 },
    endpoint: { type: 'string', pattern: URL_PATTERN },
    logsEndpoint: { type: 'string', pattern: URL_PATTERN },
    s3Endpoint: { type: 'string', pattern: URL_PATTERN },
    vpc: vpcSchema,
    networkIsolation: { type: 'boolean' },
    encryptTraffic: { type: 'boolean', description: 'between the nodes of a job' },
    kmsKeyId: { type: 'string', maxLength: 2048, pattern: '^[a-zA-Z0-9:/_-]+$' },
    volumeGib: { type: 'integer', minimum: 1, maximum: VOLUME_LIMIT_GIB },
    extensionSeconds: { type: 'integer', minimum: 0, maximum: RUNTIME_LIMIT_SECONDS },
    tags: {
      type: 'object',
      maxProperties: TAGS_LIMIT,
      additionalProperties: { type: 'string', pattern: TAG_PATTERN },
    },
    flavours: {
      type: 'array',
      minItems: 1,
      maxItems: FLAVOURS_LIMIT,
      items: {
        type: 'object',
        required: ['name', 'instanceType', 'gpus', 'cpus', 'instances'],
        additionalProperties: false,
        properties: {
          ...rentedFlavourProperties,
          instanceType: { type: 'string', pattern: '^ml\\.[a-z0-9-]+\\.[a-z0-9-]+$' },
          instances: { type: 'integer', minimum: 1, maximum: MACHINES_LIMIT },
        },
      },
    },
  },
} as const;

/** What the schema cannot say, all of it at once. Throws RefusedInput. */
export function checkSageMakerConfig(config: SageMakerConfig, pool: readonly PoolFlavour[] | undefined): void {
  const { credentialsFile, profile, flavours } = config;
  const refusals: Refusal[] = [...flavourRefusals(flavours, pool, 'instanceType')];
  if (credentialsFile !== undefined && !isAbsolute(credentialsFile))
    refusals.push(refuse('format', 'credentialsFile', 'must be an absolute path', 'write the full path'));
  if (credentialsFile !== undefined && profile !== undefined)
    refusals.push(refuse('conflict', 'profile', 'stands beside credentialsFile', 'keep one of the two'));
  const own = Object.keys(config.tags ?? {}).find((name) => /^(merit:|aws:)/i.test(name) || !/^.{1,128}$/.test(name));
  if (own !== undefined)
    refusals.push(
      refuse(
        'reserved',
        `tags/${own.slice(0, 80)}`,
        'is not a tag that may be set here',
        'use 1 to 128 characters that do not begin with merit: or aws:',
      ),
    );
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

/** A flavour with what the pool's file says of it. */
export type Flavour = SageMakerFlavour & { readonly spot: boolean };
