import type { Clock } from '../../platform/clock.ts';
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
} from '../provider.ts';
import { CapacityReader } from './capacity.ts';
import { Cluster } from './cluster.ts';
import { checkKubernetesConfig, type KubernetesConfig, kubernetesConfigSchema } from './config.ts';
import { type Flavour, flavoursOf, offersOf } from './flavour.ts';
import { readJobLog } from './job-log.ts';
import { jobOptionsRefusals } from './job-options.ts';
import { Jobs } from './jobs.ts';
import { deadlineSeconds } from './manifest.ts';
import { isOver, observationOf, PROVIDER_KIND, startToMark } from './observation.ts';
import { handleOf, KEY_LABEL, ownerIn, tagSelector } from './ownership.ts';
import { PodLogs } from './pod-logs.ts';
import { giveNotice, releaseJob } from './stop.ts';
import { submitAttempt } from './submit.ts';

const CAPABILITIES = { migrate: false, spot: true, topology: true, reserve: false, logs: true, resize: false };

/** Kubernetes' Jobs as a provider: one attempt is one batch/v1 Job whose name is the attempt's key. */
class KubernetesProvider implements Provider {
  readonly kind = PROVIDER_KIND;
  readonly contractVersion = PROVIDER_CONTRACT_VERSION;
  readonly capabilities = CAPABILITIES;
  /** The API server answers with what it has stored. */
  readonly consistencyWindowMs = 0;
  readonly #config: KubernetesConfig;
  readonly #clock: Clock;
  readonly #cluster: Cluster;
  readonly #jobs: Jobs;
  readonly #logs: PodLogs;
  readonly #flavours: readonly Flavour[];
  readonly #capacity: CapacityReader;

  constructor(config: KubernetesConfig, flavours: readonly Flavour[], clock: Clock, directLooks: number | undefined) {
    this.#config = config;
    this.#clock = clock;
    this.#flavours = flavours;
    this.#cluster = new Cluster(config);
    this.#jobs = new Jobs(this.#cluster, clock, directLooks);
    this.#logs = new PodLogs(this.#cluster);
    this.#capacity = new CapacityReader(this.#cluster, flavours, clock);
  }

  capacity(signal: AbortSignal): Promise<readonly FlavourCapacity[]> {
    return this.#capacity.read(signal);
  }

  async offers(_signal: AbortSignal): Promise<readonly Offer[]> {
    return offersOf(this.#flavours);
  }

  submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
    const settings = { config: this.#config, cluster: this.#cluster, jobs: this.#jobs, flavours: this.#flavours };
    return submitAttempt(settings, spec, signal);
  }

  async observe(key: string, signal: AbortSignal): Promise<Observation> {
    const look = await this.#jobs.look(key, signal);
    if (look === undefined) return { state: 'absent' };
    const start = startToMark(look);
    if (start !== undefined) await this.#jobs.mark(look.job, start, signal);
    const seen = observationOf(look);
    // A pod that is not there cannot say why.
    if (seen.state !== 'pending' || look.pods.length >= (look.job.spec?.completions ?? 1)) return seen;
    return observationOf(look, await this.#jobs.complaint(look.job, signal));
  }

  drain(key: string, _deadlineMs: number, signal: AbortSignal): Promise<void> {
    return giveNotice(this.#cluster, this.#jobs, key, signal);
  }

  release(key: string, signal: AbortSignal): Promise<void> {
    return releaseJob(this.#cluster, this.#jobs, this.#clock, key, signal);
  }

  async extend(key: string, leaseMs: number, signal: AbortSignal): Promise<void> {
    const job = await this.#jobs.findNoOther(key, signal);
    if (job === undefined || isOver(job)) return;
    const { uid } = job.metadata;
    const body = { metadata: { uid }, spec: { activeDeadlineSeconds: deadlineSeconds(leaseMs) } };
    await this.#cluster.merge(await this.#jobs.path(key), body, `extending the lease of ${key}`, signal);
  }

  async list(tag: string, signal: AbortSignal): Promise<readonly Owned[]> {
    const { jobs, pods } = await this.#jobs.list(tagSelector(tag), signal);
    const mine = jobs.filter((job) => ownerIn(job)?.tag === tag);
    const owned: Owned[] = mine.map((job) => ({
      key: job.metadata.name,
      handle: handleOf(PROVIDER_KIND, job),
      live: !isOver(job),
    }));
    const known = new Set(owned.map(({ key }) => key));
    for (const pod of pods) {
      const key = pod.metadata.labels?.[KEY_LABEL];
      if (key === undefined || known.has(key) || ownerIn(pod)?.tag !== tag) continue;
      known.add(key);
      owned.push({ key, handle: { provider: PROVIDER_KIND, id: key, uid: undefined }, live: true });
    }
    return owned;
  }

  logs(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    return readJobLog(this.#jobs, this.#logs, key, fromByte, maxBytes, signal);
  }

  close(): Promise<void> {
    return this.#cluster.close();
  }
}

/** `directLooks`: see jobs.ts; tests say 0. */
export async function openKubernetesProvider(
  config: KubernetesConfig,
  clock: Clock,
  pool: readonly PoolFlavour[] | undefined,
  directLooks?: number,
): Promise<Provider> {
  checkKubernetesConfig(config, pool);
  return new KubernetesProvider(config, flavoursOf(config.flavours, pool), clock, directLooks);
}

/** `open` touches no network, and loads no client. */
export default defineProvider<KubernetesConfig>({
  kind: PROVIDER_KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: kubernetesConfigSchema,
  checkOptions: jobOptionsRefusals,
  open: (config, { clock, flavours }) => openKubernetesProvider(config, clock, flavours),
});
