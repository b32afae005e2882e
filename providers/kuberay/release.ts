import type { Clock } from '../../platform/clock.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import { KEY_LABEL } from '../kubernetes/ownership.ts';
import { ProviderError } from '../provider.ts';
import { CONFIG_MAPS, RAY_CLUSTERS, RAY_JOBS, type RayJobObject } from './ray-job.ts';
import type { RayJobs } from './ray-jobs.ts';

const LOOK_EVERY_MS = 500;
/** Pods have their grace, and nodes that went away a while; then Merit is told, and asks anew. */
const PATIENCE_MS = 600_000;
/** A RayJob whose finalizer nobody takes away, with nothing of it left, is left to the operator's return. */
const FINALIZER_PATIENCE_MS = 10_000;

/**
 * Deletes the RayJob with all that it owns, and returns once its cluster and its pods are gone. KubeRay's finalizer is KubeRay's to take away: while its
 * operator is away the RayJob stays, being deleted, and nothing of it can begin any more. Unknown and released keys are silent.
 * Throws ProviderError `transient`, effect unknown, where that takes too long.
 */
export async function releaseAttempt(
  cluster: Cluster,
  jobs: RayJobs,
  clock: Clock,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  const job = await jobs.findOurs(key, signal);
  jobs.ended(key);
  const namespace = await cluster.namespace();
  if (job !== undefined)
    await cluster.remove(`${RAY_JOBS(namespace)}/${key}`, job.metadata.uid, `deleting the RayJob ${key}`, signal);
  try {
    await untilGone(cluster, namespace, jobs, clock, key, signal);
    await removeCode(cluster, namespace, key, signal);
  } catch (error) {
    // A look that fails has no effect, but what was sent before it has.
    if (!(error instanceof ProviderError) || error.code !== 'transient') throw error;
    const { message, retryAfterMs } = error;
    throw new ProviderError('transient', message, {
      effect: 'unknown',
      cause: error,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  }
}

async function untilGone(
  cluster: Cluster,
  namespace: string,
  jobs: RayJobs,
  clock: Clock,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  const beganMs = clock.now();
  let sinceNothingMs: number | undefined;
  while (true) {
    const left = await leftOf(jobs, key, signal);
    // Kubernetes itself would see to what the RayJob owns once that is gone, which waits for the operator. That begins no other meanwhile.
    for (const { metadata } of left.clusters.filter((one) => one.metadata.deletionTimestamp === undefined)) {
      const path = `${RAY_CLUSTERS(namespace)}/${metadata.name}`;
      await cluster.remove(path, metadata.uid, `deleting the RayCluster ${metadata.name}`, signal);
    }
    const isEmpty = left.clusters.length === 0 && left.pods === 0;
    if (isEmpty && left.job === undefined) return;
    if (isEmpty) sinceNothingMs ??= clock.now();
    else sinceNothingMs = undefined;
    if (sinceNothingMs !== undefined && clock.now() - sinceNothingMs >= FINALIZER_PATIENCE_MS) return;
    if (clock.now() - beganMs >= PATIENCE_MS) throw new ProviderError('transient', `Kubernetes still ends ${key}`);
    await clock.sleep(LOOK_EVERY_MS, signal);
    if (signal.aborted) throw new ProviderError('transient', `${key} is being ended`);
  }
}

async function leftOf(jobs: RayJobs, key: string, signal: AbortSignal) {
  const [job, clusters, pods] = await Promise.all([
    jobs.find(key, signal),
    jobs.clusters(key, signal),
    jobs.pods(key, signal),
  ]);
  return { job, clusters, pods: pods.length };
}

/** What a submit left that ended before its RayJob was made. */
async function removeCode(cluster: Cluster, namespace: string, key: string, signal: AbortSignal): Promise<void> {
  const query = { labelSelector: `${KEY_LABEL}=${key}` };
  const path = CONFIG_MAPS(namespace);
  const { items } = await cluster.list<RayJobObject>(path, query, `listing the code of ${key}`, signal);
  for (const { metadata } of items)
    await cluster.remove(`${path}/${metadata.name}`, metadata.uid, `deleting the code of ${key}`, signal);
}
