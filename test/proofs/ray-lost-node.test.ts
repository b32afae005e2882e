import { afterAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { type Observation, type Provider, ProviderError } from '../../providers/provider.ts';
import { openRayProvider } from '../../providers/ray/adapter.ts';
import { rayInstallMissing } from '../support/python.ts';
import { type RayCluster, type RayMachine, startRayCluster } from '../support/ray-nodes.ts';

const missing = rayInstallMissing();
const signal = new AbortController().signal;
const TAG = 'lost-node';

describe.skipIf(missing !== undefined)(
  `a node of a real Ray that is lost${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    const closers: (() => Promise<unknown>)[] = [];
    afterAll(async () => {
      for (const close of closers.toReversed()) await close();
    });

    test('takes its jobs with it, whatever Ray says of them: that they run, that there is no supervisor, or that it died', async () => {
      const cluster = await startRayCluster(1);
      closers.push(() => cluster.close());
      const [sudden, slow] = [await cluster.addNode(), await cluster.addNode()];
      const provider = await openRayProvider(configFor(cluster, { sudden, slow }), systemClock);
      closers.push(() => provider.close());
      const [onSudden, onSlow] = [await running(provider, 'sudden'), await running(provider, 'slow')];

      // Nobody is left who would tell Ray's table that the job ended.
      const thaw = await cluster.freezeHeadAgent();
      closers.push(() => thaw().catch(() => {}));
      await sudden.kill();
      expect(await end(provider, onSudden)).toMatchObject({
        outcome: 'preempted',
        message: expect.stringContaining("the job's node has died; Ray says RUNNING"),
      });
      expect((await provider.list(TAG, signal)).filter(({ live }) => live).map(({ key }) => key)).toEqual([onSlow]);
      await provider.release(onSudden, signal);

      // The agent of a node begins to watch all jobs once it is asked for a log: of this one it finds nothing.
      await cluster.client.logs(onSlow);
      await until(async () => (await cluster.client.get(onSudden)).status === 'FAILED');
      expect(await cluster.client.get(onSudden)).toMatchObject({ errorType: 'JOB_SUPERVISOR_ACTOR_START_FAILURE' });
      expect(await end(provider, onSudden)).toMatchObject({ outcome: 'preempted' });

      await thaw();
      await slow.killSupervisors();
      await until(async () => (await cluster.client.get(onSlow)).status === 'FAILED');
      expect((await cluster.client.get(onSlow)).message).not.toMatch(/node has died/);
      await slow.kill();
      expect(await end(provider, onSlow)).toMatchObject({
        outcome: 'preempted',
        message: expect.stringContaining("the job's node has died; Ray says FAILED"),
      });
    }, 600_000);
  },
);

/** A flavour for each node, by its name. */
function configFor(cluster: RayCluster, nodes: Readonly<Record<string, RayMachine>>) {
  const { address, tokenFile } = cluster;
  const flavours = Object.entries(nodes).map(([name, { nodeId }]) => ({ name, labels: { 'ray.io/node-id': nodeId } }));
  return { address, tokenFile, flavours, nodeGivesUpSeconds: 0, stopGraceSeconds: 1 };
}

/** The key of a job that runs there until it is ended. */
async function running(provider: Provider, flavour: string): Promise<string> {
  const key = `m-${flavour}${Date.now().toString(36)}-1`;
  await provider.submit(
    {
      key,
      tag: TAG,
      bookingId: key.slice(2, -2),
      attempt: 1,
      entrypoint: 'sleep 1000',
      workdir: undefined,
      env: {},
      resources: { gpuMilli: 0n, cpuMilli: 500n, memoryBytes: 0n },
      flavour,
      leaseMs: 600_000,
    },
    signal,
  );
  await until(async () => (await provider.observe(key, signal)).state === 'running');
  return key;
}

async function end(provider: Provider, key: string): Promise<Observation> {
  let seen: Observation | undefined;
  await until(async () => {
    seen = await provider.observe(key, signal);
    return seen.state === 'ended';
  });
  return seen as Observation;
}

async function until(done: () => Promise<boolean>): Promise<void> {
  for (;;) {
    try {
      if (await done()) return;
    } catch (error) {
      if (!(error instanceof ProviderError && error.code === 'transient')) throw error;
    }
    await systemClock.sleep(500);
  }
}
