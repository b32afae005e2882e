import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { VersitygwFacts } from '../parts/versitygw.ts';

/** The SDK finds the part's credentials where it looks first. */
export function useCredentials({ accessKey, secretKey }: Pick<VersitygwFacts, 'accessKey' | 'secretKey'>): void {
  process.env.AWS_ACCESS_KEY_ID = accessKey;
  process.env.AWS_SECRET_ACCESS_KEY = secretKey;
}

export function clientOf(url: string): S3Client {
  return new S3Client({ endpoint: url, region: 'us-east-1', forcePathStyle: true });
}

let buckets = 0;
export async function newBucket(s3: S3Client): Promise<string> {
  const bucket = `merit-${process.pid}-${++buckets}`;
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  return bucket;
}

export function storeConfig(url: string, bucket: string, prefix = 'prod') {
  return { bucket, prefix, region: 'us-east-1', endpoint: url, pathStyle: true, profile: undefined };
}
