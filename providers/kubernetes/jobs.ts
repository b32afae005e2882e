import type { Clock } from '../../platform/clock.ts';
import type { Mirror } from '../../platform/kubernetes/mirror.ts';
import { ProviderError } from '../provider.ts';
import type { Cluster } from './cluster.ts';
import type { Job } from './manifest.ts';
import { isName, KEY_LABEL, ownerIn, TAG_LABEL } from './ownership.ts';
import type { Pod } from './pod.ts';

/** Looks a second that ask the API server, two calls each; what is more is answered from a mirror, which may be late by what a watch is. */
const DIRECT_LOOKS = 50;
const SECOND_MS = 1_000;

/** A Job with its pods, as they are now. */
export interface Look {
  readonly job: Job;
  readonly pods: readonly Pod[];
}

interface Event {
  readonly metadata: { readonly name: string };
  readonly type?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTimestamp?: string;
}

/** Jobs of a pool's namespace and their pods, as they are found and listed. Every failure is a ProviderError. */
export class Jobs {
  readonly #cluster: Cluster;
  readonly #clock: Clock;
  readonly #directLooks: number;
  #second = { sinceMs: 0, looks: 0 };
  #mirrors: { readonly jobs: Mirror<Job>; readonly pods: Mirror<Pod> } | undefined;

  constructor(cluster: Cluster, clock: Clock, directLooks = DIRECT_LOOKS) {
    this.#cluster = cluster;
    this.#clock = clock;
    this.#directLooks = directLooks;
  }

  async path(name = ''): Promise<string> {
    return `/apis/batch/v1/namespaces/${await this.#cluster.namespace()}/jobs${name === '' ? '' : `/${name}`}`;
  }

  async corePath(resource: string, name = ''): Promise<string> {
    return `/api/v1/namespaces/${await this.#cluster.namespace()}/${resource}${name === '' ? '' : `/${name}`}`;
  }

  /** undefined: the cluster has none of this name. */
  async find(key: string, signal: AbortSignal): Promise<Job | undefined> {
    if (!isName(key)) return undefined;
    return this.#cluster.find<Job>(await this.path(key), `looking for the Job ${key}`, signal);
  }

  /** One that Merit made. Throws ProviderError `invalid` where somebody else has the name. */
  async findOurs(key: string, signal: AbortSignal): Promise<Job | undefined> {
    return ours(key, await this.find(key, signal));
  }

  /** undefined: there is none, or it is somebody else's, which nothing is done to. */
  async findNoOther(key: string, signal: AbortSignal): Promise<Job | undefined> {
    const job = await this.find(key, signal);
    return job === undefined || ownerIn(job) === undefined ? undefined : job;
  }

  /** Its pods by their label: of a Job that is gone, too. */
  async pods(key: string, signal: AbortSignal): Promise<readonly Pod[]> {
    const query = { labelSelector: `${KEY_LABEL}=${key}` };
    const doing = `looking for the pods of ${key}`;
    const { items } = await this.#cluster.list<Pod>(await this.corePath('pods'), query, doing, signal);
    return items.filter((pod) => ownerIn(pod) !== undefined);
  }

  /** What is there of the attempt now. Many looks at once come from a mirror, if it is fresh; that there is nothing, always from the server. */
  async look(key: string, signal: AbortSignal): Promise<Look | undefined> {
    if (!isName(key)) return undefined;
    const mirrored = this.#isOverLimit() ? await this.#mirrored(key) : undefined;
    if (mirrored !== undefined) return mirrored;
    const job = await this.findOurs(key, signal);
    return job === undefined ? undefined : { job, pods: await this.pods(key, signal) };
  }

  /** Writes on the Job that it ran in this start. What fails is done by the next look. */
  async mark(
    { metadata: { name, uid } }: Job,
    annotations: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<void> {
    const body = { metadata: { uid, annotations } };
    await this.#cluster.merge(await this.path(name), body, `marking ${name} as running`, signal).catch(() => {});
  }

  /** What carries this label, all pages: Jobs, and pods whose Job may be gone. */
  async list(
    selector: string,
    signal: AbortSignal,
  ): Promise<{ readonly jobs: readonly Job[]; readonly pods: readonly Pod[] }> {
    const query = { labelSelector: selector };
    const live = { ...query, fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' };
    // Pods first: one whose Job is not in the later list has lost it.
    const { items: pods } = await this.#cluster.list<Pod>(await this.corePath('pods'), live, 'listing pods', signal);
    const { items: jobs } = await this.#cluster.list<Job>(await this.path(), query, 'listing Jobs', signal);
    return { jobs, pods };
  }

  /** Why the Job has no pod, in the controller's words: a quota, a webhook. undefined: it says nothing, or Merit may not look. */
  async complaint(job: Job, signal: AbortSignal): Promise<string | undefined> {
    const { name, uid } = job.metadata;
    const query = { fieldSelector: `involvedObject.uid=${uid},type=Warning` };
    const asked = { path: await this.corePath('events'), query, doing: `reading the events of ${name}`, signal };
    const told = await this.#cluster.ask<{ readonly items?: readonly Event[] }>(asked, ({ status }) => status === 403);
    const newest = [...(told?.items ?? [])].sort((a, b) =>
      (a.lastTimestamp ?? '') < (b.lastTimestamp ?? '') ? 1 : -1,
    )[0];
    return newest === undefined ? undefined : `${newest.reason}: ${newest.message}`;
  }

  #isOverLimit(): boolean {
    const nowMs = this.#clock.now();
    if (nowMs - this.#second.sinceMs >= SECOND_MS) this.#second = { sinceMs: nowMs, looks: 0 };
    return ++this.#second.looks > this.#directLooks;
  }

  async #mirrored(key: string): Promise<Look | undefined> {
    this.#mirrors ??= {
      jobs: this.#cluster.mirror<Job>(await this.path(), { labelSelector: TAG_LABEL }, this.#clock),
      pods: this.#cluster.mirror<Pod>(await this.corePath('pods'), { labelSelector: TAG_LABEL }, this.#clock),
    };
    const job = this.#mirrors.jobs.fresh()?.get(key);
    const pods = this.#mirrors.pods.by(KEY_LABEL, key);
    if (job === undefined || pods === undefined || ownerIn(job) === undefined) return undefined;
    return { job, pods: pods.filter((pod) => ownerIn(pod) !== undefined) };
  }
}

function ours(key: string, job: Job | undefined): Job | undefined {
  if (job === undefined || ownerIn(job) !== undefined) return job;
  throw new ProviderError('invalid', `the Job ${key} was not made by Merit: it is somebody else's`);
}
