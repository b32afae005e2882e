import type { Readable } from 'node:stream';
import type { GetObjectCommandOutput, S3Client } from '@aws-sdk/client-s3';
import { s3Error } from './s3-errors.ts';

export interface S3Object {
  readonly key: string;
  readonly size: number;
  /** As S3 gives it, with its quotes. */
  readonly etag: string;
}

/** Reading from S3 with the identity of this process: AWS_* variables, shared files, or the role of the machine. AWS_ENDPOINT_URL_S3 names another server. */
export interface S3Reader {
  /** Every object under the prefix, all pages. */
  list(bucket: string, prefix: string, signal: AbortSignal): AsyncGenerator<S3Object>;
  /** The bytes of one version of it. Throws OperatingError `conflict` where the object is another one by now. */
  get(bucket: string, key: string, etag: string, signal: AbortSignal): Promise<Readable>;
}

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_ATTEMPTS = 3;

let client: Promise<{ readonly sdk: typeof import('@aws-sdk/client-s3'); readonly s3: S3Client }> | undefined;

/** The SDK is imported when the first job names an S3 prefix. */
function opened() {
  client ??= import('@aws-sdk/client-s3').then((sdk) => ({
    sdk,
    s3: new sdk.S3Client({ maxAttempts: MAX_ATTEMPTS, requestHandler: { requestTimeout: REQUEST_TIMEOUT_MS } }),
  }));
  return client;
}

export const s3Reader: S3Reader = {
  list: async function* (bucket, prefix, signal) {
    const { sdk, s3 } = await opened();
    try {
      for await (const page of sdk.paginateListObjectsV2(
        { client: s3 },
        { Bucket: bucket, Prefix: prefix },
        { abortSignal: signal },
      )) {
        for (const { Key, Size, ETag } of page.Contents ?? []) {
          if (Key !== undefined) yield { key: Key, size: Size ?? 0, etag: ETag ?? '' };
        }
      }
    } catch (cause) {
      throw s3Error(`listing s3://${bucket}/${prefix}`, cause, signal);
    }
  },
  get: async (bucket, key, etag, signal) => {
    const { sdk, s3 } = await opened();
    let reply: GetObjectCommandOutput;
    try {
      reply = await s3.send(new sdk.GetObjectCommand({ Bucket: bucket, Key: key, IfMatch: etag }), {
        abortSignal: signal,
      });
    } catch (cause) {
      throw s3Error(`reading s3://${bucket}/${key}`, cause, signal);
    }
    return reply.Body as Readable;
  },
};
