import { AsyncLocalStorage, createHook } from 'node:async_hooks';

/** Timers that some work has set and that keep the process alive; those that others set meanwhile are not among them. */
export interface OwnTimers {
  /** How many are set now. */
  count(): number;
  /** Watches no longer. */
  stop(): void;
}

export async function watchTimers(work: () => Promise<void>): Promise<OwnTimers> {
  const within = new AsyncLocalStorage<true>();
  const timers = new Map<number, NodeJS.Timeout>();
  const hook = createHook({
    init(id, type, _trigger, resource) {
      if (type === 'Timeout' && within.getStore() === true) timers.set(id, resource as NodeJS.Timeout);
    },
    destroy(id) {
      timers.delete(id);
    },
  }).enable();
  try {
    await within.run(true, work);
    return {
      count: () => [...timers.values()].filter((timer) => timer.hasRef()).length,
      stop: () => void hook.disable(),
    };
  } catch (error) {
    hook.disable();
    throw error;
  }
}
