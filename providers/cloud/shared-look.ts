import { type ProviderClock, ProviderError } from '../provider.ts';
import { untilAborted } from './until-aborted.ts';

interface Run<T> {
  readonly result: Promise<T>;
  readonly stop: AbortController;
  waiters: number;
}

/**
 * One answer for all who ask within a while: clouds throttle an account, and Merit asks of each running job once a second. Whoever asks while it is being
 * read waits for that reading, which ends early once nobody waits any more.
 */
export class SharedLook<T> {
  readonly #read: (signal: AbortSignal) => Promise<T>;
  readonly #doing: string;
  readonly #freshMs: number;
  readonly #clock: Pick<ProviderClock, 'now'>;
  #kept: { readonly value: T; readonly askedAtMs: number } | undefined;
  #run: Run<T> | undefined;

  constructor(
    read: (signal: AbortSignal) => Promise<T>,
    {
      doing,
      freshMs,
      clock,
    }: { readonly doing: string; readonly freshMs: number; readonly clock: Pick<ProviderClock, 'now'> },
  ) {
    this.#read = read;
    this.#doing = doing;
    this.#freshMs = freshMs;
    this.#clock = clock;
  }

  /** What was asked for at most `freshMs` ago. */
  async get(signal: AbortSignal): Promise<T> {
    if (signal.aborted) throw new ProviderError('transient', `stopped before ${this.#doing}`);
    const kept = this.#kept;
    if (kept !== undefined && Math.abs(this.#clock.now() - kept.askedAtMs) < this.#freshMs) return kept.value;
    this.#run ??= this.#begin();
    const run = this.#run;
    run.waiters++;
    try {
      return await untilAborted(run.result, signal, this.#doing);
    } finally {
      if (--run.waiters === 0) run.stop.abort();
      if (this.#run === run && run.stop.signal.aborted) this.#run = undefined;
    }
  }

  /** What was read, or is being read now, is not what there is any more. */
  forget(): void {
    this.#kept = undefined;
    this.#run = undefined;
  }

  #begin(): Run<T> {
    const askedAtMs = this.#clock.now();
    const stop = new AbortController();
    const result = this.#read(stop.signal);
    const run: Run<T> = { result, stop, waiters: 0 };
    result.then(
      (value) => {
        if (this.#run !== run) return;
        this.#kept = { value, askedAtMs };
        this.#run = undefined;
      },
      () => {
        if (this.#run === run) this.#run = undefined;
      },
    );
    return run;
  }
}
