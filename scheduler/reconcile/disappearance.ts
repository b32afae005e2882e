/** More than this part of what runs in a pool missing at once: its provider is in doubt, not its jobs. */
export const MASS_DISAPPEARANCE = 0.2;
/** Fewer than this cannot be told from bad luck. */
export const MASS_MINIMUM = 5;

/** True where so much disappeared at once that nothing is concluded from it. Pure. */
export function isMassDisappearance(missing: number, running: number): boolean {
  return missing >= MASS_MINIMUM && missing > running * MASS_DISAPPEARANCE;
}

/** A job that was missing this long ago counts towards what is missing now. */
const REMEMBERED_MS = 60_000;
/** A job has to be missing in two looks at least this far apart. */
const SETTLE_MS = 2_000;

/**
 * What each pool's provider no longer knows. A single job that is gone is lost; a fifth of them gone within a minute is an answer that is not
 * believed: nothing is released, requeued or billed to its end until the provider knows them again, or so few are missing that they are believed.
 */
export class Disappearances {
  readonly #pools = new Map<string, Map<string, { readonly firstMs: number; lastMs: number }>>();

  /** The provider knows it. */
  seen(pool: string, key: string): void {
    const missing = this.#pools.get(pool);
    if (missing?.delete(key) === true && missing.size === 0) this.#pools.delete(pool);
  }

  /** The provider does not know it, `running` are thought to run there: whether it is lost, to be looked at again, or one of too many. */
  missing(pool: string, key: string, running: number, nowMs: number): 'lost' | 'look_again' | 'halted' {
    const missing = this.#pools.get(pool) ?? new Map<string, { readonly firstMs: number; lastMs: number }>();
    this.#pools.set(pool, missing);
    for (const [other, { lastMs }] of missing) if (nowMs - lastMs > REMEMBERED_MS) missing.delete(other);
    const entry = missing.get(key) ?? { firstMs: nowMs, lastMs: nowMs };
    entry.lastMs = nowMs;
    missing.set(key, entry);
    if (isMassDisappearance(missing.size, running)) return 'halted';
    return nowMs - entry.firstMs < SETTLE_MS ? 'look_again' : 'lost';
  }
}
