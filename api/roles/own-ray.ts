import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { forgetPart, recordPart } from '../../platform/processes.ts';
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
  /** Resolves when it answers or has failed; never throws. */
  readonly settled: Promise<void>;
  stop(): Promise<void>;
}

/** No Ray: every pool that names it says why. */
export function noRay(missing: string): OwnRay {
  return { state: () => ({ missing }), settled: Promise.resolve(), stop: async () => {} };
}

/** Starts (or adopts) the cluster without holding the server up: it takes 10–20 s, the server is ready in one or two. */
export function startOwnRay(options: {
  readonly stateDir: string;
  readonly python: string;
  readonly log: Log;
}): OwnRay {
  const { stateDir, python, log } = options;
  let state: OwnRayAddress | { readonly missing: string } = { missing: 'Merit’s own Ray is still starting' };
  let cluster: LocalCluster | undefined;
  let stopping = false;
  const settled = (async () => {
    try {
      cluster = await startLocalCluster({
        venvDir: dirname(dirname(python)),
        stateDir: join(stateDir, 'ray'),
        numCpus: Math.max(2, availableParallelism()),
        fakeGpus: 0,
      });
      recordPart(stateDir, { name: 'ray', pid: cluster.pid, group: true });
      state = { address: cluster.address, tokenFile: cluster.tokenFile };
      log.info({ address: cluster.address, adopted: cluster.adopted }, 'Ray answers');
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      state = { missing: `Merit’s own Ray did not start: ${why}` };
      if (!stopping) log.error({ error: why }, 'Ray did not start');
    }
  })();
  return {
    state: () => state,
    settled,
    stop: async () => {
      stopping = true;
      await settled;
      if (cluster === undefined) return;
      state = { missing: 'Merit’s own Ray was stopped' };
      await cluster.stop();
      forgetPart(stateDir, cluster.pid);
    },
  };
}
