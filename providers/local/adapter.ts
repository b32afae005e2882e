import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../platform/clock.ts';
import { sessionUsage } from '../process-usage.ts';
import {
  type AttemptSpec,
  checkAttempt,
  checkKey,
  defineProvider,
  type FlavourCapacity,
  type Handle,
  isKey,
  type Observation,
  type Offer,
  type Owned,
  PROVIDER_CONTRACT_VERSION,
  type Provider,
  ProviderError,
  type Usage,
  unknownOptions,
} from '../provider.ts';
import { type LocalConfig, type LocalSettings, localConfigSchema, localSettings } from './config.ts';
import { assignGpus, gpuUse } from './gpu-assignment.ts';
import { type Intent, logPath, readClaim, readIntent, writeIntent, writeLeaseMs } from './job-folder.ts';
import { type JobState, jobState } from './job-state.ts';
import { handleOf, observationOf, PROVIDER_KIND } from './observation.ts';
import { placeWorkdir, startWrapper } from './start.ts';
import { askToStop, removeFolder, stopAndWait, WITHDRAWN_PREFIX, withdraw } from './stop.ts';

const CAPABILITIES = { migrate: false, spot: false, topology: false, reserve: false, logs: true, resize: false };

/** What is under way in a root. Several pools of a server share one, and a pool whose file changed is opened anew before the old one closed. */
interface RootWork {
  /** Ends are final, so an ended folder is looked at once. */
  readonly ended: Set<string>;
  readonly inFlight: Map<string, Promise<Handle>>;
  /** Reservations are made one at a time: two must not both see the last GPU free. */
  reserving: Promise<unknown>;
}

/** By root, for the life of the process: there are as many as servers in it, which is one. */
const ROOTS = new Map<string, RootWork>();

function workOf(root: string): RootWork {
  const known = ROOTS.get(root);
  if (known !== undefined) return known;
  const work: RootWork = { ended: new Set(), inFlight: new Map(), reserving: Promise.resolve() };
  ROOTS.set(root, work);
  return work;
}

/** Jobs as processes of this machine; all it knows of them lies in their folders. One Merit server a root. */
class LocalProvider implements Provider {
  readonly kind = PROVIDER_KIND;
  readonly contractVersion = PROVIDER_CONTRACT_VERSION;
  readonly capabilities = CAPABILITIES;
  readonly consistencyWindowMs = 0;
  readonly #settings: LocalSettings;
  readonly #clock: Clock;
  readonly #root: RootWork;

  constructor(settings: LocalSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.#root = workOf(settings.root);
  }

  async capacity(_signal: AbortSignal): Promise<readonly FlavourCapacity[]> {
    const { cpuMilli, gpus, flavour } = this.#settings;
    const held = await this.#held();
    const gpuMilliHeld = gpuUse(gpus, held).reduce((all, used) => all + used, 0n);
    const cpuMilliHeld = held.reduce((all, one) => all + one.cpuMilli, 0n);
    const totalGpuMilli = BigInt(gpus) * 1000n;
    const freeCpuMilli = cpuMilli > cpuMilliHeld ? cpuMilli - cpuMilliHeld : 0n;
    return [
      { flavour, totalGpuMilli, freeGpuMilli: totalGpuMilli - gpuMilliHeld, totalCpuMilli: cpuMilli, freeCpuMilli },
    ];
  }

  async offers(_signal: AbortSignal): Promise<readonly Offer[]> {
    const { price, flavour } = this.#settings;
    return price === undefined
      ? []
      : [{ flavour, spot: false, currency: price.currency, centsPerUnitHour: price.cents }];
  }

  submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
    const running = this.#root.inFlight.get(spec.key);
    // Behind the other, not along with it: its outcome is in the folder then, and this one's ownership is still checked.
    const work = (running ?? Promise.resolve()).catch(() => {}).then(() => this.#submit(spec, signal));
    this.#root.inFlight.set(spec.key, work);
    const settle = () => {
      if (this.#root.inFlight.get(spec.key) === work) this.#root.inFlight.delete(spec.key);
    };
    work.then(settle, settle);
    return work;
  }

  async observe(key: string, _signal: AbortSignal): Promise<Observation> {
    const folder = this.#folder(key);
    return observationOf(folder, await jobState(folder), this.#root.inFlight.has(key));
  }

  async extend(key: string, leaseMs: number, _signal: AbortSignal): Promise<void> {
    const folder = this.#folder(key);
    if (readIntent(folder) !== undefined) writeLeaseMs(folder, leaseMs);
  }

  /** The deadline is Merit's to hold: it releases what has not ended by then. */
  async drain(key: string, _deadlineMs: number, _signal: AbortSignal): Promise<void> {
    await askToStop(this.#folder(key));
  }

  async release(key: string, signal: AbortSignal): Promise<void> {
    await stopAndWait(this.#folder(key), this.#settings.stopGraceMs, this.#clock, signal);
  }

  async list(tag: string, _signal: AbortSignal): Promise<readonly Owned[]> {
    const owned: Owned[] = [];
    for (const key of await this.#keys()) {
      const folder = this.#folder(key);
      const intent = readIntent(folder);
      if (intent?.tag !== tag) continue;
      const found = this.#root.ended.has(key) ? undefined : await this.#look(key);
      if (found?.state === 'intended' && !this.#root.inFlight.has(key)) continue;
      owned.push({ key, handle: handleOf(intent), live: found !== undefined && found.state !== 'ended' });
    }
    return owned;
  }

  async logs(key: string, fromByte: number, maxBytes: number, _signal: AbortSignal): Promise<Uint8Array> {
    const folder = this.#folder(key);
    if (readIntent(folder) === undefined) throw new ProviderError('not_found', `there is no job ${key}`);
    let file: Awaited<ReturnType<typeof open>>;
    try {
      file = await open(logPath(folder), 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Uint8Array();
      throw error;
    }
    try {
      const left = Math.max(0, (await file.stat()).size - fromByte);
      const bytes = Buffer.alloc(Math.min(left, maxBytes));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, fromByte);
      return bytes.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }

  async usage(key: string, _signal: AbortSignal): Promise<Usage | undefined> {
    const found = await jobState(this.#folder(key));
    if (found.state === 'running') return sessionUsage(found.job.pid);
    const cpuMs = found.state === 'ended' ? found.exit.cpuMs : undefined;
    return cpuMs === undefined ? undefined : { cpuMs };
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#root.inFlight.values());
  }

  async #submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
    this.#check(spec);
    const folder = this.#folder(spec.key);
    const intent = readIntent(folder) ?? (await this.#reserve(spec, folder));
    if (intent.tag !== spec.tag || intent.bookingId !== spec.bookingId || intent.attempt !== spec.attempt) {
      throw new ProviderError('invalid', `conflict: the job ${spec.key} is another attempt's`);
    }
    if (readClaim(folder) === undefined) await this.#start(spec, folder, signal);
    return handleOf(intent);
  }

  /** Only one claim can ever hold, so that an attempt starts once at most. What cannot be started is taken back: it had no effect. */
  async #start(spec: AttemptSpec, folder: string, signal: AbortSignal): Promise<void> {
    try {
      if (spec.workdir !== undefined) await placeWorkdir(folder, spec.workdir, signal);
      await startWrapper(folder, this.#settings.path, signal);
    } catch (error) {
      if (!(await withdraw(folder))) return;
      const { code, message } =
        error instanceof ProviderError ? error : { code: 'transient' as const, message: String(error) };
      throw new ProviderError(code, message, { cause: error });
    }
  }

  /** Takes back what a Merit that died between intent and start left behind, so that it neither holds room nor starts late. */
  async withdrawLeftovers(): Promise<void> {
    for (const key of await this.#keys()) {
      if (this.#root.inFlight.has(key)) continue;
      const folder = this.#folder(key);
      if (readIntent(folder) !== undefined && readClaim(folder) === undefined) await withdraw(folder);
    }
    for (const name of await readdir(this.#settings.root))
      if (name.startsWith(WITHDRAWN_PREFIX)) await removeFolder(join(this.#settings.root, name));
  }

  /** Finds room and writes the intent down, which holds it. Throws ProviderError `no_capacity`. */
  #reserve(spec: AttemptSpec, folder: string): Promise<Intent> {
    const work = this.#root.reserving
      .catch(() => {})
      .then(async () => {
        const { gpuMilli, cpuMilli, memoryBytes } = amountsOf(spec);
        const held = await this.#held();
        const cpuMilliHeld = held.reduce((all, one) => all + one.cpuMilli, 0n);
        const gpus = assignGpus(gpuMilli, gpuUse(this.#settings.gpus, held));
        if (gpus === undefined || cpuMilliHeld + cpuMilli > this.#settings.cpuMilli) {
          throw new ProviderError(
            'no_capacity',
            `${gpuMilli} milli-GPU and ${cpuMilli} milli-CPU are not free on this machine`,
          );
        }
        const { stopGraceMs, logLimitBytes, niceness } = this.#settings;
        const { key, tag, bookingId, attempt, entrypoint, env, leaseMs } = spec;
        const amounts = {
          gpuMilli: String(gpuMilli),
          cpuMilli: String(cpuMilli),
          memoryBytes: String(memoryBytes),
          gpus,
        };
        const what = { uid: randomUUID(), key, tag, bookingId, attempt, entrypoint, env, leaseMs };
        const intent: Intent = { ...what, ...amounts, stopGraceMs, logLimitBytes, niceness };
        await mkdir(folder, { recursive: true, mode: 0o700 });
        return writeIntent(folder, intent) ? intent : (readIntent(folder) ?? intent);
      });
    this.#root.reserving = work;
    return work;
  }

  #check(spec: AttemptSpec): void {
    checkAttempt(spec);
    const { gpuMilli, cpuMilli } = amountsOf(spec);
    const { flavour, gpus } = this.#settings;
    if (spec.flavour !== flavour) throw new ProviderError('invalid', `this pool has no flavour ${spec.flavour}`);
    if (gpuMilli > BigInt(gpus) * 1000n || cpuMilli > this.#settings.cpuMilli) {
      throw new ProviderError(
        'no_capacity',
        `this machine could never hold ${gpuMilli} milli-GPU and ${cpuMilli} milli-CPU`,
      );
    }
  }

  /** What live attempts hold, those on their way too. */
  async #held(): Promise<
    readonly { readonly gpuMilli: bigint; readonly cpuMilli: bigint; readonly gpus: readonly number[] }[]
  > {
    const held = [];
    for (const key of await this.#keys()) {
      if (this.#root.ended.has(key)) continue;
      const found = await this.#look(key);
      if (found.state === 'none' || found.state === 'ended') continue;
      const { gpuMilli, cpuMilli, gpus } = found.intent;
      held.push({ gpuMilli: BigInt(gpuMilli), cpuMilli: BigInt(cpuMilli), gpus });
    }
    return held;
  }

  async #look(key: string): Promise<JobState> {
    const found = await jobState(this.#folder(key));
    if (found.state === 'ended') this.#root.ended.add(key);
    return found;
  }

  async #keys(): Promise<readonly string[]> {
    const names = await readdir(this.#settings.root).catch(() => []);
    return names.filter(isKey).sort();
  }

  #folder(key: string): string {
    checkKey(key);
    return join(this.#settings.root, key);
  }
}

export default defineProvider<LocalConfig>({
  kind: PROVIDER_KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: localConfigSchema,
  checkOptions: (options) => unknownOptions(PROVIDER_KIND, [], options),
  open: async (config, { stateDir, clock, flavours }) => {
    const [first] = flavours ?? [];
    const ofPool =
      first === undefined
        ? {}
        : { flavour: first.flavour, currency: first.currency, centsPerUnitHour: Number(first.centsPerUnitHour) };
    const settings = localSettings({ ...ofPool, ...config }, stateDir);
    await mkdir(settings.root, { recursive: true, mode: 0o700 });
    const provider = new LocalProvider(settings, clock);
    await provider.withdrawLeftovers();
    return provider;
  },
  testBackend: () => import('./test-backend.ts'),
});

/** One machine gives a job of several nodes what all of them would have. */
function amountsOf({ resources, nodes = 1 }: AttemptSpec): AttemptSpec['resources'] {
  const times = BigInt(nodes);
  return {
    gpuMilli: resources.gpuMilli * times,
    cpuMilli: resources.cpuMilli * times,
    memoryBytes: resources.memoryBytes * times,
  };
}
