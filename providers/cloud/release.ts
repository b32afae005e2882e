import { type ProviderClock, ProviderError } from '../provider.ts';

/** Services kill a job some time after its SIGTERM and may then still upload; a look each so often is far below their throttles. */
const LOOK_EVERY_MS = 5_000;
/** Then Merit is told, and asks anew. */
const PATIENCE_MS = 600_000;

/**
 * Stops the job and returns once nothing of it runs: `stopOnce` tells whether anything still does. Throws ProviderError `transient`, effect unknown, where
 * that takes too long.
 */
export async function releaseJob(
  service: string,
  key: string,
  stopOnce: () => Promise<boolean>,
  clock: ProviderClock,
  signal: AbortSignal,
): Promise<void> {
  const limitMs = clock.now() + PATIENCE_MS;
  while (await stopOnce()) {
    if (clock.now() >= limitMs)
      throw new ProviderError('transient', `${service} still stops ${key}`, { effect: 'unknown' });
    await clock.sleep(LOOK_EVERY_MS, signal);
    if (signal.aborted) throw new ProviderError('transient', `${key} is being stopped`, { effect: 'unknown' });
  }
}
