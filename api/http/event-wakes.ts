import type { Clock } from '../../platform/clock.ts';

/**
 * One look for all streams of a tenant: while any is open, `head` is asked again and again, and streams that wait are woken when
 * it changed. What changes between a stream's read and its wait is not slept through: it takes a mark before it reads.
 */
export class EventWakes {
  readonly #head: (tenant: string) => Promise<string>;
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #tenants = new Map<string, Watched>();

  constructor(head: (tenant: string) => Promise<string>, clock: Clock, pollMs: number) {
    this.#head = head;
    this.#clock = clock;
    this.#pollMs = pollMs;
  }

  open(tenant: string): Watch {
    const watched = this.#tenants.get(tenant) ?? new Watched();
    if (watched.open++ === 0) {
      this.#tenants.set(tenant, watched);
      void this.#poll(tenant, watched);
    }
    return {
      mark: () => watched.changes,
      wait: (mark, ms, signal) => watched.wait(mark, ms, signal, this.#clock),
      close: () => {
        if (--watched.open > 0) return;
        this.#tenants.delete(tenant);
        watched.stop.abort();
      },
    };
  }

  async #poll(tenant: string, watched: Watched): Promise<void> {
    // Unlike any head: the first look counts as a change, since nobody knows what was before it.
    let before: string | undefined;
    while (!watched.stop.signal.aborted) {
      // Postgres is away: a stream finds that out by its own read.
      const head = await this.#head(tenant).catch(() => undefined);
      if (head !== undefined && head !== before) watched.wake();
      before = head ?? before;
      await this.#clock.sleep(this.#pollMs, watched.stop.signal);
    }
  }
}

/** One stream's share in it. */
export interface Watch {
  mark(): number;
  /** Until something changed since `mark`, `signal`, or so long. */
  wait(mark: number, ms: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

class Watched {
  open = 0;
  changes = 0;
  readonly stop = new AbortController();
  readonly #waiting = new Set<() => void>();

  wake(): void {
    this.changes++;
    for (const wake of this.#waiting) wake();
  }

  async wait(mark: number, ms: number, signal: AbortSignal, clock: Clock): Promise<void> {
    if (mark !== this.changes || signal.aborted) return;
    const early = new AbortController();
    const wake = () => early.abort();
    this.#waiting.add(wake);
    signal.addEventListener('abort', wake, { once: true });
    await clock.sleep(ms, early.signal);
    signal.removeEventListener('abort', wake);
    this.#waiting.delete(wake);
  }
}
