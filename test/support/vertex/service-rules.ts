import { createRequire } from 'node:module';
import type { NewCustomJob } from '../../../providers/vertex/wire.ts';

interface Field {
  readonly rule?: string;
  readonly type: string;
  readonly options?: Readonly<Record<string, string>>;
}
interface Message {
  readonly fields?: Readonly<Record<string, Field>>;
}

type Problem = readonly [field: string, description: string];

const FAMILIES: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^n1-/, ['NVIDIA_TESLA_T4', 'NVIDIA_TESLA_V100', 'NVIDIA_TESLA_P100', 'NVIDIA_TESLA_P4']],
  [/^g2-standard-(4|8|12|16|24|32|48|96)$/, ['NVIDIA_L4']],
  [/^a2-highgpu-(1|2|4|8)g$|^a2-megagpu-16g$/, ['NVIDIA_TESLA_A100']],
  [/^a2-ultragpu-(1|2|4|8)g$/, ['NVIDIA_A100_80GB']],
  [/^a3-highgpu-(1|2|4|8)g$/, ['NVIDIA_H100_80GB']],
  [/^a3-megagpu-8g$/, ['NVIDIA_H100_MEGA_80GB']],
  [/^a3-ultragpu-8g$/, ['NVIDIA_H200_141GB']],
  [/^a4-highgpu-8g$/, ['NVIDIA_B200']],
  [/^(e2|n2|n2d|c2|c2d|c3)-/, []],
];
/** How many accelerators a machine of a fixed shape has. */
const G2_COUNT: Readonly<Record<string, number>> = { 4: 1, 8: 1, 12: 1, 16: 1, 32: 1, 24: 2, 48: 4, 96: 8 };
const MACHINE = /^[a-z][a-z0-9]*-(standard|highmem|highcpu|highgpu|ultragpu|megagpu)-[0-9]+g?$/;
const LABEL_KEY = /^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}0-9_-]{0,62}$/u;
const LABEL_VALUE = /^[\p{Ll}\p{Lo}0-9_-]{0,63}$/u;
const LABELS_LIMIT = 64;

/**
 * What the service refuses of a new job: what the API's own description marks as required (of the protos that come with the SDK), and what its texts and
 * public lists say besides of names, machines, disks and networks.
 */
export function jobProblems(job: NewCustomJob): readonly Problem[] {
  return [...missing('CustomJob', job, 'custom_job'), ...labelProblems(job), ...specProblems(job)];
}

function missing(message: string, value: object, at: string): readonly Problem[] {
  const { fields = {} } = messages()[message] ?? {};
  return Object.entries(fields).flatMap(([name, { type, rule, options }]) => {
    const own = (value as Readonly<Record<string, unknown>>)[name];
    const field = `${at}.${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;
    const isAbsent = own === undefined || own === null || own === '' || (Array.isArray(own) && own.length === 0);
    if (isAbsent)
      return options?.['(google.api.field_behavior)'] === 'REQUIRED' ? [[field, 'Required field is not set.']] : [];
    if (messages()[type] === undefined) return [];
    if (rule !== 'repeated') return missing(type, own as object, field);
    return (own as readonly object[]).flatMap((one, i) => missing(type, one, `${field}[${i}]`));
  }) as readonly Problem[];
}

let kept: Readonly<Record<string, Message>> | undefined;
function messages(): Readonly<Record<string, Message>> {
  kept ??= (createRequire(import.meta.url)('@google-cloud/aiplatform/build/protos/protos.json') as never as ProtosJson)
    .nested.google.nested.cloud.nested.aiplatform.nested.v1.nested;
  return kept;
}
interface ProtosJson {
  nested: {
    google: { nested: { cloud: { nested: { aiplatform: { nested: { v1: { nested: Record<string, Message> } } } } } } };
  };
}

function labelProblems({ displayName, labels }: NewCustomJob): readonly Problem[] {
  const all = Object.entries(labels ?? {});
  return [
    ...(displayName.length > 128 ? [['custom_job.display_name', 'It can be up to 128 characters long.'] as const] : []),
    ...(all.length > LABELS_LIMIT ? [['custom_job.labels', `At most ${LABELS_LIMIT} labels.`] as const] : []),
    ...all.flatMap(([key, value]) =>
      LABEL_KEY.test(key) && LABEL_VALUE.test(value)
        ? []
        : [[`custom_job.labels`, `${key}=${value}: only lowercase letters, numbers, underscores and dashes.`] as const],
    ),
  ];
}

function specProblems({ jobSpec, encryptionSpec }: NewCustomJob): readonly Problem[] {
  const at = 'custom_job.job_spec';
  const problems: Problem[] = [];
  const wrong = (isWrong: boolean | undefined, field: string, text: string) => {
    if (isWrong) problems.push([field, text]);
  };
  const pools = jobSpec?.workerPoolSpecs ?? [];
  wrong(
    Number(pools[0]?.replicaCount) !== 1,
    `${at}.worker_pool_specs[0].replica_count`,
    'The primary pool has exactly 1 replica.',
  );
  wrong(pools.length > 4, `${at}.worker_pool_specs`, 'At most 4 worker pools.');
  pools.forEach((pool, i) => {
    const field = `${at}.worker_pool_specs[${i}]`;
    wrong(!(Number(pool.replicaCount) >= 1), `${field}.replica_count`, 'It must be at least 1.');
    problems.push(...machineProblems(pool.machineSpec, `${field}.machine_spec`));
    const { bootDiskType, bootDiskSizeGb } = pool.diskSpec ?? {};
    wrong(
      !!bootDiskType && !/^(pd-ssd|pd-standard|hyperdisk-balanced)$/.test(bootDiskType),
      `${field}.disk_spec.boot_disk_type`,
      'Unknown disk type.',
    );
    wrong(
      !!bootDiskSizeGb && (bootDiskSizeGb < 100 || bootDiskSizeGb > 64_000),
      `${field}.disk_spec.boot_disk_size_gb`,
      'It must be in [100, 64000].',
    );
  });
  const {
    scheduling,
    serviceAccount,
    network,
    pscInterfaceConfig,
    reservedIpRanges = [],
    baseOutputDirectory,
    tensorboard,
  } = jobSpec ?? {};
  const seconds = Number(scheduling?.timeout?.seconds ?? 0);
  wrong(seconds < 0 || seconds > 28 * 86_400, `${at}.scheduling.timeout`, 'It is out of range.');
  wrong(
    !!serviceAccount && !/^[^@\s]+@[^@\s]+\.gserviceaccount\.com$/.test(serviceAccount),
    `${at}.service_account`,
    'It is no service account.',
  );
  wrong(
    !!network && !/^projects\/\d+\/global\/networks\/[^/]+$/.test(network),
    `${at}.network`,
    'It has the form projects/{project number}/global/networks/{network}.',
  );
  wrong(
    !!network && !!pscInterfaceConfig?.networkAttachment,
    `${at}.psc_interface_config`,
    'It cannot be set beside network.',
  );
  wrong(reservedIpRanges.length > 0 && !network, `${at}.reserved_ip_ranges`, 'They need a network.');
  wrong(
    !!baseOutputDirectory && !/^gs:\/\/[^/]+/.test(baseOutputDirectory.outputUriPrefix),
    `${at}.base_output_directory`,
    'It must begin with gs://.',
  );
  wrong(!!tensorboard && !serviceAccount, `${at}.service_account`, 'It is required where tensorboard is set.');
  wrong(
    !!encryptionSpec && !/^projects\/.+\/cryptoKeys\/.+$/.test(encryptionSpec.kmsKeyName),
    'custom_job.encryption_spec.kms_key_name',
    'It is no key.',
  );
  return problems;
}

function machineProblems(
  machine: NewCustomJob['jobSpec']['workerPoolSpecs'][0]['machineSpec'] | undefined | null,
  at: string,
): readonly Problem[] {
  const { machineType = '', acceleratorType, acceleratorCount = 0 } = machine ?? {};
  const family = FAMILIES.find(([pattern]) => pattern.test(machineType));
  if (family === undefined || !MACHINE.test(machineType))
    return [[`${at}.machine_type`, `Machine type "${machineType}" is not supported.`]];
  const hasAccelerator = acceleratorType !== undefined && acceleratorType !== 'ACCELERATOR_TYPE_UNSPECIFIED';
  const [, accelerators] = family;
  const needs = !/^n1-/.test(machineType) && accelerators.length > 0;
  if (!hasAccelerator)
    return needs || acceleratorCount > 0
      ? [[`${at}.accelerator_type`, `${machineType} needs its accelerator to be named.`]]
      : [];
  if (!accelerators.includes(acceleratorType))
    return [[`${at}.accelerator_type`, `${acceleratorType} cannot be attached to ${machineType}.`]];
  const fixed = /gpu-(\d+)g$/.exec(machineType)?.[1] ?? G2_COUNT[/^g2-standard-(\d+)$/.exec(machineType)?.[1] ?? ''];
  const isRight = fixed === undefined ? [1, 2, 4, 8].includes(acceleratorCount) : Number(fixed) === acceleratorCount;
  return isRight ? [] : [[`${at}.accelerator_count`, `${acceleratorCount} is not a count of ${machineType}.`]];
}
