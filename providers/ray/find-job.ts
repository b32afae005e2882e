import { type RayJob, type RayJobClient, RayJobError } from 'ray-job-submission-client';

/** The job under this id, or undefined where Ray knows none. Throws RayJobError for anything else. */
export async function findJob(
  client: Pick<RayJobClient, 'get'>,
  key: string,
  signal: AbortSignal,
): Promise<RayJob | undefined> {
  try {
    return await client.get(key, signal);
  } catch (error) {
    if (error instanceof RayJobError && error.code === 'not_found') return undefined;
    throw error;
  }
}
