import { type Static, Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { ruleDuration } from './config-rules.ts';
import { S3File, s3Config } from './object-store-config.ts';
import { openFileWitness } from './witness-files.ts';
import { openS3Witness, type S3WitnessConfig } from './witness-s3.ts';
import type { WitnessStore } from './witness-store.ts';

export type WitnessPlace =
  | { readonly kind: 'files'; readonly dir: string }
  | ({ readonly kind: 's3' } & S3WitnessConfig);

export interface WitnessConfig {
  readonly place: WitnessPlace;
  /** Between two copies of the newest checkpoint: what the trail may lose unseen. */
  readonly everyMs: number;
}

const Text = Type.String({ minLength: 1, maxLength: 4096 });

/** `witness` of merit.yaml: a bucket with object lock, or a folder. */
export const WitnessFile = Type.Object(
  {
    s3: Type.Optional(S3File),
    dir: Type.Optional(Text),
    retention: Type.Optional(Text),
    every: Type.Optional(Text),
  },
  { additionalProperties: false },
);

const DAY_MS = 86_400_000;
const MAX_RETENTION_MS = 36_500 * DAY_MS;
const DEFAULT_RETENTION = '3650d';
const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;

/** undefined: there is no witness. */
export function witnessConfig(
  file: Static<typeof WitnessFile> | undefined,
  resolvePath: (path: string) => string,
  reader: Reader,
): WitnessConfig | undefined {
  if (file === undefined) return undefined;
  const { s3, dir, retention, every = '1m' } = file;
  if ((s3 === undefined) === (dir === undefined))
    reader.refuse('required', 'witness', 'names no place, or two', 'write s3 or dir below it');
  if (s3 === undefined && retention !== undefined)
    reader.refuse('conflict', 'witness.retention', 'is of a bucket with object lock', 'take it out, or name a bucket');
  const everyMs = reader.take(ruleDuration('witness.every', every, SECOND_MS, HOUR_MS), HOUR_MS);
  if (s3 === undefined) return { place: { kind: 'files', dir: resolvePath(dir ?? '') }, everyMs };
  const retentionMs = reader.take(
    ruleDuration('witness.retention', retention ?? DEFAULT_RETENTION, DAY_MS, MAX_RETENTION_MS),
    DAY_MS,
  );
  return { place: { kind: 's3', ...s3Config('witness.s3', s3, reader), retentionMs }, everyMs };
}

/** Throws OperatingError with what to do where it cannot be used. */
export function openWitness(place: WitnessPlace): Promise<WitnessStore> {
  return place.kind === 'files' ? openFileWitness({ dir: place.dir }) : openS3Witness(place);
}
