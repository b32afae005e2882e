import type { Clock } from '../../platform/clock.ts';
import { CapacityReader } from '../kubernetes/capacity.ts';
import { Cluster } from '../kubernetes/cluster.ts';
import { offersOf } from '../kubernetes/flavour.ts';
import { handleOf, KEY_LABEL } from '../kubernetes/ownership.ts';
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
import {
  checkKubeRayConfig,
  DEFAULT_OPERATOR_SILENT_SECONDS,
  type Flavour,
  flavoursOf,
  type KubeRayConfig,
  kubeRayConfigSchema,
} from './config.ts';
import { Dashboards } from './dashboard.ts';
import { jobOptionsRefusals } from './job-options.ts';
import { LogReader } from './log-reader.ts';
import { deadlineSeconds } from './manifest.ts';
import { clusterToMark, observationOf } from './observation.ts';
import { PROVIDER_KIND } from './ownership.ts';
import { isOver, RAY_JOBS } from './ray-job.ts';
import { RayJobs } from './ray-jobs.ts';
import { releaseAttempt } from './release.ts';
import { submitAttempt } from './submit.ts';

const CAPABILITIES = { migrate: false, spot: true, topology: true, reserve: false, logs: true, resize: false };

/** RayJobs of KubeRay as a provider: one attempt is one RayJob with a cluster of its own, whose name is the attempt's key. */
class KubeRayProvider implements Provider {
  readonly kind = PROVIDER_KIND;
  readonly contractVersion = PROVIDER_CONTRACT_VERSION;
  readonly capabilities = CAPABILITIES;
  /** The API server reads its own writes. */
  readonly consistencyWindowMs = 0;
  readonly #config: KubeRayConfig;
  readonly #clock: Clock;
  readonly #flavours: readonly Flavour[];
  readonly #cluster: Cluster;
  readonly #jobs: RayJobs;
  readonly #dashboards: Dashboards;
  readonly #logs: LogReader;
  readonly #capacity: CapacityReader;

  constructor(config: KubeRayConfig, flavours: readonly Flavour[], clock: Clock) {
    this.#config = config;
    this.#clock = clock;
    this.#flavours = flavours;
    this.#cluster = new Cluster(config);
    this.#jobs = new RayJobs(this.#cluster, clock);
    this.#dashboards = new Dashboards(this.#cluster, config);
    this.#logs = new LogReader(this.#dashboards, clock);
    this.#capacity = new CapacityReader(this.#cluster, flavours, clock);
  }

  capacity(signal: AbortSignal): Promise<readonly FlavourCapacity[]> {
    return this.#capacity.read(signal);
  }

  async offers(_signal: AbortSignal): Promise<readonly Offer[]> {
    return offersOf(this.#flavours);
  }

  submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
    return submitAttempt({ config: this.#config, cluster: this.#cluster, flavours: this.#flavours }, spec, signal);
  }

  async observe(key: string, signal: AbortSignal): Promise<Observation> {
    const seen = await this.#jobs.see(key, signal);
    if (seen === undefined) return { state: 'absent' };
    const ran = clusterToMark(seen.job);
    if (ran !== undefined) await this.#jobs.mark(seen.job, ran, signal);
    const operatorSilentMs = (this.#config.operatorSilentSeconds ?? DEFAULT_OPERATOR_SILENT_SECONDS) * 1000;
    return observationOf(seen, { operatorSilentMs });
  }

  /** Ray's stop: SIGTERM, the grace, SIGKILL. The deadline cannot be told to it. What has not begun has nothing to save, and is left to its release. */
  async drain(key: string, _deadlineMs: number, signal: AbortSignal): Promise<void> {
    const job = await this.#jobs.findOurs(key, signal);
    if (job === undefined || isOver(job.status ?? {})) return;
    await this.#dashboards.stop(await this.#cluster.namespace(), job, signal);
  }

  async release(key: string, signal: AbortSignal): Promise<void> {
    await releaseAttempt(this.#cluster, this.#jobs, this.#clock, key, signal);
  }

  async extend(key: string, leaseMs: number, signal: AbortSignal): Promise<void> {
    const job = await this.#jobs.findOurs(key, signal);
    const seconds = deadlineSeconds(leaseMs, this.#config);
    if (job === undefined || isOver(job.status ?? {}) || (job.spec?.activeDeadlineSeconds ?? 0) >= seconds) return;
    const path = `${RAY_JOBS(await this.#cluster.namespace())}/${key}`;
    const body = { metadata: { uid: job.metadata.uid }, spec: { activeDeadlineSeconds: seconds } };
    await this.#cluster.merge(path, body, `extending the lease of ${key}`, signal);
  }

  async list(tag: string, signal: AbortSignal): Promise<readonly Owned[]> {
    const { jobs, live, leftovers } = await this.#jobs.ours(tag, signal);
    const owned = new Map<string, Owned>();
    for (const job of jobs) {
      const key = job.metadata.name;
      owned.set(key, { key, handle: handleOf(PROVIDER_KIND, job), live: live.has(job) });
    }
    for (const { metadata } of leftovers) {
      const key = metadata.labels?.[KEY_LABEL];
      if (key === undefined || owned.has(key)) continue;
      owned.set(key, { key, handle: { provider: PROVIDER_KIND, id: key, uid: undefined }, live: true });
    }
    return [...owned.values()];
  }

  async logs(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    const job = await this.#jobs.findOurs(key, signal);
    if (job === undefined) throw new ProviderError('not_found', `there is no RayJob ${key}`);
    return this.#logs.read(await this.#cluster.namespace(), job, fromByte, maxBytes, signal);
  }

  close(): Promise<void> {
    this.#logs.close();
    return this.#cluster.close();
  }
}

async function open(config: KubeRayConfig, clock: Clock, pool: readonly PoolFlavour[] | undefined): Promise<Provider> {
  checkKubeRayConfig(config, pool);
  return new KubeRayProvider(config, flavoursOf(config, pool), clock);
}

/** `open` touches no network, and loads no client. */
export default defineProvider<KubeRayConfig>({
  kind: PROVIDER_KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: kubeRayConfigSchema,
  checkOptions: jobOptionsRefusals,
  open: (config, { clock, flavours }) => open(config, clock, flavours),
});
