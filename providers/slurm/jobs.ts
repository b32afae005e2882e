import type { Clock } from '../../platform/clock.ts';
import { untilAborted } from '../cloud/until-aborted.ts';
import type { SlurmConfig } from './config.ts';
import { isOver } from './errors.ts';
import { isOverState, jobsIn, type SlurmJob } from './job-record.ts';
import { isJobName } from './ownership.ts';
import type { RestClient } from './rest-client.ts';

/**
 * Merit looks at each job once a second, and slurmctld tells all of them or one: whoever asks meanwhile waits for the next list. Lists take slurmctld at most
 * this part of its time, but for one every ten seconds.
 */
const LIST_SHARE = 1 / 4;
const LIST_REST_LIMIT_MS = 10_000;
/** One that does not come holds up the next so long. */
const LIST_TURN_MS = 2_000;
/** A list is shared by all who wait for it: no single caller's signal ends it. */
const LIST_TIMEOUT_MS = 30_000;

/** What Slurm has of Merit's, by the name of the job. Several have one name where a lost reply made a second one. */
export type Listed = ReadonlyMap<string, readonly SlurmJob[]>;

/** Jobs as they are found and ended. Every failure is a ProviderError. */
export class Jobs {
  readonly #rest: RestClient;
  readonly #config: SlurmConfig;
  readonly #clock: Clock;
  /** The one that is under way, which may have begun before whatever is asked for; and the one after it. */
  #running: Promise<Listed> | undefined;
  #next: Promise<Listed> | undefined;
  #notBeforeMs = 0;

  constructor(rest: RestClient, config: SlurmConfig, clock: Clock) {
    this.#rest = rest;
    this.#config = config;
    this.#clock = clock;
  }

  /** What there is now: by a list that began after the call. */
  async list(signal: AbortSignal): Promise<Listed> {
    this.#next ??= this.#following();
    return untilAborted(this.#next, signal, 'the jobs of Slurm were listed');
  }

  /** undefined: slurmctld knows none of this id, or no longer. */
  async get(id: number, signal: AbortSignal): Promise<SlurmJob | undefined> {
    const body = await this.#rest.ask({
      doing: `looking at job ${id}`,
      method: 'GET',
      path: `job/${id}`,
      signal,
      silent: isOver,
    });
    return jobsIn(body)[0];
  }

  /** Sends a signal to the batch's processes, or ends the job as scancel does. That it is over already is silent. */
  async cancel(job: SlurmJob, signal: AbortSignal, signalName?: 'URG'): Promise<void> {
    const query = signalName === undefined ? '' : `?signal=${signalName}`;
    await this.#rest.ask({
      doing: `${signalName === undefined ? 'cancelling' : 'signalling'} job ${job.id} (${job.name})`,
      method: 'DELETE',
      path: `job/${job.id}${query}`,
      signal,
      silent: isOver,
    });
  }

  async #following(): Promise<Listed> {
    await this.#turn();
    this.#running = this.#next;
    this.#next = undefined;
    const beganMs = this.#clock.now();
    const limit = AbortSignal.timeout(LIST_TIMEOUT_MS);
    try {
      const body = await this.#rest.ask({ doing: 'listing jobs', method: 'GET', path: 'jobs', signal: limit });
      return ownJobs(jobsIn(body), this.#config.user);
    } finally {
      const endedMs = this.#clock.now();
      const restMs = (endedMs - beganMs) * (1 / LIST_SHARE - 1);
      this.#notBeforeMs = endedMs + Math.min(Math.max(0, restMs), LIST_REST_LIMIT_MS);
    }
  }

  /** Until the one before has ended, or taken long enough, and slurmctld had its rest. */
  async #turn(): Promise<void> {
    const waited = new AbortController();
    await Promise.race([this.#running?.catch(() => {}), this.#clock.sleep(LIST_TURN_MS, waited.signal)]);
    waited.abort();
    const restMs = this.#notBeforeMs - this.#clock.now();
    if (restMs > 0) await this.#clock.sleep(Math.min(restMs, LIST_REST_LIMIT_MS));
  }
}

function ownJobs(jobs: readonly SlurmJob[], user: string): Listed {
  const own = new Map<string, SlurmJob[]>();
  for (const job of jobs) {
    if (job.owner === undefined || job.user !== user || !isJobName(job.name)) continue;
    const same = own.get(job.name);
    if (same === undefined) own.set(job.name, [job]);
    else same.push(job);
  }
  return own;
}

export function isLive(job: SlurmJob): boolean {
  return !isOverState(job.state);
}
