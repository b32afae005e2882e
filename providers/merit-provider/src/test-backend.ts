import type { PoolFlavour, ProviderClock } from './contract.ts';

/**
 * A backend that the conformance kit can drive: a simulator of the service, or the real one with whatever faults it can be made to
 * show. Every method after `close` is optional; a check that needs one which is not there is reported as not exercised.
 */
export interface TestBackend {
  /** Given to `open`. */
  readonly config: unknown;
  /** What the kit's jobs ask for; absent: flavour `default`, 0.1 CPU. It has to fit `JOBS_AT_ONCE` times. */
  readonly flavour?: PoolFlavour;
  readonly gpuMilli?: bigint;
  readonly cpuMilli?: bigint;
  close(): Promise<void>;

  /** How many live things it holds for this key, by its own account. */
  live?(key: string): number | Promise<number>;
  /** Most entries in one page of a list; the kit submits a few more. */
  readonly pageSize?: number;

  /** The next submit takes effect, and the connection is cut before its reply. */
  loseReply?(): void;
  /** The next submit takes effect, and its reply does not come. */
  stallReply?(): void;
  /** The next submit takes effect, and its reply is no answer at all: cut, or not what the protocol says. */
  tearReply?(): void;

  // What follows holds until `heal`.
  /** No call is answered, and none takes effect. */
  hang?(): void;
  /** Nothing listens. */
  goAway?(): void | Promise<void>;
  /** Every call is refused as one that is wrong, with this text. */
  refuse?(text: string): void;
  /** Every call is refused for this long: come back later. */
  throttle?(retryAfterMs: number): void;
  /** The credentials it took so far are no longer good. */
  expireAuth?(): void;
  /** There is no machine for another job, now. */
  denyCapacity?(): void | Promise<void>;
  /** The account may not have another job. */
  denyQuota?(): void | Promise<void>;
  /** For so long after it was submitted, a job shows in no look and no list. */
  hideNew?(forMs: number): void;
  /** A job waits so long before it runs. */
  slowStart?(ms: number): void;
  /** A list breaks off after its first page. */
  tearList?(): void;
  /** Jobs are shown in a state that has this name. */
  showStatus?(word: string): void;
  /** Its clock is off by so much from now on. */
  skewClock?(ms: number): void;
  /** Ends every fault that holds. Needed with any of them. */
  heal?(): void | Promise<void>;

  /** Makes a running thing of somebody else's whose name is this key. */
  plantForeign?(key: string): void | Promise<void>;
  /** Takes the capacity of a running job back. */
  preempt?(key: string): void | Promise<void>;
  /** Forgets a job, and its log, as if it had never been. */
  forget?(key: string): void | Promise<void>;
}

/** How many jobs of the kit run at once, but for a list of more than one page. */
export const JOBS_AT_ONCE = 8;

/** The default export of the module that `testBackend` imports. */
export interface TestBackendDefinition {
  /**
   * `virtual`: time is the clock that `start` is given, which jumps to the next sleeper's time; nothing may be timed by another.
   * `real`: jobs are real ones, and the kit waits as long as they take.
   */
  readonly time: 'virtual' | 'real';
  /** Fresh for each check. `stateDir` is an empty folder, removed afterwards. */
  start(context: { readonly clock: ProviderClock; readonly stateDir: string }): Promise<TestBackend>;
}

export function defineTestBackend(definition: TestBackendDefinition): TestBackendDefinition {
  return Object.freeze(definition);
}
