import type { S3Client } from '@aws-sdk/client-s3';

/** What the adapter tells of, for metrics. */
export interface S3StoreWatch {
  /** Parts that an earlier, broken upload had brought already. */
  partsResumed(parts: number): void;
  /** A reading that broke, and was taken up where it was. */
  readResumed(): void;
}

/** A bucket, or a part of one, through the SDK's client. */
export interface S3Place {
  readonly sdk: typeof import('@aws-sdk/client-s3');
  readonly s3: S3Client;
  readonly bucket: string;
  readonly watch: S3StoreWatch;
  /** The object's name in the bucket; throws RefusedInput. */
  nameOf(key: string): string;
  /** As in `s3://bucket/name`. */
  told(name: string): string;
}

/** Kept with an object that was sent in parts: by it a reader can check the parts' SHA-256. */
export const PART_BYTES_NOTE = 'merit-part-bytes';
