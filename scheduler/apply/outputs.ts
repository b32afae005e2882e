import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { SourceOptions } from '../../artifacts/source.ts';
import { attemptKey } from '../../core/ids.ts';
import type { Booking } from './booking-store.ts';
import type { SagaContext } from './context.ts';

/** Where an attempt's files go: the job's own `outputs` with the attempt's key under it, or a folder of Merit's. */
export function outputsUri(ctx: Pick<SagaContext, 'stateDir'>, booking: Booking, attempt: number): string {
  const key = attemptKey(booking.bookingId, attempt);
  if (booking.spec.outputs !== null) return `${booking.spec.outputs.replace(/\/+$/, '')}/${key}`;
  return pathToFileURL(join(ctx.stateDir, 'outputs', key)).href;
}

/** Where outputs may lie: Merit's own folder, and the S3 prefixes its operator named. */
export function outputsBounds({
  stateDir,
  s3Outputs,
  s3,
}: Pick<SagaContext, 'stateDir' | 's3Outputs' | 's3'>): SourceOptions {
  return { allowedFolders: [join(stateDir, 'outputs')], allowedS3: s3Outputs, ...(s3 === undefined ? {} : { s3 }) };
}
