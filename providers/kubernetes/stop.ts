import type { Clock } from '../../platform/clock.ts';
import { ProviderError } from '../provider.ts';
import type { Cluster } from './cluster.ts';
import type { Jobs } from './jobs.ts';
import { isOver } from './observation.ts';
import { isLivePod, type Pod } from './pod.ts';

/** A look each so often is far below what an API server bears. */
const LOOK_EVERY_MS = 500;
/** Then Merit is told, and asks anew. */
const PATIENCE_MS = 600_000;
/** A deadline that has passed for every pod that has begun. */
const AT_ONCE_SECONDS = 1;

/**
 * Gives the job notice without taking it away: its pods are told that their time is over, so that the kubelet sends SIGTERM, waits, and keeps the pod with its log.
 * Deleting would take the log, too. A pod that has no node yet has nothing to save.
 */
export async function giveNotice(cluster: Cluster, jobs: Jobs, key: string, signal: AbortSignal): Promise<void> {
  const job = await jobs.findNoOther(key, signal);
  if (job === undefined || isOver(job)) return;
  const told = ({ spec }: Pod) => spec?.activeDeadlineSeconds === AT_ONCE_SECONDS;
  const pods = await jobs.pods(key, signal);
  for (const pod of pods) {
    if (
      !isLivePod(pod) ||
      told(pod) ||
      pod.spec?.nodeName === undefined ||
      pod.metadata.deletionTimestamp !== undefined
    )
      continue;
    const { name, uid } = pod.metadata;
    const body = { metadata: { uid }, spec: { activeDeadlineSeconds: AT_ONCE_SECONDS } };
    await cluster.merge(await jobs.corePath('pods', name), body, `giving ${name} notice`, signal);
  }
}

/** Removes the Job with all that it owns, and returns once nothing of it runs. Throws ProviderError `transient`, effect unknown, where that takes too long. */
export async function releaseJob(
  cluster: Cluster,
  jobs: Jobs,
  clock: Clock,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  const limitMs = clock.now() + PATIENCE_MS;
  for (;;) {
    const job = await jobs.findNoOther(key, signal);
    if (job !== undefined && job.metadata.deletionTimestamp === undefined)
      await cluster.remove(await jobs.path(key), job.metadata.uid, `removing the Job ${key}`, signal);
    const pods = await jobs.pods(key, signal);
    if (job === undefined) await removeOrphans(cluster, jobs, pods, signal);
    if (job === undefined && pods.length === 0) return;
    if (clock.now() >= limitMs) throw new ProviderError('transient', stillThere(key, pods), { effect: 'unknown' });
    await clock.sleep(LOOK_EVERY_MS, signal);
    if (signal.aborted) throw new ProviderError('transient', `${key} is being removed`, { effect: 'unknown' });
  }
}

/** Of a Job that somebody removed without its pods. */
async function removeOrphans(cluster: Cluster, jobs: Jobs, pods: readonly Pod[], signal: AbortSignal): Promise<void> {
  for (const { metadata } of pods) {
    if (metadata.deletionTimestamp !== undefined) continue;
    const path = await jobs.corePath('pods', metadata.name);
    await cluster.remove(path, metadata.uid, `removing the pod ${metadata.name}`, signal);
  }
}

function stillThere(key: string, pods: readonly Pod[]): string {
  const nodes = new Set(pods.flatMap(({ spec }) => spec?.nodeName ?? []));
  const where =
    nodes.size === 0
      ? ''
      : ` on ${[...nodes].slice(0, 3).join(', ')}: if that node is gone for good, delete it from the cluster`;
  return `the cluster still ends ${key}${where}`;
}
