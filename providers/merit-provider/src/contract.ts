import type { TestBackendDefinition } from './test-backend.ts';

/**
 * The provider contract, version 1: what Merit needs of anything that runs jobs. docs/providers.md tells it in prose.
 *
 * Every verb takes an AbortSignal and honours it. A verb either returns its outcome or throws `ProviderError`, whose `code` is
 * closed. A reply that did not arrive in time, or arrived torn, is thrown as `transient` with `effect: 'unknown'`: Merit then looks
 * with `observe` before it repeats the same key.
 */
export const PROVIDER_CONTRACT_VERSION = 1;

/** What one attempt runs. Everything a provider may tell the outside about it is here; secrets never are. */
export interface AttemptSpec {
  /** `m-<bookingId>-<attempt>`, unique for ever; [A-Za-z0-9_-] only. */
  readonly key: string;
  /** Ownership tag: `list(tag)` returns every resource that carries it. One tag per Merit installation. */
  readonly tag: string;
  readonly bookingId: string;
  readonly attempt: number;
  /** A fixed command line, run by a shell on the provider: no tenant value is ever spliced into it. */
  readonly entrypoint: string;
  /** Local folder whose files the job finds in its working directory; undefined: none. */
  readonly workdir: string | undefined;
  /** Plain environment; parameters travel as JSON in MERIT_PARAMETERS. */
  readonly env: Readonly<Record<string, string>>;
  /** Of one node. */
  readonly resources: { readonly gpuMilli: bigint; readonly cpuMilli: bigint; readonly memoryBytes: bigint };
  /** Nodes that start together; absent: one. A provider that runs a job in one place gives it what all of them would have. */
  readonly nodes?: number;
  readonly flavour: string;
  /** What the job asks of one kind of provider only, by its kind: the provider checks it, and refuses what it does not know. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Max run time; the provider may enforce it, Merit does in any case. */
  readonly leaseMs: number;
}

/** What the provider calls it. `id` finds it again; `uid` tells two things of the same id apart, where the provider can. */
export interface Handle {
  readonly provider: string;
  readonly id: string;
  readonly uid: string | undefined;
}

/** What an attempt uses: whole numbers, none below 0; a member that the backend does not tell is left out. */
export interface Usage {
  /** CPU time of all its processes since it began. */
  readonly cpuMs?: number;
  /** What its processes hold now. */
  readonly memoryBytes?: number;
  /** How busy its GPUs are: 1000 is one that never stands still. */
  readonly gpuMilli?: number;
  readonly gpuMemoryBytes?: number;
}

export type EndOutcome = 'succeeded' | 'failed' | 'stopped' | 'preempted';

/** `absent`: not to be seen, which says something only once the consistency window is over; `unknown-status`: a word never used before. */
export type Observation =
  | { readonly state: 'pending'; readonly handle: Handle; readonly message: string }
  | { readonly state: 'running'; readonly handle: Handle; readonly startedAtMs: number | undefined }
  | {
      readonly state: 'ended';
      readonly handle: Handle;
      readonly outcome: EndOutcome;
      readonly exitCode: number | undefined;
      /** At most 4 KiB, control characters removed. */
      readonly message: string;
      readonly startedAtMs: number | undefined;
      readonly endedAtMs: number | undefined;
    }
  /** `certain`: what held it is gone for good and nothing of it runs, so that no doubt is left, however many are gone at once. */
  | { readonly state: 'absent'; readonly certain?: true }
  | { readonly state: 'unknown-status'; readonly handle: Handle; readonly word: string };

export interface Owned {
  readonly key: string;
  readonly handle: Handle;
  readonly live: boolean;
}

export interface FlavourCapacity {
  readonly flavour: string;
  readonly totalGpuMilli: bigint;
  readonly freeGpuMilli: bigint;
  readonly totalCpuMilli: bigint;
  readonly freeCpuMilli: bigint;
}

export interface Offer {
  readonly flavour: string;
  readonly spot: boolean;
  readonly currency: string;
  /** Cents per GPU-hour (or CPU-hour where the flavour has no GPU). */
  readonly centsPerUnitHour: bigint;
}

/** What a provider can do beyond its verbs: values to look at, never methods that throw. */
export interface Capabilities {
  readonly migrate: boolean;
  readonly spot: boolean;
  readonly topology: boolean;
  readonly reserve: boolean;
  readonly logs: boolean;
  readonly resize: boolean;
}

export const CAPABILITY_NAMES = ['migrate', 'spot', 'topology', 'reserve', 'logs', 'resize'] as const;

export interface Verbs {
  /** What the backend has and what of it is free now. Empty: it does not say. */
  capacity(signal: AbortSignal): Promise<readonly FlavourCapacity[]>;
  offers(signal: AbortSignal): Promise<readonly Offer[]>;
  /** Idempotent by `spec.key`: a second submit of a key returns the first one's handle, never a second resource. */
  submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle>;
  /**
   * The state of the attempt with this key, found without a handle (its reply may have been lost). `known` is its handle, where Merit has
   * it: it may tell a backend that was born anew from one that forgot.
   */
  observe(key: string, signal: AbortSignal, known?: Handle): Promise<Observation>;
  /** Asks the attempt to end by itself (notice, checkpoint). Unknown or ended key: returns silently. */
  drain(key: string, deadlineMs: number, signal: AbortSignal): Promise<void>;
  /** Ends it and frees what it holds. Unknown or ended key: returns silently. Returns once nothing of it runs, or throws. */
  release(key: string, signal: AbortSignal): Promise<void>;
  /** Every resource with this tag, all pages, live or not. */
  list(tag: string, signal: AbortSignal): Promise<readonly Owned[]>;
  /** The log from a byte offset; at most `maxBytes`. Empty when there is no more now. Unknown key: `not_found`. */
  logs(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** The names of the verbs, `close` and `extend` besides. */
export const VERB_NAMES = ['capacity', 'offers', 'submit', 'observe', 'drain', 'release', 'list', 'logs'] as const;

/** A window is a whole number of milliseconds up to this: Merit holds capacity for a lost reply at most so long. */
export const WINDOW_LIMIT_MS = 600_000;

/** Of the word of an `unknown-status`, in characters. */
export const WORD_LIMIT = 64;

export const KIND_FORM = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export interface Provider extends Verbs {
  readonly kind: string;
  readonly contractVersion: typeof PROVIDER_CONTRACT_VERSION;
  readonly capabilities: Capabilities;
  /** How long after an accepted submit a look may still miss it. Ray and local 0, others 60 000. */
  readonly consistencyWindowMs: number;
  /**
   * The attempt's lease is this long now, counted as that of its submit. Unknown or ended key: returns silently. Absent: the provider ends
   * nothing by its lease.
   */
  extend?(key: string, leaseMs: number, signal: AbortSignal): Promise<void>;
  /**
   * What the attempt uses now; of one that has ended, what it used in all, where that is known. undefined: it is not. Asked every 10 s of what
   * runs, and once at the end; whatever it throws costs a reading and no more. Absent: the provider tells nothing of the kind.
   */
  usage?(key: string, signal: AbortSignal): Promise<Usage | undefined>;
  /** Lets go of connections and timers; ends nothing that runs. */
  close(): Promise<void>;
}

/** Time as Merit, or a test of the provider, gives it. */
export interface ProviderClock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Ends early, without an error, when the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** What Merit gives a provider besides its own config. */
export interface OpenContext {
  /** A folder of the provider's own, which outlives restarts. */
  readonly stateDir: string;
  /** To wait by. Calls over a network are bounded by the verb's signal instead. */
  readonly clock: ProviderClock;
  /** The pool's flavours with their prices, in its order; a provider's config may say more of them, by the same names. */
  readonly flavours?: readonly PoolFlavour[];
}

export type PoolFlavour = Offer & { readonly resource: 'gpu' | 'cpu' };

/** What is wrong in a job's options of one kind. */
export interface OptionProblem {
  /** As it stands in the job's file: `options.acme.queue`. */
  readonly field: string;
  readonly problem: string;
  /** What to write instead. */
  readonly mend: string;
}

/** A provider package's default export: `export default defineProvider({ kind, contractVersion: 1, … })`. */
export interface ProviderDefinition<Config> {
  /** a-z, 0-9 and inner dashes; what handles name. */
  readonly kind: string;
  /** The version that the package was written for: a literal, not the constant of whatever it meets when it runs. */
  readonly contractVersion: typeof PROVIDER_CONTRACT_VERSION;
  /** The most that it can do; one that is open may do less. */
  readonly capabilities: Capabilities;
  /** JSON Schema of `config` in the pool file. */
  readonly configSchema: object;
  /**
   * All that is wrong with a job's `options` of this kind, as they were written: asked before the job is booked, so that a typo is told to
   * whoever made it. Knows nothing but the options; `submit` checks them all the same. Absent: it is told when the job is tried.
   */
  readonly checkOptions?: (options: unknown) => readonly OptionProblem[];
  /** Touches no network: Merit starts while a backend is away. */
  open(config: Config, context: OpenContext): Promise<Provider>;
  /** A backend that the conformance kit can drive, imported when it does. */
  readonly testBackend?: () => Promise<{ readonly default: TestBackendDefinition }>;
}

export function defineProvider<Config>(definition: ProviderDefinition<Config>): ProviderDefinition<Config> {
  return Object.freeze(definition);
}
