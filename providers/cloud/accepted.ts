import type { Handle, ProviderClock } from '../provider.ts';
import type { Owner } from './owner.ts';

/** Attempts that a service took from this process, of 400 bytes each; the oldest are forgotten. */
const ACCEPTED_LIMIT = 10_000;

interface Taken {
  readonly owner: Owner;
  readonly handle: Handle;
  readonly atMs: number;
}

/** What this process has seen to be taken: for a while a service may hold a job of which it tells nothing yet. */
export class Accepted {
  readonly #clock: Pick<ProviderClock, 'now'>;
  readonly #taken = new Map<string, Taken>();

  constructor(clock: Pick<ProviderClock, 'now'>) {
    this.#clock = clock;
  }

  add(key: string, owner: Owner, handle: Handle): void {
    this.#taken.set(key, { owner, handle, atMs: this.#clock.now() });
    if (this.#taken.size <= ACCEPTED_LIMIT) return;
    for (const oldest of this.#taken.keys()) return void this.#taken.delete(oldest);
  }

  /** Within so long after it was taken. */
  get(key: string, withinMs: number): Taken | undefined {
    const taken = this.#taken.get(key);
    return taken !== undefined && this.#clock.now() - taken.atMs < withinMs ? taken : undefined;
  }
}
