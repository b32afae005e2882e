import { randomUUID } from 'node:crypto';
import type { Clock } from '../../platform/clock.ts';
import { offersOf } from '../cloud/rented-flavours.ts';
import {
  type AttemptSpec,
  checkKey,
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
  type Usage,
} from '../provider.ts';
import { capacityOf, nodesIn } from './capacity.ts';
import { checkSlurmConfig, type Flavour, flavoursOf, type SlurmConfig, slurmConfigSchema } from './config.ts';
import { jobOptionsRefusals } from './job-options.ts';
import { isLive, Jobs } from './jobs.ts';
import { type Facts, type Seen, sightOf, theOne } from './observation.ts';
import { handleOf, PROVIDER_KIND } from './ownership.ts';
import { drainJob, releaseJob } from './release.ts';
import { RestClient } from './rest-client.ts';
import { LOG, RunFolder, SLURM_LOG } from './run-folder.ts';
import { type SubmitSettings, submitAttempt } from './submit.ts';

const CAPABILITIES = { migrate: false, spot: true, topology: false, reserve: false, logs: true, resize: false };
/** A submit whose reply was lost may still be on its way from slurmrestd to slurmctld, which is asked again while it is away. */
const WINDOW_MS = 60_000;
/** Merit asks every 2 s whether Slurm is there, and of thousands of nodes the answer is long: it holds so long. */
const CAPACITY_MS = 5_000;
/** Attempts that were seen to run and not released here: another server may have done that. */
const SEEN_LIMIT = 100_000;
/** Of a log's end, in the message of a failure. */
const OUTPUT_TAIL_BYTES = 2_000;

/** Slurm's jobs as a provider: one attempt is one batch job whose name is the attempt's key, and a folder on the shared file system. */
class SlurmProvider implements Provider {
  readonly kind = PROVIDER_KIND;
  readonly contractVersion = PROVIDER_CONTRACT_VERSION;
  readonly capabilities = CAPABILITIES;
  readonly consistencyWindowMs = WINDOW_MS;
  readonly #shared: string;
  readonly #clock: Clock;
  readonly #rest: RestClient;
  readonly #jobs: Jobs;
  readonly #flavours: readonly Flavour[];
  readonly #submit: SubmitSettings;
  readonly #inFlight = new Map<string, Promise<Handle>>();
  /** Until they have ended, or are released; of those that were seen to run. */
  readonly #seen = new Map<string, Seen>();
  #capacity: { readonly atMs: number; readonly told: readonly FlavourCapacity[] } | undefined;

  constructor(config: SlurmConfig, flavours: readonly Flavour[], clock: Clock) {
    this.#shared = config.shared;
    this.#clock = clock;
    this.#flavours = flavours;
    this.#rest = new RestClient(config);
    this.#jobs = new Jobs(this.#rest, config, clock);
    const me = randomUUID();
    this.#submit = { config, rest: this.#rest, jobs: this.#jobs, clock, flavours, me, isUserSeen: false };
  }

  async capacity(signal: AbortSignal): Promise<readonly FlavourCapacity[]> {
    const atMs = this.#clock.now();
    if (this.#capacity !== undefined && atMs - this.#capacity.atMs < CAPACITY_MS) return this.#capacity.told;
    const body = await this.#rest.ask({ doing: 'listing nodes', method: 'GET', path: 'nodes', signal });
    const told = capacityOf(this.#flavours, nodesIn(body));
    this.#capacity = { atMs, told };
    return told;
  }

  async offers(_signal: AbortSignal): Promise<readonly Offer[]> {
    return offersOf(this.#flavours);
  }

  /** One after the other of a key: its turn at the shared folder is this provider's, not a call's. */
  submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
    const before = this.#inFlight.get(spec.key) ?? Promise.resolve();
    const work = before.catch(() => {}).then(() => submitAttempt(this.#submit, spec, signal));
    this.#inFlight.set(spec.key, work);
    const settle = () => {
      if (this.#inFlight.get(spec.key) === work) this.#inFlight.delete(spec.key);
    };
    work.then(settle, settle);
    return work;
  }

  async observe(key: string, signal: AbortSignal): Promise<Observation> {
    const folder = this.#folder(key);
    const jobs = (await this.#jobs.list(signal)).get(key) ?? [];
    // After Slurm was asked: what a job writes down before it ends is there by then.
    const facts: Facts = { ...(await folder.traces()), seen: this.#seen.get(key) };
    const job = theOne(jobs, facts.claim);
    const owner = job?.owner ?? (await folder.owner());
    if (owner === undefined) return { state: 'absent' };
    const handle = handleOf(key, owner);
    const sight = sightOf(handle, job, facts);
    if (sight.is === 'told') {
      if (sight.observation.state === 'running') this.#sawRunning(key, facts.seen);
      return sight.observation;
    }
    const told = { ...sight.end, message: await this.#message(folder, sight.slurm, sight.end.outcome === 'succeeded') };
    const hasFolder = (await folder.owner()) !== undefined;
    return { state: 'ended', handle, ...(hasFolder ? await folder.writeEnd(told) : told) };
  }

  async drain(key: string, _deadlineMs: number, signal: AbortSignal): Promise<void> {
    checkKey(key);
    await drainJob(this.#shared, this.#jobs, key, signal);
  }

  async release(key: string, signal: AbortSignal): Promise<void> {
    checkKey(key);
    await releaseJob(this.#shared, this.#jobs, this.#clock, key, signal);
    this.#seen.delete(key);
  }

  /** Slurm lets only its operators make a time limit longer. Throws ProviderError `invalid` past what its submit left room for. */
  async extend(key: string, leaseMs: number, signal: AbortSignal): Promise<void> {
    const live = (await this.#jobs.list(signal)).get(key)?.filter(isLive) ?? [];
    const limits = live.flatMap(({ timeLimitMinutes }) => timeLimitMinutes ?? []);
    const minutes = Math.min(...limits);
    if (limits.length === 0 || leaseMs <= minutes * 60_000) return;
    const text = `Slurm ends ${key} after ${minutes} min, and only its operators may change that: extensionSeconds in the pool leaves later jobs room for longer leases`;
    throw new ProviderError('invalid', text);
  }

  /** Only of what has ended: slurmrestd tells nothing of what runs. */
  async usage(key: string, _signal: AbortSignal): Promise<Usage | undefined> {
    const exit = await this.#folder(key).exit();
    return exit?.cpuMs === undefined ? undefined : { cpuMs: exit.cpuMs };
  }

  async list(tag: string, signal: AbortSignal): Promise<readonly Owned[]> {
    const owned: Owned[] = [];
    for (const [key, all] of await this.#jobs.list(signal)) {
      const jobs = all.filter(({ owner }) => owner?.tag === tag);
      const owner = jobs[0]?.owner;
      if (owner !== undefined) owned.push({ key, handle: handleOf(key, owner), live: jobs.some(isLive) });
    }
    return owned;
  }

  async logs(key: string, fromByte: number, maxBytes: number, _signal: AbortSignal): Promise<Uint8Array> {
    const bytes = await this.#folder(key).readLog(fromByte, maxBytes);
    if (bytes === undefined) throw new ProviderError('not_found', `there is no log of ${key}`);
    return bytes;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#inFlight.values());
    await this.#rest.close();
  }

  /** What Slurm says, then what its node and the job itself said last. */
  async #message(folder: RunFolder, slurm: string, isWell: boolean): Promise<string> {
    if (isWell) return '';
    const [node, output] = [await folder.tail(SLURM_LOG, OUTPUT_TAIL_BYTES), await folder.tail(LOG, OUTPUT_TAIL_BYTES)];
    return [slurm, node, output === '' ? '' : `last output: ${output}`].filter((one) => one !== '').join(' · ');
  }

  #sawRunning(key: string, before: Seen | undefined): void {
    const lastMs = this.#clock.now();
    this.#seen.set(key, { firstMs: before?.firstMs ?? lastMs, lastMs });
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > SEEN_LIMIT && oldest !== undefined) this.#seen.delete(oldest);
  }

  #folder(key: string): RunFolder {
    checkKey(key);
    return new RunFolder(this.#shared, key);
  }
}

async function open(config: SlurmConfig, clock: Clock, pool: readonly PoolFlavour[] | undefined): Promise<Provider> {
  checkSlurmConfig(config, pool);
  return new SlurmProvider(config, flavoursOf(config, pool), clock);
}

/** `open` touches no network. */
export default defineProvider<SlurmConfig>({
  kind: PROVIDER_KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: slurmConfigSchema,
  checkOptions: jobOptionsRefusals,
  open: (config, { clock, flavours }) => open(config, clock, flavours),
});
