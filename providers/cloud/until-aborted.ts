import { ProviderError } from '../provider.ts';

/** For work that has no signal of its own: what it still does after this has to harm nobody. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal, doing: string): Promise<T> {
  let stop = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(new ProviderError('transient', `stopped while ${doing}`));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
