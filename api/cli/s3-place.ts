import type { S3StoreConfig } from '../../platform/object-store/s3.ts';
import { CliError, EXIT } from './exit.ts';

const PLACE = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\/?([A-Za-z0-9._/-]*?)\/*$/;

/**
 * What `s3://bucket/prefix` names; undefined where the text is a folder's. The region, an endpoint and credentials are the AWS SDK's to find (AWS_REGION,
 * AWS_ENDPOINT_URL, …); of another server than AWS' buckets are asked for by path, as by a server of Merit.
 */
export function s3PlaceOf(place: string): S3StoreConfig | undefined {
  if (!place.startsWith('s3:')) return undefined;
  const [, bucket, prefix = ''] = PLACE.exec(place) ?? [];
  if (bucket === undefined)
    throw new CliError(EXIT.badValue, 'uri', `${JSON.stringify(place)} is no S3 place`, {
      mend: 'write s3://bucket/prefix',
    });
  const pathStyle = (process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL) !== undefined;
  return { bucket, prefix, pathStyle, region: undefined, endpoint: undefined, profile: undefined };
}
