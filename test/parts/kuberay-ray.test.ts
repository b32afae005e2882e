import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import kubeRay from '../../providers/kuberay/adapter.ts';
import type { AttemptSpec, Observation, Provider } from '../../providers/provider.ts';
import { type AnyDefinition, openProvider } from '../../providers/registry.ts';
import { RealRayGate } from '../support/kuberay/real-ray-gate.ts';
import { KubeRayWorld } from '../support/kuberay/world.ts';
import { rayForTests, rayMissing, type TestRay } from '../support/ray.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { kubeApiserver } from './kube-apiserver.ts';
import { kubeControllerManager } from './kube-controller-manager.ts';
import { kuberayOperator } from './kuberay-operator.ts';

const missing = partMissing(kuberayOperator) ?? partMissing(kubeControllerManager) ?? rayMissing();
const POLL = { timeout: 300_000, interval: 500 };
/** Prints what it found, then whether Ray unpacked what may be executed as such. */
const PROGRAM = `
import os
print(open('data.txt').read(), os.environ['WORD'], os.access('data.txt', os.X_OK))
`;

describe.skipIf(missing !== undefined)(`RayJobs on a real Ray${missing === undefined ? '' : ` (${missing})`}`, () => {
  let ray: TestRay;
  let world: KubeRayWorld;
  let gate: RealRayGate;
  let provider: Provider;
  let workdir: string;
  beforeAll(async () => {
    await sharedPart(kubeControllerManager);
    const facts = { api: await sharedPart(kubeApiserver), operator: await sharedPart(kuberayOperator) };
    ray = await rayForTests();
    world = await new KubeRayWorld(facts).start();
    world.pods.binds = true;
    gate = await new RealRayGate(world, ray).listen();
    await world.route(gate.url);
    workdir = await mkdtemp(join(tmpdir(), 'merit-kuberay-ray-'));
    await writeFile(join(workdir, 'data.txt'), 'from the workdir', { mode: 0o755 });
    await writeFile(join(workdir, 'main.py'), PROGRAM);
    const config = world.config({ dashboards: `${gate.url}/{namespace}/{service}`, stopGraceSeconds: 60 });
    const context = { stateDir: tmpdir(), clock: systemClock };
    provider = await openProvider(kubeRay as unknown as AnyDefinition, config, context);
  }, 900_000);
  afterAll(async () => {
    await provider?.close();
    await gate?.close();
    await world?.close();
    await ray?.stop();
    if (workdir !== undefined) await rm(workdir, { recursive: true });
  }, 300_000);

  const signal = () => AbortSignal.timeout(300_000);
  const submit = async (bookingId: string, more: Partial<AttemptSpec>): Promise<string> => {
    // A Ray that others use, too, may have had the other.
    const key = `m-${bookingId}-${randomBytes(4).toString('hex')}-1`;
    const spec = { ...SPEC, key, bookingId, ...more };
    await provider.submit(spec, signal());
    return spec.key;
  };
  const seen = (key: string, state: Observation['state']) =>
    expect.poll(() => provider.observe(key, signal()), POLL).toMatchObject({ state });
  const log = async (key: string) => Buffer.from(await provider.logs(key, 0, 100_000, signal())).toString();

  test('a job finds its workdir and its environment, a gang its ranks, and a notice leaves time to save', async () => {
    const notice = `trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.2; done`;
    const one = await submit('one', { entrypoint: 'python main.py; exit 3', workdir, env: { WORD: '"$HOME"' } });
    const gang = await submit('gang', {
      entrypoint: 'echo "$MERIT_NODE_RANK of $MERIT_NUM_NODES"; cat data.txt',
      workdir,
      nodes: 2,
    });
    const long = await submit('long', { entrypoint: notice });
    await expect.poll(() => log(long).catch(() => ''), POLL).toContain('ready');
    await provider.drain(long, 0, signal());
    for (const key of [one, gang, long]) await seen(key, 'ended');
    expect(await provider.observe(one, signal())).toMatchObject({ outcome: 'failed', exitCode: 3 });
    // Ray's own lines stand among them.
    expect((await log(one)).split('\n')).toContain('from the workdir "$HOME" True');
    expect(await provider.observe(gang, signal())).toMatchObject({ outcome: 'succeeded', exitCode: 0 });
    const lines = (await log(gang)).split('\n');
    for (const rank of [0, 1])
      expect(lines).toEqual(expect.arrayContaining([`(rank ${rank}) ${rank} of 2`, `(rank ${rank}) from the workdir`]));
    expect(await provider.observe(long, signal())).toMatchObject({ outcome: 'stopped' });
    expect((await log(long)).split('\n')).toEqual(expect.arrayContaining(['ready', 'saved']));
    for (const key of [one, gang, long]) await provider.release(key, signal());
    expect(await world.names('rayclusters.ray.io')).toEqual([]);
  }, 900_000);
});

const SPEC: AttemptSpec = {
  key: '',
  tag: 'here',
  bookingId: '',
  attempt: 1,
  entrypoint: '',
  workdir: undefined,
  env: {},
  resources: { gpuMilli: 0n, cpuMilli: 500n, memoryBytes: 0n },
  flavour: 'cpu',
  leaseMs: 900_000,
};
