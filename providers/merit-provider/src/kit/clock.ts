import type { ProviderClock } from '../contract.ts';

/** Between two steps of virtual time what is under way may go on. */
const STEP_REAL_MS = 1;
/** A fixed beginning, so that nothing depends on when the kit runs. */
const BEGINNING_MS = Date.UTC(2027, 0, 1);
const LONGEST_TIMER_MS = 2 ** 31 - 1;

interface Sleeper {
  readonly dueMs: number;
  wake(): void;
}

/** Time that stands still while anybody works, and jumps to the next sleeper's hour once somebody sleeps: 45 s pass in a millisecond. */
export class VirtualClock implements ProviderClock {
  #nowMs = BEGINNING_MS;
  readonly #sleepers = new Set<Sleeper>();
  #step: NodeJS.Timeout | undefined;

  now(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper: Sleeper = {
        dueMs: this.#nowMs + Math.max(0, ms),
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal?.removeEventListener('abort', sleeper.wake);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', sleeper.wake, { once: true });
      this.#step ??= setTimeout(() => this.#jump(), STEP_REAL_MS);
    });
  }

  #jump(): void {
    this.#step = undefined;
    if (this.#sleepers.size === 0) return;
    this.#nowMs = Math.max(this.#nowMs, Math.min(...[...this.#sleepers].map((one) => one.dueMs)));
    for (const sleeper of [...this.#sleepers]) if (sleeper.dueMs <= this.#nowMs) sleeper.wake();
    if (this.#sleepers.size > 0) this.#step = setTimeout(() => this.#jump(), STEP_REAL_MS);
  }
}

export const realClock: ProviderClock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(ms, LONGEST_TIMER_MS));
      signal?.addEventListener('abort', done, { once: true });
    }),
};
