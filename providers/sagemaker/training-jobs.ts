import type {
  DescribeTrainingJobCommandOutput,
  TrainingJobStatus,
  TrainingJobSummary,
} from '@aws-sdk/client-sagemaker';
import type { Owner } from '../cloud/owner.ts';
import { SharedLook } from '../cloud/shared-look.ts';
import { type ProviderClock, ProviderError } from '../provider.ts';
import type { Clients } from './clients.ts';
import { isNotThere, isOver } from './errors.ts';
import { isName, ownerIn } from './ownership.ts';

/** A job as SageMaker describes it. */
export type TrainingJob = DescribeTrainingJobCommandOutput;

/** What never changes of a job. */
export interface Standing {
  readonly owner: Owner | undefined;
  readonly instanceType: string | undefined;
  readonly instances: number;
  readonly spot: boolean;
}

/** SageMaker's most. */
const PAGE = 100;
const PAGES_LIMIT = 1_000;
/** Descriptions asked for at once: SageMaker throttles an account, not a caller. */
const AT_ONCE = 4;
/** Of 300 bytes each; the oldest are forgotten, and described anew. */
const STANDINGS_LIMIT = 20_000;
const LIVE: readonly TrainingJobStatus[] = ['InProgress', 'Stopping'];
/** SageMaker does not say how many calls an account may make: of what runs it is asked 24 times a minute, for each hundred jobs. */
const LIVE_FRESH_MS = 5_000;
/** Of 5 kB each; the oldest are forgotten, and described anew. */
const DESCRIBED_LIMIT = 2_000;

/** An unknown word counts as live. */
export function isLive(status: string | undefined): boolean {
  return status !== 'Completed' && status !== 'Failed' && status !== 'Stopped' && status !== 'Deleting';
}

export type Listed = TrainingJobSummary & { readonly TrainingJobName: string };

/** Training jobs, as they are found, listed and stopped. Every failure is a ProviderError. */
export class TrainingJobs {
  readonly #clients: Clients;
  readonly #standings = new Map<string, Standing>();
  readonly #live: SharedLook<readonly Listed[]>;
  /** What runs, as it was described when it last changed. */
  readonly #described = new Map<string, TrainingJob>();

  constructor(clients: Clients, clock: Pick<ProviderClock, 'now'>) {
    this.#clients = clients;
    const about = { doing: 'listing training jobs', freshMs: LIVE_FRESH_MS, clock };
    this.#live = new SharedLook((signal) => this.list(undefined, undefined, signal), about);
  }

  /** All that runs, ours or not: as of the last five seconds. */
  live(signal: AbortSignal): Promise<readonly Listed[]> {
    return this.#live.get(signal);
  }

  /**
   * As `findOurs`, for one that is known to be there, at the price of a list that all looks share: only what has changed since it was described last is
   * described again.
   */
  async findRunning(key: string, arn: string, signal: AbortSignal): Promise<TrainingJob | undefined> {
    const listed = (await this.#live.get(signal)).find((one) => one.TrainingJobName === key);
    if (listed?.TrainingJobArn !== arn) return this.findOurs(key, signal);
    const known = this.#described.get(key);
    if (known !== undefined && isAsListed(known, listed)) return known;
    const job = await this.findOurs(key, signal);
    this.#described.delete(key);
    // Of one that went on meanwhile the list is old.
    if (job !== undefined && isAsListed(job, listed)) this.#described.set(key, job);
    for (const oldest of this.#described.keys()) {
      if (this.#described.size <= DESCRIBED_LIMIT) break;
      this.#described.delete(oldest);
    }
    return job;
  }

  /** undefined: SageMaker knows none of this name. */
  async find(key: string, signal: AbortSignal): Promise<TrainingJob | undefined> {
    if (!isName(key)) return undefined;
    return this.#clients.ask(
      { doing: `looking for the training job ${key}`, signal },
      (sdk, client, options) => client.send(new sdk.DescribeTrainingJobCommand({ TrainingJobName: key }), options),
      isNotThere,
    );
  }

  /** One that Merit made. Throws ProviderError `invalid` where somebody else has the name. */
  async findOurs(key: string, signal: AbortSignal): Promise<TrainingJob | undefined> {
    const job = await this.find(key, signal);
    if (job === undefined || ownerIn(job.Environment) !== undefined) return job;
    throw new ProviderError('invalid', `the training job ${key} was not made by Merit: it is somebody else's`);
  }

  /** Sends one stop; that it has ended, or is not there, is silent. */
  async stop(key: string, signal: AbortSignal): Promise<void> {
    this.#live.forget();
    await this.#clients.ask(
      { doing: `stopping the training job ${key}`, changes: true, signal },
      (sdk, client, options) => client.send(new sdk.StopTrainingJobCommand({ TrainingJobName: key }), options),
      (error) => isNotThere(error) || isOver(error),
    );
    this.#live.forget();
  }

  /** What runs, ours or not, and what of these names was changed since then; each once, as it was seen last. All pages, or a ProviderError. */
  async list(
    nameContains: string | undefined,
    sinceMs: number | undefined,
    signal: AbortSignal,
  ): Promise<readonly Listed[]> {
    const found = new Map<string, Listed>();
    // In the order in which a job goes through them, so that none slips through between two.
    for (const status of LIVE)
      for (const job of await this.#pages({ nameContains, status }, signal)) found.set(job.TrainingJobName, job);
    if (sinceMs !== undefined)
      for (const job of await this.#pages({ nameContains, sinceMs }, signal)) found.set(job.TrainingJobName, job);
    return [...found.values()];
  }

  async #pages(
    {
      nameContains,
      status,
      sinceMs,
    }: { nameContains: string | undefined; status?: TrainingJobStatus; sinceMs?: number },
    signal: AbortSignal,
  ): Promise<readonly Listed[]> {
    const jobs: Listed[] = [];
    let token: string | undefined;
    for (let page = 0; page < PAGES_LIMIT; page++) {
      const asked = {
        MaxResults: PAGE,
        ...(nameContains === undefined ? {} : { NameContains: nameContains }),
        ...(status === undefined ? {} : { StatusEquals: status }),
        ...(sinceMs === undefined ? {} : { LastModifiedTimeAfter: new Date(sinceMs) }),
        ...(token === undefined ? {} : { NextToken: token }),
      };
      const told = await this.#clients.ask({ doing: 'listing training jobs', signal }, (sdk, client, options) =>
        client.send(new sdk.ListTrainingJobsCommand(asked), options),
      );
      for (const job of told?.TrainingJobSummaries ?? []) {
        if (job.TrainingJobName === undefined)
          throw new ProviderError('transient', 'a list of training jobs has one without a name');
        jobs.push(job as Listed);
      }
      token = told?.NextToken;
      if (token === undefined || token === '') return jobs;
    }
    throw new ProviderError('transient', `a list of training jobs has more than ${PAGES_LIMIT} pages`);
  }

  /** What never changes of these; a job that is not there any more is left out. Each is described once in the life of this process. */
  async standings(jobs: readonly Listed[], signal: AbortSignal): Promise<ReadonlyMap<string, Standing>> {
    const found = new Map<string, Standing>();
    const left = [...jobs];
    const worker = async (): Promise<void> => {
      for (let job = left.shift(); job !== undefined; job = left.shift()) {
        const standing = await this.#standing(job, signal);
        if (standing !== undefined) found.set(job.TrainingJobName, standing);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return found;
  }

  async #standing(job: Listed, signal: AbortSignal): Promise<Standing | undefined> {
    // A name may be used again once its job was deleted.
    const id = `${job.TrainingJobArn}/${job.CreationTime?.getTime()}`;
    const known = this.#standings.get(id);
    if (known !== undefined) return known;
    const told = await this.find(job.TrainingJobName, signal);
    if (told === undefined) return undefined;
    const { InstanceType, InstanceCount = 0 } = told.ResourceConfig ?? {};
    const standing = {
      owner: ownerIn(told.Environment),
      instanceType: InstanceType,
      instances: InstanceCount,
      spot: told.EnableManagedSpotTraining ?? false,
    };
    this.#standings.set(id, standing);
    if (this.#standings.size > STANDINGS_LIMIT)
      for (const oldest of this.#standings.keys()) {
        this.#standings.delete(oldest);
        break;
      }
    return standing;
  }
}

function isAsListed(job: TrainingJob, listed: Listed): boolean {
  return (
    job.TrainingJobArn === listed.TrainingJobArn &&
    job.TrainingJobStatus === listed.TrainingJobStatus &&
    job.SecondaryStatus === (listed.SecondaryStatus ?? job.SecondaryStatus) &&
    job.LastModifiedTime?.getTime() === listed.LastModifiedTime?.getTime()
  );
}
