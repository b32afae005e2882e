import type { RayJob } from 'ray-job-submission-client';
import { type AttemptSpec, type Handle, ProviderError } from '../provider.ts';

export const PROVIDER_KIND = 'ray';

/** What every job that Merit submits carries, and how it knows its own. */
export function metadataOf(spec: AttemptSpec): Readonly<Record<string, string>> {
  return { merit_tag: spec.tag, merit_booking: spec.bookingId, merit_attempt: String(spec.attempt) };
}

/**
 * The uid is the cluster's session and the submit time: it tells a job from an earlier one of the same id that was deleted, or that an earlier
 * life of the cluster held.
 */
export function handleOf(key: string, session: string, job: RayJob | undefined): Handle {
  const uid = job?.submittedAtMs === undefined ? undefined : `${session}/${job.submittedAtMs}`;
  return { provider: PROVIDER_KIND, id: key, uid };
}

/** The handle of the job that has this attempt's id, if it is this attempt. Throws ProviderError `invalid` if it is another. */
export function adopted(spec: AttemptSpec, session: string, job: RayJob): Handle {
  const wanted = Object.entries(metadataOf(spec));
  const other = wanted.find(([name, value]) => job.metadata[name] !== value);
  if (other === undefined) return handleOf(spec.key, session, job);
  throw new ProviderError(
    'invalid',
    `conflict: Ray already holds a job ${spec.key} whose ${other[0]} is not this attempt's`,
  );
}

/** Merit neither reports nor stops what it did not submit. Throws ProviderError `invalid`. */
export function assertOurs(key: string, job: RayJob): void {
  const { merit_tag: tag, merit_booking: booking, merit_attempt: attempt } = job.metadata;
  if (tag !== undefined && booking !== undefined && attempt !== undefined) return;
  throw new ProviderError('invalid', `the Ray job ${key} does not carry Merit's metadata: it is somebody else's`);
}
