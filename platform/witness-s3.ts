import { createHash } from 'node:crypto';
import type { ListObjectVersionsCommandOutput } from '@aws-sdk/client-s3';
import { OperatingError } from '../core/operating-error.ts';
import { checkObjectKey } from './object-store/keys.ts';
import { type S3StoreConfig, s3ClientOf } from './object-store/s3.ts';
import { s3Error, s3Status } from './s3-errors.ts';
import { MAX_WITNESS_BYTES, type WitnessStore } from './witness-store.ts';

export interface S3WitnessConfig extends S3StoreConfig {
  /** How long a record can be removed by nobody, the account's root included. */
  readonly retentionMs: number;
}

/**
 * A witness in a bucket with object lock: each record is locked in compliance mode. What is read are versions, the first of each name: neither a delete
 * marker nor a later version hides what was written. The identity needs s3:GetBucketObjectLockConfiguration, s3:ListBucketVersions, s3:PutObject,
 * s3:PutObjectRetention and s3:GetObjectVersion there, and nothing else.
 */
export async function openS3Witness(config: S3WitnessConfig, nowMs: () => number = Date.now): Promise<WitnessStore> {
  const sdk = await import('@aws-sdk/client-s3');
  const s3 = s3ClientOf(sdk, config);
  const { bucket, retentionMs } = config;
  const base = config.prefix === '' ? '' : `${config.prefix}/`;
  const place = `s3://${bucket}/${base}`;
  const locked = await s3
    .send(new sdk.GetObjectLockConfigurationCommand({ Bucket: bucket }))
    .catch((cause: unknown) => {
      if ((cause as Error).name === 'ObjectLockConfigurationNotFoundError') return undefined;
      throw s3Error(`opening the witness ${place}`, cause);
    });
  if (locked?.ObjectLockConfiguration?.ObjectLockEnabled !== 'Enabled') {
    throw new OperatingError('part-missing', 'never', `opening the witness ${place}`, {
      cause: 'the bucket has no object lock',
      mend: 'make a bucket with object lock and name it in witness.s3; whoever runs Merit could take back what another one holds',
    });
  }

  /** The oldest version of each name, in the order of names; of a name versions come newest first. */
  async function* firstVersions(prefix = base): AsyncGenerator<{ readonly key: string; readonly versionId: string }> {
    let markers: Pick<ListObjectVersionsCommandOutput, 'NextKeyMarker' | 'NextVersionIdMarker'> = {};
    let held: { readonly key: string; readonly versionId: string } | undefined;
    for (let more = true; more; ) {
      const page: ListObjectVersionsCommandOutput = await s3
        .send(
          new sdk.ListObjectVersionsCommand({
            Bucket: bucket,
            Prefix: prefix,
            ...(markers.NextKeyMarker === undefined ? {} : { KeyMarker: markers.NextKeyMarker }),
            ...(markers.NextVersionIdMarker === undefined ? {} : { VersionIdMarker: markers.NextVersionIdMarker }),
          }),
        )
        .catch((cause: unknown) => {
          throw s3Error(`reading the witness ${place}`, cause);
        });
      for (const { Key = '', VersionId = '' } of page.Versions ?? []) {
        if (held !== undefined && held.key !== Key) yield held;
        held = { key: Key, versionId: VersionId };
      }
      markers = page;
      more = page.IsTruncated === true;
    }
    if (held !== undefined) yield held;
  }

  /** undefined: it is larger than any record. */
  async function contentOf(key: string, versionId: string): Promise<Uint8Array | undefined> {
    try {
      const { Body, ContentLength = 0 } = await s3.send(
        new sdk.GetObjectCommand({ Bucket: bucket, Key: key, VersionId: versionId }),
      );
      return Body === undefined || ContentLength > MAX_WITNESS_BYTES ? undefined : await Body.transformToByteArray();
    } catch (cause) {
      throw s3Error(`reading the witness ${place}${key}`, cause);
    }
  }

  return {
    place,
    put: async (name, bytes) => {
      checkObjectKey(name);
      try {
        await s3.send(
          new sdk.PutObjectCommand({
            Bucket: bucket,
            Key: base + name,
            Body: bytes,
            IfNoneMatch: '*',
            ChecksumSHA256: createHash('sha256').update(bytes).digest('base64'),
            ObjectLockMode: 'COMPLIANCE',
            ObjectLockRetainUntilDate: new Date(nowMs() + retentionMs),
          }),
        );
      } catch (cause) {
        // It is there: another process', or our own whose reply was lost.
        if (s3Status(cause) !== 412) throw s3Error(`writing to the witness ${place}${name}`, cause);
      }
    },
    read: async (name) => {
      checkObjectKey(name);
      for await (const { key, versionId } of firstVersions(base + name))
        if (key === base + name) return contentOf(key, versionId);
      return undefined;
    },
    entries: async function* () {
      for await (const { key, versionId } of firstVersions()) {
        const bytes = await contentOf(key, versionId);
        if (bytes !== undefined) yield { name: key.slice(base.length), bytes };
      }
    },
  };
}
