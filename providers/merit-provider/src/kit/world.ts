import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  AttemptSpec,
  Handle,
  Observation,
  Owned,
  PoolFlavour,
  Provider,
  ProviderClock,
  ProviderDefinition,
} from '../contract.ts';
import { isProviderError, type ProviderError, type ProviderErrorCode } from '../errors.ts';
import type { TestBackend, TestBackendDefinition } from '../test-backend.ts';
import { hold, NotExercised, shown } from './check.ts';
import { realClock, VirtualClock } from './clock.ts';
import { KIT_ENTRYPOINT, type KitJob, kitEnv } from './jobs.ts';

const LOOK_EVERY_MS = { virtual: 5_000, real: 250 };
const VIRTUAL_PATIENCE_MS = 600_000;
const LOG_LIMIT_BYTES = 1024 * 1024;
const CPU_MILLI = 100n;
const FLAVOUR: PoolFlavour = {
  flavour: 'default',
  resource: 'cpu',
  spot: false,
  currency: 'USD',
  centsPerUnitHour: 100n,
};

export interface WorldOptions {
  readonly definition: ProviderDefinition<unknown>;
  readonly backend: TestBackendDefinition;
  /** How long a state may take to come on a real backend. */
  readonly patienceMs: number;
  /** All that is wrong with a config by the definition's schema. */
  readonly checkConfig: ((config: unknown) => readonly string[]) | undefined;
  /** Stops the kit, in the middle of a check too. */
  readonly signal: AbortSignal | undefined;
}

/** What one check has: a backend of its own, providers opened on it, and jobs that are gone afterwards. */
export class World {
  readonly definition: ProviderDefinition<unknown>;
  readonly checkConfig: WorldOptions['checkConfig'];
  readonly clock: ProviderClock;
  readonly isReal: boolean;
  readonly backend: TestBackend;
  readonly folder: string;
  /** Aborts when the check is given up, or the kit is stopped. */
  readonly signal: AbortSignal;
  /** The kit's own, another one for each check. */
  readonly tag = `kit-${randomBytes(6).toString('hex')}`;
  readonly #patienceMs: number;
  readonly #opened = new Set<Provider>();
  readonly #keys = new Set<string>();
  readonly #stop = new AbortController();
  #provider: Provider | undefined;
  #flavour: string | undefined;
  #count = 0;

  private constructor(options: WorldOptions, clock: ProviderClock, backend: TestBackend, folder: string) {
    this.definition = options.definition;
    this.checkConfig = options.checkConfig;
    this.isReal = options.backend.time === 'real';
    this.clock = clock;
    this.backend = backend;
    this.folder = folder;
    this.signal =
      options.signal === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, options.signal]);
    this.#patienceMs = this.isReal ? options.patienceMs : VIRTUAL_PATIENCE_MS;
    this.#flavour = backend.flavour?.flavour;
  }

  static async make(options: WorldOptions): Promise<World> {
    const clock = options.backend.time === 'real' ? realClock : new VirtualClock();
    const folder = await mkdtemp(join(tmpdir(), 'merit-kit-'));
    try {
      const backend = await options.backend.start({ clock, stateDir: folder });
      return new World(options, clock, backend, folder);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get provider(): Provider {
    if (this.#provider === undefined) throw new Error('the provider is not open');
    return this.#provider;
  }

  /** Opens the provider of the check, and finds out what its jobs may ask for. */
  async begin(): Promise<void> {
    this.#provider = await this.open();
    this.#flavour ??= (await this.#provider.capacity(this.signal))[0]?.flavour ?? FLAVOUR.flavour;
  }

  /** Another one on the same backend, which knows nothing of the first: as after a crash, on another machine. */
  async open(): Promise<Provider> {
    const stateDir = await mkdtemp(join(this.folder, 'state-'));
    const { flavour } = this.backend;
    const context = { stateDir, clock: this.clock };
    const provider = await this.definition.open(
      this.backend.config,
      flavour === undefined ? context : { ...context, flavours: [flavour] },
    );
    this.#opened.add(provider);
    return provider;
  }

  spec(job: KitJob, fields: Partial<AttemptSpec> = {}): AttemptSpec {
    const bookingId = `${this.tag}-${++this.#count}`;
    const key = `m-${bookingId}-1`;
    this.#keys.add(key);
    return {
      key,
      tag: this.tag,
      bookingId,
      attempt: 1,
      entrypoint: KIT_ENTRYPOINT,
      workdir: undefined,
      env: { MERIT_PARAMETERS: '{}', ...kitEnv(job) },
      resources: {
        gpuMilli: this.backend.gpuMilli ?? 0n,
        cpuMilli: this.backend.cpuMilli ?? CPU_MILLI,
        memoryBytes: 0n,
      },
      flavour: this.#flavour ?? FLAVOUR.flavour,
      leaseMs: 900_000,
      ...fields,
    };
  }

  submit(spec: AttemptSpec, provider = this.provider): Promise<Handle> {
    return provider.submit(spec, this.signal);
  }

  observe(key: string, provider = this.provider): Promise<Observation> {
    return provider.observe(key, this.signal);
  }

  list(provider = this.provider): Promise<readonly Owned[]> {
    return provider.list(this.tag, this.signal);
  }

  release(key: string, provider = this.provider): Promise<void> {
    return provider.release(key, this.signal);
  }

  /** Submits a job that runs until it is ended, and waits until it does. */
  async running(job: KitJob = {}): Promise<AttemptSpec> {
    const spec = this.spec({ sleeps: true, ...job });
    await this.submit(spec);
    await this.until(spec.key, 'running');
    return spec;
  }

  async until<S extends Observation['state']>(
    key: string,
    state: S,
    provider = this.provider,
  ): Promise<Extract<Observation, { state: S }>> {
    let seen: Observation = { state: 'absent' };
    await this.eventually(
      `the job is seen as ${state}`,
      async () => {
        seen = await this.observe(key, provider);
        hold(seen.state === state || seen.state !== 'ended', `it ended before it was seen as ${state}: ${shown(seen)}`);
        return seen.state === state;
      },
      () => `its last look: ${shown(seen)}`,
    );
    return seen as Observation as Extract<Observation, { state: S }>;
  }

  /** Looks again and again, as long as the kit has patience. */
  async eventually(what: string, look: () => Promise<boolean>, otherwise: () => string = () => ''): Promise<void> {
    const limitMs = this.clock.now() + this.#patienceMs;
    while (!(await look())) {
      hold(
        this.clock.now() < limitMs,
        `it does not come that ${what}, within ${this.#patienceMs / 1000} s ${otherwise()}`,
      );
      if (this.signal.aborted) throw new NotExercised('the kit was stopped');
      await this.rest();
    }
  }

  /** Between two looks. */
  rest(): Promise<void> {
    return this.clock.sleep(this.isReal ? LOOK_EVERY_MS.real : LOOK_EVERY_MS.virtual, this.signal);
  }

  /** How many live things there are of a key: the backend's own account, else what the provider lists. */
  async live(key: string): Promise<number> {
    if (this.backend.live !== undefined) return this.backend.live(key);
    return (await this.list()).filter((owned) => owned.key === key && owned.live).length;
  }

  /** The whole log. */
  async log(key: string): Promise<Buffer> {
    return Buffer.from(await this.provider.logs(key, 0, LOG_LIMIT_BYTES, this.signal));
  }

  needLogs(): void {
    if (!this.provider.capabilities.logs) throw new NotExercised('it has no logs');
  }

  /** What a call fails with. Broken where it does not, or throws what is no ProviderError. */
  async failure(what: string, work: Promise<unknown>): Promise<ProviderError> {
    let error: unknown;
    try {
      const value = await work;
      hold(false, `${what} returns ${shown(value)} where it has to throw`);
    } catch (thrown) {
      error = thrown;
    }
    if (error instanceof Error && error.name === 'Broken') throw error;
    hold(isProviderError(error), `${what} throws what is no ProviderError: ${String(error)}`);
    return error;
  }

  /** Holds a call to fail with this code and no effect. */
  async refused(what: string, code: ProviderErrorCode, work: Promise<unknown>): Promise<ProviderError> {
    const error = await this.failure(what, work);
    hold(error.code === code, `${what} throws ${error.code} (${shown(error.message)}) where it has to throw ${code}`);
    hold(error.effect === 'none', `${what} was refused, yet it tells effect ${error.effect} where nothing happened`);
    return error;
  }

  async tempFolder(): Promise<string> {
    return mkdtemp(join(this.folder, 'work-'));
  }

  /** Whatever the check left: its jobs are released, its providers closed, its backend ended. Throws what of it could not be. */
  async end(): Promise<void> {
    try {
      await this.backend.heal?.();
      if (this.isReal && this.#provider !== undefined) await this.#releaseAll(this.#provider);
    } finally {
      this.#stop.abort();
      await Promise.allSettled([...this.#opened].map((one) => one.close()));
      try {
        await this.backend.close();
      } finally {
        await rm(this.folder, { recursive: true, force: true });
      }
    }
  }

  async #releaseAll(provider: Provider): Promise<void> {
    const limit = AbortSignal.timeout(this.#patienceMs);
    const mine = await provider.list(this.tag, limit).catch(() => []);
    const keys = new Set([...mine.filter((owned) => owned.live).map((owned) => owned.key), ...this.#keys]);
    const released = await Promise.allSettled([...keys].map((key) => provider.release(key, limit)));
    const failed = released.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }
}
