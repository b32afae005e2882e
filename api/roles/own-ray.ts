import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import type { Clock } from '../../platform/clock.ts';
import { forgetPart, isAlive, processStart, recordPart } from '../../platform/processes.ts';
import { type LocalCluster, startLocalCluster } from '../../providers/ray/local-cluster.ts';
import type { Log } from '../../scheduler/apply/context.ts';

/** The Ray that Merit starts for itself; a pool `provider: {kind: ray}` without config means it. */
export interface OwnRayAddress {
  readonly address: string;
  readonly tokenFile: string;
}

export interface OwnRay {
  /** Its address once it answers; until then, and where it cannot be had, why not. */
  state(): OwnRayAddress | { readonly missing: string };
  stop(): Promise<void>;
}

/** No Ray: every pool that names it says why. */
export function noRay(missing: string): OwnRay {
  return { state: () => ({ missing }), stop: async () => {} };
}

/** How often it is looked whether the cluster still runs, and how long a start that failed waits for the next try. */
const WATCH_MS = 2_000;
const RESTART_MS = 15_000;

/**
 * Starts (or adopts) the cluster without holding the server up: it takes 10–20 s, the server is ready in one or two. A cluster that dies is
 * started again; its jobs are then lost, which the bookings find out for themselves.
 */
export function startOwnRay(options: {
  readonly stateDir: string;
  readonly python: string;
  readonly clock: Clock;
  readonly log: Log;
}): OwnRay {
  const { stateDir, python, clock, log } = options;
  let state: OwnRayAddress | { readonly missing: string } = { missing: 'Merit’s own Ray is still starting' };
  let cluster: LocalCluster | undefined;
  const stopping = new AbortController();
  const start = async (): Promise<void> => {
    cluster = await startLocalCluster({
      venvDir: dirname(dirname(python)),
      stateDir: join(stateDir, 'ray'),
      numCpus: Math.max(2, availableParallelism()),
      fakeGpus: 0,
    });
    recordPart(stateDir, { name: 'ray', pid: cluster.pid, group: true });
    state = { address: cluster.address, tokenFile: cluster.tokenFile };
    log.info({ address: cluster.address, adopted: cluster.adopted }, 'Ray answers');
  };
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await start();
        const { pid } = cluster as LocalCluster;
        const startTime = processStart(pid);
        while (startTime !== undefined && isAlive(pid, startTime)) {
          await clock.sleep(WATCH_MS, stopping.signal);
          if (stopping.signal.aborted) return;
        }
        state = { missing: 'Merit’s own Ray ended and is being started again' };
        log.error({ pid }, 'Ray ended by itself; it is started again');
        forgetPart(stateDir, pid);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        state = { missing: `Merit’s own Ray did not start: ${why}` };
        if (!stopping.signal.aborted) log.error({ error: why }, 'Ray did not start; it is tried again');
        await clock.sleep(RESTART_MS, stopping.signal);
      }
    }
  };
  const running = run();
  return {
    state: () => state,
    stop: async () => {
      stopping.abort();
      await running;
      if (cluster === undefined) return;
      state = { missing: 'Merit’s own Ray was stopped' };
      await cluster.stop();
      forgetPart(stateDir, cluster.pid);
    },
  };
}
