import type { Clock } from '../../platform/clock.ts';
import type { Mirror } from '../../platform/kubernetes/mirror.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import { KEY_LABEL, ownerIn, RAN, tagSelector } from '../kubernetes/ownership.ts';
import type { Pod } from '../kubernetes/pod.ts';
import { ProviderError } from '../provider.ts';
import { headSeemsLost, type Seen } from './observation.ts';
import { isName } from './ownership.ts';
import { CONFIG_MAPS, isOver, PODS, RAY_CLUSTERS, RAY_JOBS, type RayJobObject } from './ray-job.ts';

const OURS = `app.kubernetes.io/managed-by=merit,${KEY_LABEL}`;
/** Of 100 bytes each; the oldest are forgotten. */
const REMEMBERED_LIMIT = 10_000;

/** RayJobs and what is made of them, as they are found, watched and listed. Every failure is a ProviderError. */
export class RayJobs {
  readonly #cluster: Cluster;
  readonly #clock: Clock;
  /** What this process ended: of it only the server itself is asked, for a watch may still tell of its life. */
  readonly #ended = new Set<string>();
  /** Since when a RayJob was seen without a word of the operator, by uid. */
  readonly #silentSinceMs = new Map<string, number>();
  #jobs: Mirror<RayJobObject> | undefined;
  #pods: Mirror<Pod> | undefined;

  constructor(cluster: Cluster, clock: Clock) {
    this.#cluster = cluster;
    this.#clock = clock;
  }

  /** As the server tells it now; undefined: there is none of this name. */
  async find(key: string, signal: AbortSignal): Promise<RayJobObject | undefined> {
    if (!isName(key)) return undefined;
    const path = `${RAY_JOBS(await this.#cluster.namespace())}/${key}`;
    return this.#cluster.find<RayJobObject>(path, `looking for the RayJob ${key}`, signal);
  }

  /** One that Merit made. Throws ProviderError `invalid` where somebody else has the name. */
  async findOurs(key: string, signal: AbortSignal): Promise<RayJobObject | undefined> {
    const job = await this.find(key, signal);
    if (job === undefined || ownerIn(job) !== undefined) return job;
    throw new ProviderError('invalid', `the RayJob ${key} was not made by Merit: it is somebody else's`);
  }

  /** What an observation is made of: by the watches where they are fresh, else asked of the server. */
  async see(key: string, signal: AbortSignal): Promise<Seen | undefined> {
    const namespace = await this.#cluster.namespace();
    const watched = this.#ended.has(key) ? undefined : this.#watchedJobs(namespace).fresh()?.get(key);
    const job = watched !== undefined && ownerIn(watched) !== undefined ? watched : await this.findOurs(key, signal);
    if (job === undefined) return undefined;
    const seen = { job, pods: await this.#podsOf(namespace, key, signal), silentMs: this.#silentMs(job) };
    if (!headSeemsLost(seen)) return seen;
    // The two were not read at one moment: a job that ended meanwhile, or was suspended, has lost no head.
    const [again, pods] = [await this.findOurs(key, signal), await this.pods(key, signal)];
    return again === undefined ? undefined : { job: again, pods, silentMs: 0 };
  }

  /** Writes on the RayJob that it ran in this cluster. What fails is done by the next look. */
  async mark({ metadata: { name, uid } }: RayJobObject, rayCluster: string, signal: AbortSignal): Promise<void> {
    const path = `${RAY_JOBS(await this.#cluster.namespace())}/${name}`;
    const body = { metadata: { uid, annotations: { [RAN]: rayCluster } } };
    await this.#cluster.merge(path, body, `marking ${name} as running`, signal).catch(() => {});
  }

  ended(key: string): void {
    this.#ended.add(key);
    if (this.#ended.size > REMEMBERED_LIMIT) forgetOldest(this.#ended);
  }

  /** Pods of an attempt that there are, whatever they do. */
  async pods(key: string, signal: AbortSignal): Promise<readonly Pod[]> {
    const path = PODS(await this.#cluster.namespace());
    const query = { labelSelector: `${KEY_LABEL}=${key}` };
    return (await this.#cluster.list<Pod>(path, query, `listing the pods of ${key}`, signal)).items;
  }

  async clusters(key: string, signal: AbortSignal): Promise<readonly RayJobObject[]> {
    const path = RAY_CLUSTERS(await this.#cluster.namespace());
    const query = { labelSelector: `${KEY_LABEL}=${key}` };
    return (await this.#cluster.list<RayJobObject>(path, query, `listing the RayClusters of ${key}`, signal)).items;
  }

  /** Everything of this tag that a sweep may have to end: RayJobs, and clusters and code whose RayJob is not there. */
  async ours(tag: string, signal: AbortSignal) {
    const namespace = await this.#cluster.namespace();
    const query = { labelSelector: tagSelector(tag) };
    const list = async (path: string, what: string) =>
      (await this.#cluster.list<RayJobObject>(path, query, `listing Merit’s ${what}`, signal)).items.filter(
        (one) => ownerIn(one)?.tag === tag,
      );
    // What is made of a RayJob before the RayJobs: else one that is made meanwhile would seem to have none.
    const clusters = await list(RAY_CLUSTERS(namespace), 'RayClusters');
    const code = await list(CONFIG_MAPS(namespace), 'ConfigMaps');
    const jobs = await list(RAY_JOBS(namespace), 'RayJobs');
    const pods = (await this.#cluster.list<Pod>(PODS(namespace), query, 'listing Merit’s pods', signal)).items;
    const live = jobs.filter((job) => {
      const mine = pods.filter(({ metadata }) => metadata.labels?.[KEY_LABEL] === job.metadata.name);
      return !isOver(job.status ?? {}) && !headSeemsLost({ job, pods: mine });
    });
    return { jobs, live: new Set(live), leftovers: [...clusters, ...code] };
  }

  async #podsOf(namespace: string, key: string, signal: AbortSignal): Promise<readonly Pod[]> {
    return this.#watchedPods(namespace).by(KEY_LABEL, key) ?? this.pods(key, signal);
  }

  #watchedJobs(namespace: string): Mirror<RayJobObject> {
    this.#jobs ??= this.#cluster.mirror(RAY_JOBS(namespace), { labelSelector: OURS }, this.#clock);
    return this.#jobs;
  }

  #watchedPods(namespace: string): Mirror<Pod> {
    this.#pods ??= this.#cluster.mirror(PODS(namespace), { labelSelector: OURS }, this.#clock);
    return this.#pods;
  }

  #silentMs({ metadata: { uid = '' }, status }: RayJobObject): number {
    if ((status?.jobDeploymentStatus ?? '') !== '') {
      this.#silentSinceMs.delete(uid);
      return 0;
    }
    const nowMs = this.#clock.now();
    const sinceMs = this.#silentSinceMs.get(uid) ?? nowMs;
    this.#silentSinceMs.set(uid, sinceMs);
    if (this.#silentSinceMs.size > REMEMBERED_LIMIT) forgetOldest(this.#silentSinceMs);
    return nowMs - sinceMs;
  }
}

function forgetOldest(kept: Set<string> | Map<string, unknown>): void {
  for (const oldest of kept.keys()) return void kept.delete(oldest);
}
