import type { Static } from '../core/schema.ts';
import { Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { ruleEndpoint } from './config-rules.ts';
import { openFileObjectStore } from './object-store/files.ts';
import { isObjectKey } from './object-store/keys.ts';
import { openS3ObjectStore, type S3StoreConfig } from './object-store/s3.ts';
import type { S3StoreWatch } from './object-store/s3-place.ts';
import type { ObjectStore } from './object-store.ts';

export type ObjectStoreConfig =
  | { readonly kind: 'files'; readonly dir: string }
  | ({ readonly kind: 's3' } & S3StoreConfig);

const Text = Type.String({ minLength: 1, maxLength: 4096 });

/** `objectStore` of merit.yaml. No credentials: the SDK finds them (AWS_* variables, shared files, the role of the machine). */
export const S3File = Type.Object(
  {
    bucket: Text,
    prefix: Type.Optional(Text),
    region: Type.Optional(Text),
    endpoint: Type.Optional(Text),
    pathStyle: Type.Optional(Type.Boolean()),
    profile: Type.Optional(Text),
  },
  { additionalProperties: false },
);
export const ObjectStoreFile = Type.Object({ s3: S3File }, { additionalProperties: false });

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
/** Keys have at most 512 characters, and S3 takes 1024. */
const MAX_PREFIX_LENGTH = 256;
/** What a server that speaks S3 and has no regions is signed for. */
const NO_REGION = 'us-east-1';

/** MERIT_OBJECT_STORE names a folder, or `s3://bucket/prefix`; it wins over the file, whose region and endpoint still hold. */
export function objectStoreConfig(
  from: {
    readonly variable: string | undefined;
    readonly file: Static<typeof ObjectStoreFile> | undefined;
    readonly dir: string | undefined;
    readonly defaultDir: string;
    readonly reader: Reader;
  },
  resolveVariable: (path: string) => string,
): ObjectStoreConfig {
  const { variable, file, dir, reader } = from;
  if (file !== undefined && dir !== undefined)
    reader.refuse('conflict', 'objectStoreDir', 'stands beside objectStore', 'keep one of the two');
  if (variable !== undefined && !variable.startsWith('s3:')) return { kind: 'files', dir: resolveVariable(variable) };
  const named = variable === undefined ? file?.s3 : { ...file?.s3, ...s3Uri(variable, reader) };
  if (named === undefined) return { kind: 'files', dir: dir ?? from.defaultDir };
  return { kind: 's3', ...s3Config('objectStore.s3', named, reader) };
}

/** What a bucket is reached by; `field` is where it is named. */
export function s3Config(field: string, named: Static<typeof S3File>, reader: Reader): S3StoreConfig {
  const { bucket, prefix = '', region, endpoint, profile } = named;
  if (!BUCKET.test(bucket))
    reader.refuse('bucket', `${field}.bucket`, 'is no name of a bucket', 'write 3 to 63 of a-z 0-9 . -');
  if (prefix !== '' && (!isObjectKey(prefix) || prefix.length > MAX_PREFIX_LENGTH))
    reader.refuse('prefix', `${field}.prefix`, 'is no prefix', 'write names of A-Z a-z 0-9 . _ - separated by /');
  return {
    bucket,
    prefix,
    region: region ?? (endpoint === undefined ? undefined : NO_REGION),
    endpoint: endpoint === undefined ? undefined : reader.take(ruleEndpoint(`${field}.endpoint`, endpoint), ''),
    pathStyle: named.pathStyle ?? endpoint !== undefined,
    profile,
  };
}

function s3Uri(text: string, reader: Reader): { readonly bucket: string; readonly prefix: string } {
  const found = /^s3:\/\/([^/]+)\/?(.*?)\/*$/.exec(text);
  if (found === null) reader.refuse('uri', 'MERIT_OBJECT_STORE', 'is no S3 place', 'write s3://bucket/prefix');
  return { bucket: found?.[1] ?? 'none', prefix: found?.[2] ?? '' };
}

/** Opens what the configuration names. Throws OperatingError with what to do where it cannot be used. */
export function openObjectStore(config: ObjectStoreConfig, watch?: S3StoreWatch): Promise<ObjectStore> {
  return config.kind === 'files'
    ? openFileObjectStore({ root: config.dir })
    : openS3ObjectStore(config, watch === undefined ? {} : { watch });
}
