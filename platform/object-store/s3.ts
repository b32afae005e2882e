import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HeadObjectCommandOutput } from '@aws-sdk/client-s3';
import { OperatingError } from '../../core/operating-error.ts';
import type { ListedObject, ObjectStore, PutOptions, StoredObject } from '../object-store.ts';
import { isNoSuchKey, s3Error, s3ErrorName, s3Status } from '../s3-errors.ts';
import { checkObjectKey, checkObjectPrefix, isObjectKey } from './keys.ts';
import type { S3Place, S3StoreWatch } from './s3-place.ts';
import { openS3Read } from './s3-read.ts';
import { abortStaleUploads, PART_BYTES, SourceBroke, UploadBudget, uploadStream } from './s3-upload.ts';

export interface S3StoreConfig {
  readonly bucket: string;
  /** Before every key; '' or `a/b`. */
  readonly prefix: string;
  /** undefined: as AWS_REGION or the profile says. */
  readonly region: string | undefined;
  /** undefined: AWS, or as AWS_ENDPOINT_URL_S3 says. */
  readonly endpoint: string | undefined;
  /** `endpoint/bucket/key` instead of `bucket.endpoint/key`. */
  readonly pathStyle: boolean;
  /** Of the shared credentials file; undefined: what the SDK's chain finds. */
  readonly profile: string | undefined;
  /** In place of the chain; asked as often as what it told has passed its `expiration`. */
  readonly credentials?: () => Promise<{
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
    readonly expiration?: Date;
  }>;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** A socket on which nothing moves for so long is dead; one part or answer may take longer as long as it moves. */
const IDLE_TIMEOUT_MS = 30_000;
/** Tries of one request; the SDK waits between them, longer each time, by chance. */
const MAX_ATTEMPTS = 5;
/** Of a conditional write that met another one under way. */
const MAX_CONFLICT_TRIES = 5;
const CONFLICT_PAUSE_MS = 100;
const UNWATCHED: S3StoreWatch = { partsResumed: () => {}, readResumed: () => {} };

/**
 * The object store in S3, or a server that speaks it. Each object carries its SHA-256, which S3 checks when it is written and this adapter when
 * it is read; `ifAbsent` is S3's own condition. What it keeps in memory is bounded by MAX_UPLOAD_BYTES_HELD.
 */
export async function openS3ObjectStore(
  config: S3StoreConfig,
  { watch = UNWATCHED, nowMs = Date.now }: { readonly watch?: S3StoreWatch; readonly nowMs?: () => number } = {},
): Promise<ObjectStore> {
  // Imported here: who keeps objects in files does not load the SDK.
  const sdk = await import('@aws-sdk/client-s3');
  const s3 = s3ClientOf(sdk, config);
  const base = config.prefix === '' ? '' : `${config.prefix}/`;
  const place: S3Place = {
    sdk,
    s3,
    bucket: config.bucket,
    watch,
    nameOf: (key) => {
      checkObjectKey(key);
      return base + key;
    },
    told: (name) => `s3://${config.bucket}/${name}`,
  };
  await lookAt(place, base);
  const budget = new UploadBudget();
  return {
    put: (key, body, options = {}) => put(place, budget, key, body, options),
    get: (key, range = {}) => openS3Read(place, key, range),
    head: async (key) => {
      const found = await headOf(place, place.nameOf(key));
      return found === undefined ? undefined : { size: found.ContentLength ?? 0 };
    },
    list: (prefix) => {
      checkObjectPrefix(prefix);
      return list(place, base, prefix);
    },
    delete: async (key) => {
      const name = place.nameOf(key);
      try {
        await s3.send(new sdk.DeleteObjectCommand({ Bucket: config.bucket, Key: name }));
      } catch (cause) {
        if (!isNoSuchKey(cause)) throw s3Error(`deleting ${place.told(name)}`, cause);
      }
    },
    sweepUnfinished: () => abortStaleUploads(place, base, nowMs()),
  };
}

/** A client with the time-outs and tries that all of Merit's work with a bucket has. */
export function s3ClientOf(sdk: S3Place['sdk'], config: S3StoreConfig): S3Place['s3'] {
  return new sdk.S3Client({
    maxAttempts: MAX_ATTEMPTS,
    forcePathStyle: config.pathStyle,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: IDLE_TIMEOUT_MS },
    ...(config.region === undefined ? {} : { region: config.region }),
    ...(config.endpoint === undefined ? {} : { endpoint: config.endpoint }),
    ...(config.profile === undefined ? {} : { profile: config.profile }),
    ...(config.credentials === undefined ? {} : { credentials: config.credentials }),
  });
}

/** Bucket, region, clock and rights are found out at the start, not with the first job. A list: its errors carry their names. */
async function lookAt({ sdk, s3, bucket, told }: S3Place, base: string): Promise<void> {
  try {
    await s3.send(new sdk.ListObjectsV2Command({ Bucket: bucket, Prefix: base, MaxKeys: 1 }));
  } catch (cause) {
    throw s3Error(`opening the object store ${told(base)}`, cause);
  }
}

async function put(
  place: S3Place,
  budget: UploadBudget,
  key: string,
  body: Readable | Uint8Array,
  options: PutOptions,
): Promise<StoredObject> {
  const name = place.nameOf(key);
  const ifAbsent = options.ifAbsent === true;
  try {
    if (ifAbsent) {
      const there = await describe(place, key, name);
      if (there !== undefined) return there;
    }
    const stored =
      body instanceof Uint8Array && body.byteLength <= PART_BYTES
        ? await putWhole(place, name, body, ifAbsent)
        : await uploadStream(place, budget, name, body instanceof Readable ? body : Readable.from([body]), {
            ifAbsent,
            size: body instanceof Uint8Array ? body.byteLength : options.size,
          });
    if (stored !== undefined) return { key, ...stored };
    const won = await describe(place, key, name);
    if (won !== undefined) return won;
    throw new OperatingError('conflict', 'safe', `storing ${place.told(name)}`, {
      cause: 'another one that was there is gone again',
    });
  } catch (cause) {
    throw cause instanceof SourceBroke ? cause.cause : s3Error(`storing ${place.told(name)}`, cause);
  } finally {
    if (body instanceof Readable) body.destroy();
  }
}

type Put = { readonly size: number; readonly sha256: string };

/** undefined: with `ifAbsent`, another one is there. */
async function putWhole(
  { sdk, s3, bucket }: S3Place,
  name: string,
  body: Uint8Array,
  ifAbsent: boolean,
): Promise<Put | undefined> {
  const digest = createHash('sha256').update(body).digest();
  const command = {
    Bucket: bucket,
    Key: name,
    Body: body,
    ChecksumSHA256: digest.toString('base64'),
    ...(ifAbsent ? { IfNoneMatch: '*' } : {}),
  };
  for (let tries = 1; ; tries++) {
    try {
      await s3.send(new sdk.PutObjectCommand(command));
      return { size: body.byteLength, sha256: digest.toString('hex') };
    } catch (cause) {
      if (!ifAbsent) throw cause;
      // Also where it is our own: a request that was repeated because its reply was lost.
      if (s3Status(cause) === 412) return undefined;
      if (s3ErrorName(cause) !== 'ConditionalRequestConflict' || tries >= MAX_CONFLICT_TRIES) throw cause;
      await sleep(Math.random() * CONFLICT_PAUSE_MS * 2 ** tries);
    }
  }
}

/** What is there, read once where S3 does not hold the SHA-256 of all of it. */
async function describe(place: S3Place, key: string, name: string): Promise<StoredObject | undefined> {
  const found = await headOf(place, name);
  if (found === undefined) return undefined;
  const { ChecksumSHA256: sum, ContentLength: size = 0 } = found;
  if (sum !== undefined && !sum.includes('-')) return { key, size, sha256: Buffer.from(sum, 'base64').toString('hex') };
  const stream = await openS3Read(place, key, {});
  if (stream === undefined) return undefined;
  const hash = createHash('sha256');
  let read = 0;
  for await (const chunk of stream) {
    hash.update(chunk as Buffer);
    read += (chunk as Buffer).length;
  }
  return { key, size: read, sha256: hash.digest('hex') };
}

async function headOf({ sdk, s3, bucket, told }: S3Place, name: string): Promise<HeadObjectCommandOutput | undefined> {
  try {
    return await s3.send(new sdk.HeadObjectCommand({ Bucket: bucket, Key: name, ChecksumMode: 'ENABLED' }));
  } catch (cause) {
    if (isNoSuchKey(cause)) return undefined;
    throw s3Error(`looking at ${told(name)}`, cause);
  }
}

async function* list({ sdk, s3, bucket, told }: S3Place, base: string, prefix: string): AsyncGenerator<ListedObject> {
  try {
    const asked = { Bucket: bucket, Prefix: base + prefix };
    for await (const page of sdk.paginateListObjectsV2({ client: s3 }, asked)) {
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
        const key = Key.slice(base.length);
        // Folder marks of consoles, and what others put there.
        if (isObjectKey(key)) yield { key, size: Size, modifiedAtMs: LastModified?.getTime() ?? Date.now() };
      }
    }
  } catch (cause) {
    throw s3Error(`listing ${told(base + prefix)}`, cause);
  }
}
