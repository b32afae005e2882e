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
import { checkVertexConfig, type Flavour, type VertexConfig, vertexConfigSchema } from './config.ts';
import { CustomJobs, isLive, oldestFirst } from './custom-jobs.ts';
import { jobOptionsRefusals } from './job-options.ts';
import { JobLog } from './log-reader.ts';
import { observationOf } from './observation.ts';
import { handleOf, PROVIDER_KIND } from './ownership.ts';
import { cancelOnce } from './release.ts';
import { Staging } from './staging.ts';
import { type SubmitSettings, submitAttempt } from './submit.ts';
import type { CustomJob } from './wire.ts';

const CAPABILITIES = { migrate: false, spot: true, topology: false, reserve: false, logs: true, resize: false };
/** The service does not say how late its lists may be. */
const WINDOW_MS = 60_000;
/** Vertex AI keeps jobs for ever: those that were made before this, and have ended, are listed no more. */
const LISTED_MS = 24 * 3_600_000;

/** Vertex AI's custom jobs as a provider: one attempt is one job whose display name is the attempt's key. */
class VertexProvider implements Provider {
  readonly kind = PROVIDER_KIND;
  readonly contractVersion = PROVIDER_CONTRACT_VERSION;
  readonly capabilities = CAPABILITIES;
  readonly consistencyWindowMs = WINDOW_MS;
  readonly #config: VertexConfig;
  readonly #clock: Clock;
  readonly #clients: Clients;
  readonly #jobs: CustomJobs;
  readonly #logs: LogTails;
  readonly #flavours: readonly Flavour[];
  readonly #submit: SubmitSettings;
  /** The last submit of each key that is under way: one waits for the other, and finds its job. */
  readonly #submitting = new Map<string, Promise<unknown>>();

  constructor(config: VertexConfig, flavours: readonly Flavour[], clock: Clock) {
    this.#config = config;
    this.#clock = clock;
    this.#flavours = flavours;
    this.#clients = new Clients(config);
    this.#jobs = new CustomJobs(this.#clients, config, clock);
    this.#logs = new LogTails(async (key, signal) => {
      const job = await this.#jobs.find(key, signal);
      if (job === undefined) throw new ProviderError('not_found', `there is no custom job ${key}`);
      return new JobLog(this.#clients, this.#jobs, clock, config.project, job);
    });
    const staging = new Staging(config, this.#clients);
    this.#submit = { config, jobs: this.#jobs, staging, flavours, accepted: new Accepted(clock), windowMs: WINDOW_MS };
  }

  async capacity(signal: AbortSignal): Promise<readonly FlavourCapacity[]> {
    return capacityOf(this.#flavours, (await this.#jobs.live(signal)).values());
  }

  async offers(_signal: AbortSignal): Promise<readonly Offer[]> {
    return offersOf(this.#flavours);
  }

  async submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
    const before = this.#submitting.get(spec.key);
    const mine = (async () => {
      await before?.catch(() => {});
      return submitAttempt(this.#submit, spec, signal);
    })();
    this.#submitting.set(spec.key, mine);
    try {
      return await mine;
    } finally {
      if (this.#submitting.get(spec.key) === mine) this.#submitting.delete(spec.key);
    }
  }

  /** What runs is seen in a list that all looks share; whatever is not there, or not known by its name, is looked for by its key. */
  async observe(key: string, signal: AbortSignal, known?: Handle): Promise<Observation> {
    const job = (await this.#running(key, known?.uid, signal)) ?? (await this.#jobs.find(key, signal));
    if (job !== undefined) return observationOf(key, job);
    return absentIn(this.#config.region, key, regionOf(known));
  }

  /** undefined: it is to be looked for, also where a race made several of one key. */
  async #running(key: string, name: string | undefined, signal: AbortSignal): Promise<CustomJob | undefined> {
    if (name === undefined) return undefined;
    const live = await this.#jobs.live(signal);
    const isAlone = [...live.values()].every((job) => job.displayName !== key || job.name === name);
    return isAlone ? live.get(name) : undefined;
  }

  async drain(key: string, _deadlineMs: number, signal: AbortSignal): Promise<void> {
    await cancelOnce(this.#jobs, key, signal);
  }

  async release(key: string, signal: AbortSignal): Promise<void> {
    await releaseJob('Vertex AI', key, () => cancelOnce(this.#jobs, key, signal), this.#clock, signal);
  }

  async extend(key: string, leaseMs: number, signal: AbortSignal): Promise<void> {
    const job = await this.#jobs.find(key, signal);
    if (job === undefined || !isLive(job)) return;
    const seconds = Number(job.jobSpec?.scheduling?.timeout?.seconds ?? 0);
    checkFixedEnd('Vertex AI', key, leaseMs, seconds);
  }

  async list(tag: string, signal: AbortSignal): Promise<readonly Owned[]> {
    const byKey = await this.#jobs.list(tag, this.#clock.now() - LISTED_MS, signal);
    return [...byKey].flatMap(([key, jobs]) => {
      const [first] = oldestFirst(jobs);
      return first === undefined ? [] : [{ key, handle: handleOf(key, first.name), live: jobs.some(isLive) }];
    });
  }

  logs(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    return this.#logs.read(key, fromByte, maxBytes, signal);
  }

  close(): Promise<void> {
    return this.#clients.close();
  }
}

/** `projects/…/locations/REGION/customJobs/…`; undefined where there is none. */
function regionOf(handle: Handle | undefined): string | undefined {
  return handle?.uid?.split('/')[3];
}

async function open(config: VertexConfig, clock: Clock, pool: readonly PoolFlavour[] | undefined): Promise<Provider> {
  checkVertexConfig(config, pool);
  return new VertexProvider(config, flavoursOf(config.flavours, pool), clock);
}

/** `open` touches no network, and loads no SDK. */
export default defineProvider<VertexConfig>({
  kind: PROVIDER_KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: vertexConfigSchema,
  checkOptions: jobOptionsRefusals,
  open: (config, { clock, flavours }) => open(config, clock, flavours),
});
