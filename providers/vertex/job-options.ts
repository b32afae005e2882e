import type { Refusal } from '../../core/refusal.ts';
import { schemaRefusals } from '../cloud/option-check.ts';
import {
  BOOT_DISK_LIMIT_GB,
  DEFAULT_BOOT_DISK_GB,
  GCS_PATTERN,
  IMAGE_PATTERN,
  NETWORK_PATTERN,
  SERVICE_ACCOUNT_PATTERN,
} from './config.ts';

/** What a job may ask of Vertex AI alone: `options: {vertex: {…}}` in its file. */
export interface VertexJobOptions {
  readonly image?: string;
  /** One of those that the pool names. */
  readonly serviceAccount?: string;
  /** Where the pool has none. */
  readonly network?: string;
  /** Where AIP_MODEL_DIR and AIP_CHECKPOINT_DIR are; absent: a folder of the booking's own. */
  readonly output?: string;
  readonly bootDiskGb?: number;
  readonly tensorboard?: string;
}

const ROOT = 'options.vertex';

const jobOptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    image: { type: 'string', pattern: IMAGE_PATTERN },
    serviceAccount: { type: 'string', pattern: SERVICE_ACCOUNT_PATTERN },
    network: { type: 'string', pattern: NETWORK_PATTERN },
    output: { type: 'string', maxLength: 1024, pattern: GCS_PATTERN },
    bootDiskGb: { type: 'integer', minimum: DEFAULT_BOOT_DISK_GB, maximum: BOOT_DISK_LIMIT_GB },
    tensorboard: { type: 'string', pattern: '^projects/[^/\\s]+/locations/[^/\\s]+/tensorboards/[^/\\s]+$' },
  },
} as const;

/** Where the schema's own words would not help. */
const MENDS: Readonly<Record<string, string>> = {
  image: 'write registry/name:tag or registry/name@sha256:…, without spaces',
  serviceAccount: 'write it as name@project.iam.gserviceaccount.com, one of those that the pool names',
  network: 'write projects/NUMBER/global/networks/NAME, with the number of the project',
  output: 'write gs://bucket/prefix',
  tensorboard: 'write projects/P/locations/L/tensorboards/ID',
};

/** All that is wrong with `options.vertex` of a job; fields as they stand in its file. */
export function jobOptionsRefusals(value: unknown): readonly Refusal[] {
  return value === undefined ? [] : schemaRefusals(ROOT, jobOptionsSchema, MENDS, value);
}
