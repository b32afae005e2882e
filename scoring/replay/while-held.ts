import { StaleReplay } from './shadow-database.ts';

/**
 * Does work that tells no progress, and holds the claim all the while: `hold` is called every `everyMs` of real time, which leases run in. Where it
 * throws StaleReplay the signal is aborted with that; what else it throws is tried again.
 */
export async function whileHeld<T>(
  hold: () => Promise<void>,
  everyMs: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const lost = new AbortController();
  let holding: Promise<void> | undefined;
  const timer = setInterval(() => {
    holding ??= hold()
      .catch((error: unknown) => {
        if (error instanceof StaleReplay) lost.abort(error);
      })
      .finally(() => {
        holding = undefined;
      });
  }, everyMs);
  try {
    return await work(AbortSignal.any([signal, lost.signal]));
  } finally {
    clearInterval(timer);
    await holding;
  }
}
