import { SharedLook } from '../cloud/shared-look.ts';
import { type ProviderClock, ProviderError } from '../provider.ts';
import type { Clients } from './clients.ts';
import type { VertexConfig } from './config.ts';
import { isNotThere, isOver } from './errors.ts';
import { isLabel, ownerIn, TAG_LABEL } from './ownership.ts';
import { type CustomJob, millis, type NewCustomJob } from './wire.ts';

const PAGE = 100;
const PAGES_LIMIT = 1_000;
/** Of the project's 600 reads a minute and region, one list each so often takes a twentieth. */
const LIVE_FRESH_MS = 2_000;

const ENDED: readonly string[] = [
  'JOB_STATE_SUCCEEDED',
  'JOB_STATE_FAILED',
  'JOB_STATE_CANCELLED',
  'JOB_STATE_EXPIRED',
  'JOB_STATE_PARTIALLY_SUCCEEDED',
];
const LIVE_FILTER = ENDED.map((state) => `state!="${state}"`).join(' AND ');

/** An unknown word counts as live. */
export function isLive({ state }: CustomJob): boolean {
  return !ENDED.includes(String(state));
}

/**
 * Custom jobs, as they are made, found, listed and cancelled. Every failure is a ProviderError.
 *
 * Vertex AI gives them their names and takes any number of one display name, so a key may come to have several: of them the oldest is the attempt, for
 * whoever looks, and any other is cancelled by whoever sees it.
 */
export class CustomJobs {
  readonly #clients: Clients;
  readonly #parent: string;
  readonly #live: SharedLook<ReadonlyMap<string, CustomJob>>;

  constructor(clients: Clients, { project, region }: VertexConfig, clock: ProviderClock) {
    this.#clients = clients;
    this.#parent = `projects/${project}/locations/${region}`;
    this.#live = new SharedLook(
      async (signal) => new Map((await this.#pages(LIVE_FILTER, signal)).map((job) => [job.name, job])),
      { doing: 'listing custom jobs', freshMs: LIVE_FRESH_MS, clock },
    );
  }

  /** Throws ProviderError; effect unknown where nobody knows whether it was made. */
  async create(customJob: NewCustomJob, signal: AbortSignal): Promise<CustomJob> {
    const doing = `creating the custom job ${customJob.displayName}`;
    this.#live.forget();
    const made = await this.#clients.ask({ doing, changes: true, signal }, async (client, options) => {
      const [job] = await client.createCustomJob({ parent: this.#parent, customJob }, options);
      return job;
    });
    if (!made?.name) throw new ProviderError('transient', `${doing}: its name was not told`, { effect: 'unknown' });
    return made;
  }

  /** The oldest that Merit made of this key; undefined: there is none to be seen. */
  async find(key: string, signal: AbortSignal): Promise<CustomJob | undefined> {
    return (await this.all(key, signal))[0];
  }

  /** The oldest, and those that a race made besides, which are being cancelled. */
  async all(key: string, signal: AbortSignal): Promise<readonly CustomJob[]> {
    // A key is written into a filter: nothing but what Merit itself makes.
    if (!isLabel(key)) return [];
    const jobs = await this.#pages(`display_name="${key}" AND labels.${TAG_LABEL}:*`, signal);
    return this.#settled(
      jobs.filter((job) => job.displayName === key),
      signal,
    );
  }

  /** All of the region that has not ended, anybody's, by its name: as of the last two seconds. */
  live(signal: AbortSignal): Promise<ReadonlyMap<string, CustomJob>> {
    return this.#live.get(signal);
  }

  /** What of this tag has not ended, and what of it was made since then: by key, all that there are of each. */
  async list(tag: string, sinceMs: number, signal: AbortSignal): Promise<ReadonlyMap<string, readonly CustomJob[]>> {
    if (!isLabel(tag)) return new Map();
    const own = `labels.${TAG_LABEL}="${tag}"`;
    const since = new Date(sinceMs).toISOString();
    const found = new Map<string, CustomJob>();
    // What runs comes first, so that what ends in between is seen as ended.
    for (const filter of [`${own} AND ${LIVE_FILTER}`, `${own} AND create_time>"${since}"`])
      for (const job of await this.#pages(filter, signal)) found.set(job.name, job);
    return Map.groupBy(
      [...found.values()].filter((job) => ownerIn(job)?.tag === tag),
      ({ displayName }) => displayName,
    ) as ReadonlyMap<string, readonly CustomJob[]>;
  }

  /** Asks it to end; that it has ended, or is not there, is silent. */
  async cancel(name: string, signal: AbortSignal): Promise<void> {
    this.#live.forget();
    await this.#clients.ask(
      { doing: `cancelling ${name}`, changes: true, signal },
      (client, options) => client.cancelCustomJob({ name }, options),
      (error) => isNotThere(error) || isOver(error),
    );
    this.#live.forget();
  }

  /** One that cannot be cancelled now is by the next who looks. What another installation made of the same key is its own. */
  async #settled(jobs: readonly CustomJob[], signal: AbortSignal): Promise<readonly CustomJob[]> {
    const ours = jobs.filter((job) => ownerIn(job) !== undefined);
    const sorted = oldestFirst(ours).filter((job, _i, [first]) => first !== undefined && isSameOwner(job, first));
    for (const { name, state } of sorted.slice(1).filter(isLive))
      if (state !== 'JOB_STATE_CANCELLING') await this.cancel(name, signal).catch(() => {});
    return sorted;
  }

  async #pages(filter: string, signal: AbortSignal): Promise<readonly CustomJob[]> {
    const jobs: CustomJob[] = [];
    let pageToken = '';
    for (let page = 0; page < PAGES_LIMIT; page++) {
      const asked = { parent: this.#parent, filter, pageSize: PAGE, pageToken };
      const told = await this.#clients.ask({ doing: 'listing custom jobs', signal }, (client, options) =>
        client.listCustomJobs(asked, { ...options, autoPaginate: false }),
      );
      jobs.push(...(told?.[0] ?? []));
      pageToken = told?.[2]?.nextPageToken ?? '';
      if (pageToken === '') return jobs;
    }
    throw new ProviderError('transient', `a list of custom jobs has more than ${PAGES_LIMIT} pages`);
  }
}

function isSameOwner(one: CustomJob, other: CustomJob): boolean {
  return JSON.stringify(ownerIn(one)) === JSON.stringify(ownerIn(other));
}

/** By the service's own time of creation, to the nanosecond; of two at once by their names: all who look agree. */
export function oldestFirst(jobs: readonly CustomJob[]): readonly CustomJob[] {
  return [...jobs].sort(
    (a, b) =>
      (millis(a.createTime) ?? 0) - (millis(b.createTime) ?? 0) ||
      (a.createTime?.nanos ?? 0) - (b.createTime?.nanos ?? 0) ||
      (a.name < b.name ? -1 : 1),
  );
}
