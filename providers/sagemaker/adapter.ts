import type { Clock } from '../../platform/clock.ts';
import { Accepted } from '../cloud/accepted.ts';
import { absentIn } from '../cloud/elsewhere.ts';
import { checkFixedEnd } from '../cloud/fixed-end.ts';
import { LogTails } from '../cloud/log-tails.ts';
import { releaseJob } from '../cloud/release.ts';
import { flavoursOf, offersOf } from '../cloud/rented-flavours.ts';
import {
  type AttemptSpec,
  defineProvider,
  type FlavourCapacity,
  type Handle,
  type Observation,
  type Offer,
  type Owned,
  type PoolFlavour,
  PROVIDER_CONTRACT_VERSION,
  type Provider,
  ProviderError,
} from '../provider.ts';
import { capacityOf } from './capacity.ts';
import { Clients } from './clients.ts';
import { checkSageMakerConfig, type Flavour, type SageMakerConfig, sageMakerConfigSchema } from './config.ts';
import { jobOptionsRefusals } from './job-options.ts';
import { JobLog } from './log-reader.ts';
import { observationOf } from './observation.ts';
import { handleOf, PROVIDER_KIND } from './ownership.ts';
import { stopOnce } from './release.ts';
import { Staging } from './staging.ts';
import { type SubmitSettings, submitAttempt } from './submit.ts';
import { isLive, TrainingJobs } from './training-jobs.ts';

const CAPABILITIES = { migrate: false, spot: true, topology: false, reserve: false, logs: true, resize: false };
/** The service does not say how late its lists may be. */
const WINDOW_MS = 60_000;
/** Merit asks every 2 s whether the service is there, and its lists are throttled: an answer holds this long. */
const CAPACITY_MS = 10_000;
/** All keys of attempts begin so. */
const NAMES = 'm-';
/** SageMaker keeps jobs for ever: those that were last changed before this, and have ended, are listed no more. */
const LISTED_MS = 24 * 3_600_000;

/** SageMaker's training jobs as a provider: one attempt is one job whose name is the attempt's key. */
class SageMakerProvider implements Provider {
  readonly kind = PROVIDER_KIND;
  readonly contractVersion = PROVIDER_CONTRACT_VERSION;
  readonly capabilities = CAPABILITIES;
  readonly consistencyWindowMs = WINDOW_MS;
  readonly #config: SageMakerConfig;
  readonly #clock: Clock;
  readonly #clients: Clients;
  readonly #jobs: TrainingJobs;
  readonly #logs: LogTails;
  readonly #flavours: readonly Flavour[];
  readonly #submit: SubmitSettings;
  #capacity: { readonly atMs: number; readonly told: readonly FlavourCapacity[] } | undefined;

  constructor(config: SageMakerConfig, flavours: readonly Flavour[], clock: Clock) {
    this.#config = config;
    this.#clock = clock;
    this.#flavours = flavours;
    this.#clients = new Clients(config);
    this.#jobs = new TrainingJobs(this.#clients, clock);
    this.#logs = new LogTails(async (key, signal) => {
      const job = await this.#jobs.findOurs(key, signal);
      if (job === undefined) throw new ProviderError('not_found', `there is no training job ${key}`);
      return new JobLog(this.#clients, this.#jobs, clock, key, job);
    });
    const staging = new Staging(config);
    this.#submit = {
      config,
      clients: this.#clients,
      jobs: this.#jobs,
      staging,
      flavours,
      accepted: new Accepted(clock),
    };
  }

  async capacity(signal: AbortSignal): Promise<readonly FlavourCapacity[]> {
    const atMs = this.#clock.now();
    if (this.#capacity !== undefined && atMs - this.#capacity.atMs < CAPACITY_MS) return this.#capacity.told;
    const live = await this.#jobs.live(signal);
    const told = capacityOf(this.#flavours, (await this.#jobs.standings(live, signal)).values());
    this.#capacity = { atMs, told };
    return told;
  }

  async offers(_signal: AbortSignal): Promise<readonly Offer[]> {
    return offersOf(this.#flavours);
  }

  submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
    return submitAttempt(this.#submit, spec, signal);
  }

  async observe(key: string, signal: AbortSignal, known?: Handle): Promise<Observation> {
    const arn = known?.uid;
    const job = await (arn === undefined ? this.#jobs.findOurs(key, signal) : this.#jobs.findRunning(key, arn, signal));
    if (job !== undefined) return observationOf(key, job);
    return absentIn(this.#config.region, key, regionOf(known));
  }

  async drain(key: string, _deadlineMs: number, signal: AbortSignal): Promise<void> {
    await stopOnce(this.#jobs, key, signal);
  }

  async release(key: string, signal: AbortSignal): Promise<void> {
    await releaseJob('SageMaker', key, () => stopOnce(this.#jobs, key, signal), this.#clock, signal);
  }

  async extend(key: string, leaseMs: number, signal: AbortSignal): Promise<void> {
    const job = await this.#jobs.findOurs(key, signal);
    if (job === undefined || !isLive(job.TrainingJobStatus)) return;
    const seconds = job.StoppingCondition?.MaxRuntimeInSeconds ?? 0;
    checkFixedEnd('SageMaker', key, leaseMs, seconds);
  }

  async list(tag: string, signal: AbortSignal): Promise<readonly Owned[]> {
    const listed = (await this.#jobs.list(NAMES, this.#clock.now() - LISTED_MS, signal)).filter((job) =>
      job.TrainingJobName.startsWith(NAMES),
    );
    const standings = await this.#jobs.standings(listed, signal);
    return listed.flatMap(({ TrainingJobName: key, TrainingJobArn: arn, TrainingJobStatus: status }) =>
      standings.get(key)?.owner?.tag === tag ? [{ key, handle: handleOf(key, arn), live: isLive(status) }] : [],
    );
  }

  logs(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    return this.#logs.read(key, fromByte, maxBytes, signal);
  }

  close(): Promise<void> {
    return this.#clients.close();
  }
}

/** The fourth part of an ARN; undefined where there is none. */
function regionOf(handle: Handle | undefined): string | undefined {
  return handle?.uid?.split(':')[3];
}

async function open(
  config: SageMakerConfig,
  clock: Clock,
  pool: readonly PoolFlavour[] | undefined,
): Promise<Provider> {
  checkSageMakerConfig(config, pool);
  return new SageMakerProvider(config, flavoursOf(config.flavours, pool), clock);
}

/** `open` touches no network, and loads no SDK. */
export default defineProvider<SageMakerConfig>({
  kind: PROVIDER_KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: sageMakerConfigSchema,
  checkOptions: jobOptionsRefusals,
  open: (config, { clock, flavours }) => open(config, clock, flavours),
});
