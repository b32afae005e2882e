import { ownerOf } from '../cloud/owner.ts';
import { type AttemptSpec, ProviderError } from '../provider.ts';
import { DEFAULT_BOOT_DISK_GB, type Flavour, type VertexConfig } from './config.ts';
import type { VertexJobOptions } from './job-options.ts';
import { ownerLabels, PROVIDER_KIND } from './ownership.ts';
import { containerCommand, type StagedFile } from './start-script.ts';
import type { NewCustomJob, WorkerPoolSpec } from './wire.ts';

/** Throws ProviderError `invalid` for what the pool's config does not let a job ask for, or lacks. */
export function checkAllowed(config: VertexConfig, options: VertexJobOptions): void {
  const { serviceAccount, network, image, tensorboard } = options;
  const refused = (field: string, text: string) => new ProviderError('invalid', `options.vertex.${field}: ${text}`);
  const accounts = [config.serviceAccount, ...(config.serviceAccounts ?? [])].filter((one) => one !== undefined);
  if (serviceAccount !== undefined && !accounts.includes(serviceAccount))
    throw refused('serviceAccount', `is none of the pool's: ${accounts.join(', ') || 'it names none'}`);
  if (network !== undefined && (config.network ?? config.networkAttachment) !== undefined)
    throw refused('network', "the pool's jobs run in its own network: remove it");
  if (image === undefined && config.image === undefined)
    throw refused('image', 'is missing, and the pool has none: name one');
  if (tensorboard !== undefined && (serviceAccount ?? config.serviceAccount) === undefined)
    throw refused('tensorboard', 'Vertex AI writes there as a service account of yours: name serviceAccount');
}

/** What Vertex AI is sent for an attempt whose start lies at `start`. */
export function requestOf(
  spec: AttemptSpec,
  flavour: Flavour,
  options: VertexJobOptions,
  start: StagedFile,
  config: VertexConfig,
): NewCustomJob {
  const pool = workerPool(flavour, options, start, config);
  const nodes = spec.nodes ?? 1;
  const serviceAccount = options.serviceAccount ?? config.serviceAccount;
  const network = options.network ?? config.network;
  return {
    displayName: spec.key,
    labels: { ...config.labels, ...ownerLabels(ownerOf(spec, PROVIDER_KIND)) },
    jobSpec: {
      // A gang is a chief and its workers; Vertex AI starts all of them or none.
      workerPoolSpecs: [{ ...pool, replicaCount: 1 }, ...(nodes === 1 ? [] : [{ ...pool, replicaCount: nodes - 1 }])],
      scheduling: {
        timeout: { seconds: timeoutSeconds(spec.leaseMs, config) },
        // Merit tries again by itself, as another attempt that knows the newest checkpoint.
        restartJobOnWorkerRestart: false,
        disableRetries: true,
        strategy: flavour.spot ? 'SPOT' : 'STANDARD',
      },
      // The same for all attempts of a booking, so that each goes on from the checkpoints of the one before.
      baseOutputDirectory: { outputUriPrefix: options.output ?? `${config.gcs}/output/${spec.bookingId}` },
      ...(serviceAccount === undefined ? {} : { serviceAccount }),
      ...(network === undefined ? {} : { network }),
      ...(config.reservedIpRanges === undefined ? {} : { reservedIpRanges: [...config.reservedIpRanges] }),
      ...(config.networkAttachment === undefined
        ? {}
        : { pscInterfaceConfig: { networkAttachment: config.networkAttachment } }),
      ...(options.tensorboard === undefined ? {} : { tensorboard: options.tensorboard }),
    },
    ...(config.kmsKey === undefined ? {} : { encryptionSpec: { kmsKeyName: config.kmsKey } }),
  };
}

function workerPool(
  { machineType, accelerator, gpus }: Flavour,
  options: VertexJobOptions,
  start: StagedFile,
  config: VertexConfig,
): Omit<WorkerPoolSpec, 'replicaCount'> {
  return {
    machineSpec: {
      machineType,
      ...(accelerator === undefined ? {} : { acceleratorType: accelerator, acceleratorCount: gpus }),
    },
    diskSpec: {
      bootDiskSizeGb: options.bootDiskGb ?? config.bootDiskGb ?? DEFAULT_BOOT_DISK_GB,
      ...(config.bootDiskType === undefined ? {} : { bootDiskType: config.bootDiskType }),
    },
    containerSpec: { imageUri: options.image ?? config.image ?? '', command: containerCommand(start) },
  };
}

/** Vertex AI ends a job by its own count where nobody else does any more. */
function timeoutSeconds(leaseMs: number, { extensionSeconds = 0 }: VertexConfig): number {
  return Math.max(1, Math.ceil(leaseMs / 1000)) + extensionSeconds;
}
