import { type Refusal, refuse } from '../../core/refusal.ts';
import { schemaRefusals } from '../cloud/option-check.ts';
import { IMAGE_PATTERN, ROLE_PATTERN, S3_PATTERN, VOLUME_LIMIT_GIB, type Vpc, vpcSchema } from './config.ts';

export interface InputChannel {
  /** A prefix, or a manifest file. */
  readonly s3: string;
  readonly manifest?: boolean;
  readonly mode?: 'File' | 'FastFile' | 'Pipe';
  /** Each node has its part of the objects instead of all of them. */
  readonly sharded?: boolean;
}

/** What a job may ask of SageMaker alone: `options: {sagemaker: {…}}` in its file. */
export interface SageMakerJobOptions {
  readonly image?: string;
  /** One of the roles that the pool names. */
  readonly roleArn?: string;
  /** Where the pool has none. */
  readonly vpc?: Vpc;
  readonly hyperparameters?: Readonly<Record<string, string>>;
  /** By name: the folder below /opt/ml/input/data. */
  readonly channels?: Readonly<Record<string, InputChannel>>;
  /** Where /opt/ml/checkpoints is kept; on spot it is kept in any case. */
  readonly checkpoints?: string;
  readonly volumeGib?: number;
}

const ROOT = 'options.sagemaker';
/** SageMaker takes 20, of which Merit has two. */
const CHANNELS_LIMIT = 18;
/** The channels by which a job's start and its workdir travel. */
export const RUN_CHANNEL = 'merit';
export const CODE_CHANNEL = 'merit-code';
const RESERVED = [RUN_CHANNEL, CODE_CHANNEL];

const s3 = { type: 'string', maxLength: 1024, pattern: S3_PATTERN } as const;

const jobOptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    image: { type: 'string', pattern: IMAGE_PATTERN },
    roleArn: { type: 'string', maxLength: 2048, pattern: ROLE_PATTERN },
    vpc: vpcSchema,
    hyperparameters: {
      type: 'object',
      maxProperties: 100,
      additionalProperties: { type: 'string', maxLength: 2500, pattern: '^.*$' },
    },
    channels: {
      type: 'object',
      maxProperties: CHANNELS_LIMIT,
      additionalProperties: {
        type: 'object',
        required: ['s3'],
        additionalProperties: false,
        properties: {
          s3,
          manifest: { type: 'boolean' },
          mode: { type: 'string', enum: ['File', 'FastFile', 'Pipe'] },
          sharded: { type: 'boolean' },
        },
      },
    },
    checkpoints: s3,
    volumeGib: { type: 'integer', minimum: 1, maximum: VOLUME_LIMIT_GIB },
  },
} as const;

/** Where the schema's own words would not help. */
const MENDS: Readonly<Record<string, string>> = {
  image: 'write registry/name:tag or registry/name@sha256:…, without spaces',
  roleArn: 'write it as arn:aws:iam::123456789012:role/name, one of those that the pool names',
  hyperparameters: 'write each as name: "text" on one line; numbers in quotes',
  checkpoints: 'write s3://bucket/prefix',
  channels: 'write name: {s3: s3://bucket/prefix}, with mode: File, FastFile or Pipe where you need another',
  vpc: 'write {subnets: [subnet-…], securityGroupIds: [sg-…]}',
};

/** All that is wrong with `options.sagemaker` of a job; fields as they stand in its file. */
export function jobOptionsRefusals(value: unknown): readonly Refusal[] {
  if (value === undefined) return [];
  const wrong = schemaRefusals(ROOT, jobOptionsSchema, MENDS, value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return wrong;
  return [...wrong, ...nameRefusals(value as SageMakerJobOptions)];
}

/** Names are keys, which the schema leaves alone. */
function nameRefusals({ channels, hyperparameters }: SageMakerJobOptions): readonly Refusal[] {
  const channelNames = Object.keys(channels ?? {}).flatMap((name) => {
    const field = `${ROOT}.channels.${name.slice(0, 80)}`;
    if (RESERVED.includes(name)) return [refuse('reserved', field, 'is Merit’s own channel', 'give it another name')];
    if (/^[A-Za-z0-9._-]{1,64}$/.test(name)) return [];
    return [refuse('charset', field, 'is no name of a channel', 'use 1 to 64 of A-Z a-z 0-9 . _ -')];
  });
  const parameterNames = Object.keys(hyperparameters ?? {}).flatMap((name) =>
    /^.{1,256}$/.test(name)
      ? []
      : [
          refuse(
            'length',
            `${ROOT}.hyperparameters`,
            'has a name that SageMaker does not take',
            'use 1 to 256 characters',
          ),
        ],
  );
  return [...channelNames, ...parameterNames];
}
