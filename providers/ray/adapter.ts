import { readFile } from 'node:fs/promises';
import { type RayJob, RayJobClient, type RayJobClientOptions } from 'ray-job-submission-client';
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
  ProviderError,
  type Usage,
} from '../provider.ts';
import { capacityOf, offersOf } from './capacity.ts';
import {
  checkRayConfig,
  DEFAULT_FLAVOURS,
  DEFAULT_GANG_START_SECONDS,
  DEFAULT_NODE_GIVES_UP_SECONDS,
  DEFAULT_STOP_GRACE_SECONDS,
  type RayConfig,
  type RayFlavour,
  rayConfigSchema,
} from './config.ts';
import { ClosedDoor } from './door.ts';
import { providerErrorOf } from './errors.ts';
import { findJob } from './find-job.ts';
import { jobOptionsRefusals } from './job-options.ts';
import { Lives } from './lives.ts';
import { LogTails } from './log-tails.ts';
import { LostNodes } from './lost-nodes.ts';
import { knownNodes, usesLabels } from './nodes.ts';
import { isLive, observationOf } from './observation.ts';
import { assertOurs, handleOf, PROVIDER_KIND } from './ownership.ts';
import { type ReleaseSettings, releaseAttempt, StoppedPending, stopOnce } from './release.ts';
import { type SubmitSettings, submitAttempt } from './submit.ts';
import { tokenReader } from './token-reader.ts';
import { RayUsage } from './usage.ts';

const CAPABILITIES = { migrate: false, spot: false, topology: false, reserve: false, logs: true, resize: false };
/** Reads that Ray asks us to hold back for longer are handed to Merit's own retries, with the time. */
const LONGEST_WAIT_MS = 2_000;

/** Ray's Jobs API as a provider: one attempt is one Ray job whose submission id is the attempt's key. */
class RayProvider implements Provider {
  readonly kind = PROVIDER_KIND;
  readonly contractVersion = PROVIDER_CONTRACT_VERSION;
  readonly capabilities = CAPABILITIES;
  /** Ray writes its job table before it answers. */
  readonly consistencyWindowMs = 0;
  readonly #client: RayJobClient;
  readonly #door: ClosedDoor;
  readonly #flavours: readonly RayFlavour[];
  readonly #lives: Lives;
  readonly #lostNodes: LostNodes;
  readonly #logs: LogTails;
  readonly #usage: RayUsage;
  readonly #submit: SubmitSettings;
  readonly #release: ReleaseSettings;

  constructor(config: RayConfig, tls: Pick<RayJobClientOptions, 'ca' | 'cert' | 'key'>, clock: Clock) {
    this.#client = new RayJobClient({
      address: config.address,
      token: tokenReader(config, clock),
      ...tls,
      timeoutMs: config.timeoutMs,
      submitTimeoutMs: config.submitTimeoutMs,
      longestWaitMs: LONGEST_WAIT_MS,
    });
    this.#door = new ClosedDoor(this.#client, clock, config.allowUnauthenticated ?? false);
    this.#flavours = config.flavours ?? DEFAULT_FLAVOURS;
    const stopGraceSeconds = config.stopGraceSeconds ?? DEFAULT_STOP_GRACE_SECONDS;
    const nodeGivesUpSeconds = config.nodeGivesUpSeconds ?? DEFAULT_NODE_GIVES_UP_SECONDS;
    this.#lives = new Lives(this.#client, clock, nodeGivesUpSeconds * 1000);
    this.#lostNodes = new LostNodes(this.#client, clock, nodeGivesUpSeconds * 1000);
    this.#logs = new LogTails(this.#client, clock, this.#lostNodes);
    this.#usage = new RayUsage(this.#client, clock);
    this.#submit = {
      client: this.#client,
      lives: this.#lives,
      flavours: this.#flavours,
      stopGraceSeconds,
      gangStartSeconds: config.gangStartSeconds ?? DEFAULT_GANG_START_SECONDS,
    };
    const stopped = new StoppedPending();
    this.#release = { client: this.#client, clock, stopGraceSeconds, stopped, lostNodes: this.#lostNodes };
  }

  capacity(signal: AbortSignal): Promise<readonly FlavourCapacity[]> {
    const withLabels = this.#flavours.some((flavour) => usesLabels(flavour));
    return this.#read(signal, async () =>
      capacityOf(this.#flavours, await knownNodes(this.#client, withLabels, signal)),
    );
  }

  async offers(_signal: AbortSignal): Promise<readonly Offer[]> {
    return offersOf(this.#flavours);
  }

  async submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
    await this.#door.check(signal);
    return submitAttempt(this.#submit, spec, signal);
  }

  observe(key: string, signal: AbortSignal, known?: Handle): Promise<Observation> {
    return this.#read(signal, async () => {
      const job = await findJob(this.#client, key, signal);
      if (job === undefined) return this.#lives.absence(key, known, signal);
      assertOurs(key, job);
      this.#lives.seen(key);
      const session = await this.#lives.session(signal);
      if (this.#release.stopped.has(key, job)) return stoppedBeforeItBegan(key, session, job);
      return observationOf(key, session, job, await this.#lostNodes.took(key, job, signal));
    });
  }

  /** Ray has no notice of its own: a drain is its stop (SIGTERM, the grace, SIGKILL). The deadline cannot be told to it. */
  async drain(key: string, _deadlineMs: number, signal: AbortSignal): Promise<void> {
    await this.#change(signal, () => stopOnce(this.#release, key, signal));
  }

  async release(key: string, signal: AbortSignal): Promise<void> {
    await this.#change(signal, () => releaseAttempt(this.#release, key, signal));
  }

  list(tag: string, signal: AbortSignal): Promise<readonly Owned[]> {
    return this.#read(signal, async () => {
      const owned = new Map<string, Owned>();
      const [jobs, session] = await Promise.all([this.#client.list(signal), this.#lives.session(signal)]);
      for (const job of jobs) {
        const key = job.submissionId;
        if (key === undefined || job.metadata.merit_tag !== tag) continue;
        const over = this.#release.stopped.has(key, job) || (await this.#lostNodes.holds(job, signal));
        const live = isLive(job) && !over;
        owned.set(key, { key, handle: handleOf(key, session, job), live });
      }
      return [...owned.values()];
    });
  }

  logs(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    return this.#read(signal, () => this.#logs.read(key, fromByte, maxBytes, signal));
  }

  usage(key: string, signal: AbortSignal): Promise<Usage | undefined> {
    return this.#read(signal, () => this.#usage.of(key, signal));
  }

  async close(): Promise<void> {
    this.#logs.close();
    this.#client.close();
  }

  #read<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.#guarded(signal, 'none', work);
  }

  /** A stop may have been sent before any failure that comes later, so what fails in passing has an unknown effect. */
  async #change(signal: AbortSignal, work: () => Promise<unknown>): Promise<void> {
    try {
      await this.#guarded(signal, 'unknown', work);
    } catch (error) {
      if (!(error instanceof ProviderError) || error.code !== 'transient' || error.effect === 'unknown') throw error;
      const { message, retryAfterMs, cause } = error;
      throw new ProviderError('transient', message, {
        effect: 'unknown',
        cause,
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      });
    }
  }

  async #guarded<T>(signal: AbortSignal, ifCancelled: 'none' | 'unknown', work: () => Promise<T>): Promise<T> {
    await this.#door.check(signal);
    try {
      return await work();
    } catch (error) {
      throw providerErrorOf(error, ifCancelled);
    }
  }
}

function stoppedBeforeItBegan(key: string, session: string, job: RayJob): Observation {
  return {
    state: 'ended',
    handle: handleOf(key, session, job),
    outcome: 'stopped',
    exitCode: undefined,
    message: 'stopped before it began; Ray lists it as PENDING until it would have started',
    startedAtMs: undefined,
    endedAtMs: undefined,
  };
}

/** For tests, which hold time still. Throws RefusedInput. */
export async function openRayProvider(config: RayConfig, clock: Clock): Promise<Provider> {
  checkRayConfig(config);
  const [ca, cert, key] = await Promise.all([config.caFile, config.certFile, config.keyFile].map(textOf));
  return new RayProvider(config, { ca, cert, key }, clock);
}

async function textOf(path: string | undefined): Promise<string | undefined> {
  return path === undefined ? undefined : readFile(path, 'utf8');
}

/** A flavour of the pool's file as every node of the cluster has it. */
function asRayFlavour(flavour: PoolFlavour): RayFlavour {
  return {
    name: flavour.flavour,
    centsPerUnitHour: Number(flavour.centsPerUnitHour),
    currency: flavour.currency,
    spot: flavour.spot,
  };
}

/** `open` touches no network: Merit starts while a Ray is away, and the first verb asks it whether its door is closed. */
export default defineProvider<RayConfig>({
  kind: PROVIDER_KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: rayConfigSchema,
  checkOptions: jobOptionsRefusals,
  open: (config, { clock, flavours }) =>
    openRayProvider(
      config.flavours === undefined && flavours !== undefined
        ? { ...config, flavours: flavours.map(asRayFlavour) }
        : config,
      clock,
    ),
});
