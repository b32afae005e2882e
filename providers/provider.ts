/**
 * The provider contract, version 1: what Merit needs of anything that runs jobs.
 *
 * A provider is a value made by `defineProvider`. Every verb takes an AbortSignal and honours it. A verb either returns its
 * outcome or throws `ProviderError`, whose `code` is closed. A reply that did not arrive in time, or arrived torn, is thrown as
 * `transient` with `effect: 'unknown'`: Merit then looks with `observe` before it repeats the same key.
 */
export const PROVIDER_CONTRACT_VERSION = 1;

export type ProviderErrorCode =
  | 'no_capacity'
  | 'quota_exceeded'
  | 'auth'
  | 'invalid'
  | 'transient'
  | 'preempted'
  | 'not_found';

export class ProviderError extends Error {
  override name = 'ProviderError';
  readonly code: ProviderErrorCode;
  /** none: certainly nothing happened; unknown: it may have; done: it did. */
  readonly effect: 'none' | 'unknown' | 'done';
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ProviderErrorCode,
    message: string,
    options: {
      readonly effect?: 'none' | 'unknown' | 'done';
      readonly retryAfterMs?: number;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.effect = options.effect ?? 'none';
    this.retryAfterMs = options.retryAfterMs;
  }
}

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
  /** Max run time; the provider may enforce it, Merit does in any case. */
  readonly leaseMs: number;
}

/** What the provider calls it. `id` finds it again; `uid` tells two things of the same id apart, where the provider can. */
export interface Handle {
  readonly provider: string;
  readonly id: string;
  readonly uid: string | undefined;
}

/** `absent` only after the provider's consistency window; `unknown-status` carries a word the provider never used before. */
export type Observation =
  | { readonly state: 'pending'; readonly handle: Handle; readonly message: string }
  | { readonly state: 'running'; readonly handle: Handle; readonly startedAtMs: number | undefined }
  | {
      readonly state: 'ended';
      readonly handle: Handle;
      readonly outcome: 'succeeded' | 'failed' | 'stopped' | 'preempted';
      readonly exitCode: number | undefined;
      /** At most 4 KiB, control characters removed. */
      readonly message: string;
      readonly startedAtMs: number | undefined;
      readonly endedAtMs: number | undefined;
    }
  | { readonly state: 'absent' }
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

export interface Capabilities {
  readonly migrate: boolean;
  readonly spot: boolean;
  readonly topology: boolean;
  readonly reserve: boolean;
  readonly logs: boolean;
  readonly resize: boolean;
}

export interface Verbs {
  /** What the backend has and what of it is free now. */
  capacity(signal: AbortSignal): Promise<readonly FlavourCapacity[]>;
  offers(signal: AbortSignal): Promise<readonly Offer[]>;
  /** Idempotent by `spec.key`: a second submit of a key returns the first one's handle, never a second resource. */
  submit(spec: AttemptSpec, signal: AbortSignal): Promise<Handle>;
  /** The state of the attempt with this key, found without a handle (its reply may have been lost). */
  observe(key: string, signal: AbortSignal): Promise<Observation>;
  /** Asks the attempt to end by itself (notice, checkpoint). Unknown key: returns silently. */
  drain(key: string, deadlineMs: number, signal: AbortSignal): Promise<void>;
  /** Ends it and frees what it holds. Unknown or ended key: returns silently. Returns once nothing of it runs, or throws. */
  release(key: string, signal: AbortSignal): Promise<void>;
  /** Every resource with this tag, all pages, live or not. */
  list(tag: string, signal: AbortSignal): Promise<readonly Owned[]>;
  /** The log from a byte offset; at most `maxBytes`. Empty when there is no more now. */
  logs(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
}

export interface Provider extends Verbs {
  readonly kind: string;
  readonly contractVersion: typeof PROVIDER_CONTRACT_VERSION;
  readonly capabilities: Capabilities;
  /** How long after an accepted submit a look may still miss it. Ray and local 0, others 60 000. */
  readonly consistencyWindowMs: number;
  close(): Promise<void>;
}

/** What Merit gives a provider besides its own config. */
export interface OpenContext {
  /** A folder of the provider's own, which outlives restarts. */
  readonly stateDir: string;
  /** The pool's flavours with their prices, in its order; a provider's config may say more of them, by the same names. */
  readonly flavours?: readonly PoolFlavour[];
}

export type PoolFlavour = Offer & { readonly resource: 'gpu' | 'cpu' };

/** A provider package's default export: `export default defineProvider({ kind, configSchema, open })`. */
export interface ProviderDefinition<Config> {
  readonly kind: string;
  /** JSON Schema of `config` in the pool file. */
  readonly configSchema: object;
  open(config: Config, context: OpenContext): Promise<Provider>;
}

export function defineProvider<Config>(definition: ProviderDefinition<Config>): ProviderDefinition<Config> {
  return Object.freeze(definition);
}
