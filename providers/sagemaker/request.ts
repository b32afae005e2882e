import type { Channel, CreateTrainingJobCommandInput, TrainingInstanceType } from '@aws-sdk/client-sagemaker';
import { ownerOf } from '../cloud/owner.ts';
import { type AttemptSpec, ProviderError } from '../provider.ts';
import {
  DEFAULT_EXTENSION_SECONDS,
  DEFAULT_VOLUME_GIB,
  type Flavour,
  RUNTIME_LIMIT_SECONDS,
  type SageMakerConfig,
} from './config.ts';
import { CODE_CHANNEL, type InputChannel, RUN_CHANNEL, type SageMakerJobOptions } from './job-options.ts';
import { ownerEnvironment, ownerTags, PROVIDER_KIND } from './ownership.ts';
import type { Staged } from './staging.ts';
import { containerEntrypoint } from './start-script.ts';

/** A spot job may be away for so long beyond what it runs; Merit ends it by its lease before. */
const SPOT_WAIT_SECONDS = 600;

/** Throws ProviderError `invalid` for what the pool's config does not let a job ask for, or lacks. */
export function checkAllowed(config: SageMakerConfig, options: SageMakerJobOptions): void {
  const { roleArn, vpc, image } = options;
  const roles = [config.roleArn, ...(config.roles ?? [])];
  if (roleArn !== undefined && !roles.includes(roleArn))
    throw new ProviderError('invalid', `options.sagemaker.roleArn: is none of the pool's roles: ${roles.join(', ')}`);
  if (vpc !== undefined && config.vpc !== undefined)
    throw new ProviderError('invalid', "options.sagemaker.vpc: the pool's jobs run in its own VPC: remove it");
  if (image === undefined && config.image === undefined)
    throw new ProviderError('invalid', 'options.sagemaker.image: is missing, and the pool has none: name one');
}

/** What SageMaker is sent for an attempt. */
export function requestOf(
  spec: AttemptSpec,
  flavour: Flavour,
  options: SageMakerJobOptions,
  staged: Staged,
  config: SageMakerConfig,
): CreateTrainingJobCommandInput {
  const owner = ownerOf(spec, PROVIDER_KIND);
  const vpc = config.vpc ?? options.vpc;
  const seconds = runtimeSeconds(spec.leaseMs, config);
  const checkpoints = options.checkpoints ?? (flavour.spot ? `${config.s3}/checkpoints/${spec.bookingId}/` : undefined);
  return {
    TrainingJobName: spec.key,
    AlgorithmSpecification: {
      TrainingImage: options.image ?? config.image,
      TrainingInputMode: 'File',
      ContainerEntrypoint: [...containerEntrypoint()],
    },
    RoleArn: options.roleArn ?? config.roleArn,
    InputDataConfig: [
      channelOf(RUN_CHANNEL, { s3: staged.run }),
      ...(staged.code === undefined ? [] : [channelOf(CODE_CHANNEL, { s3: staged.code })]),
      ...Object.entries(options.channels ?? {}).map(([name, channel]) => channelOf(name, channel)),
    ],
    OutputDataConfig: { S3OutputPath: `${config.s3}/output`, ...kms('KmsKeyId', config) },
    ResourceConfig: {
      // The SDK's list of types is of the day of its release.
      InstanceType: flavour.instanceType as TrainingInstanceType,
      InstanceCount: spec.nodes ?? 1,
      VolumeSizeInGB: options.volumeGib ?? config.volumeGib ?? DEFAULT_VOLUME_GIB,
      ...kms('VolumeKmsKeyId', config),
    },
    StoppingCondition: {
      MaxRuntimeInSeconds: seconds,
      ...(flavour.spot ? { MaxWaitTimeInSeconds: seconds + SPOT_WAIT_SECONDS } : {}),
    },
    Environment: { ...ownerEnvironment(owner) },
    Tags: Object.entries({ ...config.tags, ...ownerTags(owner) }).map(([Key, Value]) => ({ Key, Value })),
    ...(options.hyperparameters === undefined ? {} : { HyperParameters: { ...options.hyperparameters } }),
    ...(checkpoints === undefined ? {} : { CheckpointConfig: { S3Uri: checkpoints } }),
    ...(flavour.spot ? { EnableManagedSpotTraining: true } : {}),
    ...(vpc === undefined
      ? {}
      : { VpcConfig: { Subnets: [...vpc.subnets], SecurityGroupIds: [...vpc.securityGroupIds] } }),
    ...(config.networkIsolation === true ? { EnableNetworkIsolation: true } : {}),
    ...(config.encryptTraffic === true ? { EnableInterContainerTrafficEncryption: true } : {}),
  };
}

/** SageMaker ends a job by its own count where nobody else does any more. */
function runtimeSeconds(leaseMs: number, { extensionSeconds = DEFAULT_EXTENSION_SECONDS }: SageMakerConfig): number {
  return Math.min(Math.max(1, Math.ceil(leaseMs / 1000)) + extensionSeconds, RUNTIME_LIMIT_SECONDS);
}

function channelOf(name: string, { s3, manifest = false, mode, sharded = false }: InputChannel): Channel {
  return {
    ChannelName: name,
    DataSource: {
      S3DataSource: {
        S3DataType: manifest ? 'ManifestFile' : 'S3Prefix',
        S3Uri: s3,
        S3DataDistributionType: sharded ? 'ShardedByS3Key' : 'FullyReplicated',
      },
    },
    ...(mode === undefined ? {} : { InputMode: mode }),
  };
}

function kms<Name extends string>(name: Name, { kmsKeyId }: SageMakerConfig): Partial<Record<Name, string>> {
  return kmsKeyId === undefined ? {} : ({ [name]: kmsKeyId } as Record<Name, string>);
}
