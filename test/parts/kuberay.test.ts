import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import kubeRay from '../../providers/kuberay/adapter.ts';
import type { KubeRayConfig } from '../../providers/kuberay/config.ts';
import { CHECK_NAMES, runKit } from '../../providers/merit-provider/src/kit/index.ts';
import type { AttemptSpec, Observation, Provider, TestBackendDefinition } from '../../providers/provider.ts';
import { type AnyDefinition, configRefusals, openProvider } from '../../providers/registry.ts';
import { kubeRayKitBackend } from '../support/kuberay/kit-backend.ts';
import { KubeRayWorld, type WorldFacts } from '../support/kuberay/world.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { kubeApiserver } from './kube-apiserver.ts';
import { kubeControllerManager } from './kube-controller-manager.ts';
import { kubeScheduler } from './kube-scheduler.ts';
import { kuberayOperator } from './kuberay-operator.ts';

const missing = [kuberayOperator, kubeControllerManager, kubeScheduler]
  .map(partMissing)
  .find((reason) => reason !== undefined);

/** What its backend cannot show, and why stands there; and the provider does not tell what jobs use. */
const NOT_HERE = [
  'usage-told',
  'capacity-denied',
  'clock-skew',
  'eventual-consistency',
  'paging',
  'partial-list',
  'release-queued',
  'slow-start',
];
/** Is told at once what nobody writes down, so that no watch can tell of it. */
const NOT_WATCHING = ['unknown-status'];
/** Of the kit, which runs four checks at once, so many at once. */
const SHARES = 3;
const required = CHECK_NAMES.filter((name) => !NOT_HERE.includes(name));
const checkConfig = (config: unknown) =>
  configRefusals(kubeRay as unknown as AnyDefinition, config).map(({ field, problem }) => `${field} ${problem}`);
const POLL = { timeout: 120_000, interval: 250 };

describe.skipIf(missing !== undefined)(`KubeRay’s operator on a real API server${missing ?? ''}`, () => {
  let facts: WorldFacts;
  const atEnd: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    await sharedPart(kubeControllerManager);
    await sharedPart(kubeScheduler);
    facts = { api: await sharedPart(kubeApiserver), operator: await sharedPart(kuberayOperator) };
  }, 600_000);
  afterEach(async () => {
    for (const end of atEnd.splice(0).toReversed()) await end();
  });

  const start = async (capacity?: Readonly<Record<string, string>>): Promise<KubeRayWorld> => {
    const world = new KubeRayWorld(facts);
    atEnd.push(() => world.close());
    return world.start(capacity);
  };
  const open = async (world: KubeRayWorld, more: Partial<KubeRayConfig> = {}): Promise<Provider> => {
    const context = { stateDir: tmpdir(), clock: systemClock };
    const provider = await openProvider(kubeRay as unknown as AnyDefinition, world.config(more), context);
    atEnd.push(() => provider.close());
    return provider;
  };
  const signal = () => AbortSignal.timeout(120_000);
  const seen = (provider: Provider, state: Observation['state'], key = SPEC.key) =>
    expect.poll(() => provider.observe(key, signal()), POLL).toMatchObject({ state });
  const says = (provider: Provider, message: RegExp, key = SPEC.key) =>
    expect.poll(() => provider.observe(key, signal()), POLL).toMatchObject({ message: expect.stringMatching(message) });
  const left = async (world: KubeRayWorld) => {
    const kinds = ['rayjobs.ray.io', 'rayclusters.ray.io', 'pods', 'services', 'secrets', 'configmaps'];
    const names = await Promise.all(kinds.map((kind) => world.names(kind)));
    return names.flat().filter((name) => name !== 'kube-root-ca.crt');
  };
  const patch = (world: KubeRayWorld, body: object, subresource = '') =>
    world.call({
      method: 'PATCH',
      path: `/apis/ray.io/v1/namespaces/${world.namespace}/rayjobs/${SPEC.key}${subresource}`,
      body,
      contentType: 'application/merge-patch+json',
    });

  test('the provider keeps the contract', async () => {
    const kit = (only: readonly string[], backend: TestBackendDefinition) =>
      runKit(kubeRay, { backend, checkConfig, only });
    const watching = required.filter((name) => !NOT_WATCHING.includes(name));
    const shares = Array.from({ length: SHARES }, (_, share) => watching.filter((_, i) => i % SHARES === share));
    const reports = await Promise.all([
      ...shares.map((only) => kit(only, kubeRayKitBackend(facts))),
      kit(NOT_WATCHING, kubeRayKitBackend(facts, false)),
    ]);
    const checks = reports.flatMap((report) => report.checks);
    expect(checks.filter(({ verdict }) => verdict !== 'passed')).toEqual([]);
    expect(new Set(checks.map(({ check }) => check))).toEqual(new Set(required));
  }, 900_000);

  test('a RayJob lives from its submit to its release, is ours by its labels, and leaves nothing', async () => {
    const world = await start();
    const provider = await open(world);
    const workdir = await mkdtemp(join(tmpdir(), 'merit-kuberay-work-'));
    atEnd.push(() => rm(workdir, { recursive: true }));
    await writeFile(join(workdir, 'data.txt'), 'from the workdir');
    const spec = { ...SPEC, entrypoint: 'cat data.txt; echo " $WORD"; sleep 2', workdir, env: { WORD: '"$HOME"' } };
    const handle = await provider.submit(spec, signal());
    await seen(provider, 'running');
    const [cluster = '', ...others] = await world.names('rayclusters.ray.io', 'merit/tag=here,merit/key=m-b1-1');
    expect([cluster.startsWith('m-b1-1-'), others]).toEqual([true, []]);
    expect(await world.names('pods', 'merit/key=m-b1-1')).toHaveLength(1);
    expect(await provider.list('here', signal())).toEqual([{ key: SPEC.key, handle, live: true }]);
    expect(await provider.list('there', signal())).toEqual([]);
    await seen(provider, 'ended');
    expect(await provider.observe(SPEC.key, signal())).toMatchObject({ outcome: 'succeeded', exitCode: 0, handle });
    const log = Buffer.from(await provider.logs(SPEC.key, 0, 1000, signal())).toString();
    expect(log).toBe('from the workdir "$HOME"\n');
    expect(world.rays.taken).toEqual([`${cluster} ${SPEC.key}`]);
    await provider.release(SPEC.key, signal());
    expect(await provider.observe(SPEC.key, signal())).toEqual({ state: 'absent' });
    await expect.poll(() => left(world), POLL).toEqual([]);
  });

  test('a gang is a head and its workers, each with what one node has, and its GPUs are not free meanwhile', async () => {
    const world = await start({ cpu: '64', memory: '256Gi', pods: '100', 'nvidia.com/gpu': '8' });
    const flavours = [{ name: 'gpu', gpuResource: 'nvidia.com/gpu', nodeSelector: { 'test/world': world.namespace } }];
    const provider = await open(world, { flavours });
    world.pods.holds = true;
    const resources = { ...SPEC.resources, gpuMilli: 2000n };
    await provider.submit({ ...SPEC, nodes: 3, flavour: 'gpu', resources }, signal());
    await expect.poll(() => world.names('pods', 'ray.io/node-type=worker'), POLL).toHaveLength(2);
    await says(provider, /^0 of 3 pods are ready$/);
    await expect
      .poll(() => provider.capacity(signal()), POLL)
      .toMatchObject([{ flavour: 'gpu', totalGpuMilli: 8000n, freeGpuMilli: 2000n }]);
    await provider.release(SPEC.key, signal());
    expect(await world.names('pods')).toEqual([]);
  });

  test('watches that are cut lose nothing, and while they last nobody asks for a job one by one', async () => {
    const world = await start();
    const provider = await open(world);
    await provider.submit({ ...SPEC, entrypoint: 'sleep 600' }, signal());
    await seen(provider, 'running');
    const watches = () => world.front.calls.filter((call) => /watch=true/.test(call)).length;
    const looks = () => world.front.calls.filter((call) => call === LOOK(world)).length;
    for (let cut = 0; cut < 3; cut++) {
      const earlier = watches();
      world.front.cut();
      // Of jobs and of pods.
      await expect
        .poll(async () => {
          await seen(provider, 'running');
          return watches() - earlier;
        }, POLL)
        .toBeGreaterThanOrEqual(2);
    }
    // Once the last of them was taken.
    await expect
      .poll(async () => {
        const before = looks();
        for (let look = 0; look < 20; look++) await provider.observe(SPEC.key, signal());
        return looks() - before;
      }, POLL)
      .toBe(0);
    await provider.drain(SPEC.key, 0, signal());
    await seen(provider, 'ended');
    await provider.release(SPEC.key, signal());
  });

  test('an operator that is away is told as such, and what is released meanwhile runs no more', async () => {
    const world = await start();
    const provider = await open(world, { operatorSilentSeconds: 1 });
    const runs = { ...SPEC, key: 'm-b2-1', bookingId: 'b2', entrypoint: 'sleep 600' };
    await provider.submit(runs, signal());
    await seen(provider, 'running', runs.key);
    process.kill(facts.operator.pid, 'SIGSTOP');
    try {
      await provider.submit(SPEC, signal());
      await says(provider, /^KubeRay’s operator says nothing of it for \d+ s: is it running/);
      await Promise.all([provider.release(SPEC.key, signal()), provider.release(runs.key, signal())]);
      expect(await world.names('pods')).toEqual([]);
      expect([world.rays.running(runs.key), await world.names('rayclusters.ray.io')]).toEqual([0, []]);
      // KubeRay's finalizer is KubeRay's.
      expect(await world.names('rayjobs.ray.io')).toEqual([runs.key]);
      expect(await provider.observe(runs.key, signal())).toMatchObject({ state: 'ended', outcome: 'stopped' });
    } finally {
      process.kill(facts.operator.pid, 'SIGCONT');
    }
    await expect.poll(() => left(world), POLL).toEqual([]);
  });

  test('a quota that its pods run into later is what it waits for, and it goes on when there is room', async () => {
    const world = await start();
    const provider = await open(world);
    const quotas = `/api/v1/namespaces/${world.namespace}/resourcequotas`;
    const spec = { hard: { pods: '0' }, scopes: ['NotTerminating'] };
    await world.make(quotas, { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'team' }, spec });
    await provider.submit(SPEC, signal());
    await says(provider, /^the namespace’s quota is exceeded: .*exceeded quota: team, requested: pods=1/);
    await world.call({ method: 'DELETE', path: `${quotas}/team` });
    await seen(provider, 'ended');
    await provider.release(SPEC.key, signal());
  });

  test('one whose node Kubernetes gives to another is told as preempted, though KubeRay still tells it as running', async () => {
    const world = await start({ cpu: '2', memory: '8Gi', pods: '10' });
    const provider = await open(world);
    const resources = { ...SPEC.resources, cpuMilli: 1500n };
    await provider.submit({ ...SPEC, entrypoint: 'sleep 600', resources }, signal());
    await seen(provider, 'running');
    const priority = `${world.namespace}-high`;
    const classes = '/apis/scheduling.k8s.io/v1/priorityclasses';
    await world.make(classes, {
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name: priority },
      value: 1000,
    });
    atEnd.push(() => world.call({ method: 'DELETE', path: `${classes}/${priority}` }));
    await world.make(`/api/v1/namespaces/${world.namespace}/pods`, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'urgent' },
      spec: {
        priorityClassName: priority,
        nodeSelector: { 'test/world': world.namespace },
        containers: [{ name: 'c', image: 'x', resources: { requests: { cpu: '1500m' } } }],
      },
    });
    await seen(provider, 'ended');
    expect(await provider.observe(SPEC.key, signal())).toMatchObject({
      outcome: 'preempted',
      message: expect.stringMatching(/^its head was lost: /),
    });
    expect((await world.rayJob(SPEC.key))?.status?.jobDeploymentStatus).toBe('Running');
    await provider.release(SPEC.key, signal());
    await expect.poll(() => left(world), POLL).toEqual(['urgent']);
  });

  test('one that somebody suspends waits where it never ran; where it did it is preempted, and is no second run when it is resumed', async () => {
    const world = await start();
    const provider = await open(world);
    world.pods.holds = true;
    await provider.submit({ ...SPEC, entrypoint: 'sleep 600' }, signal());
    await expect.poll(() => world.names('pods'), POLL).toHaveLength(1);
    await patch(world, { spec: { suspend: true } });
    await says(provider, /^Suspended: somebody else has set suspend/);
    expect(await world.names('pods')).toEqual([]);
    world.pods.holds = false;
    await patch(world, { spec: { suspend: false } });
    await seen(provider, 'running');
    await patch(world, { spec: { suspend: true } });
    await seen(provider, 'ended');
    await patch(world, { spec: { suspend: false } });
    await expect.poll(() => world.rays.taken.length, POLL).toBe(2);
    expect(await provider.observe(SPEC.key, signal())).toMatchObject({ state: 'ended', outcome: 'preempted' });
    await provider.release(SPEC.key, signal());
    await expect.poll(() => left(world), POLL).toEqual([]);
  });

  test('a lease is KubeRay’s deadline, which an extension moves', async () => {
    const world = await start();
    const provider = await open(world, { startSeconds: 1 });
    await provider.submit({ ...SPEC, entrypoint: 'sleep 600', leaseMs: 5_000 }, signal());
    await seen(provider, 'running');
    await provider.extend?.(SPEC.key, 8_000, signal());
    expect((await world.rayJob(SPEC.key))?.spec?.activeDeadlineSeconds).toBe(9);
    await seen(provider, 'ended');
    expect(await provider.observe(SPEC.key, signal())).toMatchObject({
      outcome: 'stopped',
      message: 'DeadlineExceeded: its lease is over',
    });
    await provider.release(SPEC.key, signal());
  });

  test('a log is read through the API server’s proxy of services, with the cluster’s token', async () => {
    const address = Object.values(networkInterfaces())
      .flat()
      .find((one) => one?.family === 'IPv4' && !one.internal)?.address;
    // Kubernetes hands nothing on to loopback.
    expect(address).toBeDefined();
    const world = await start();
    const provider = await open(world);
    await provider.submit(SPEC, signal());
    await seen(provider, 'ended');
    const asked: unknown[] = [];
    const ray = createServer((incoming, outgoing) => {
      asked.push([incoming.url, incoming.headers['x-ray-authorization']]);
      outgoing.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ logs: 'grün\n' }));
    });
    await new Promise<void>((resolve) => ray.listen(0, address, resolve));
    atEnd.push(async () => ray.close());
    const { port } = ray.address() as AddressInfo;
    const metadata = { name: 'elsewhere' };
    const ports = [{ name: 'dashboard', port }];
    const at = `/api/v1/namespaces/${world.namespace}`;
    await world.make(`${at}/services`, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { clusterIP: 'None', ports },
    });
    // Kubernetes hands on to pods alone.
    await world.make(`${at}/pods`, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata,
      spec: { nodeName: world.node, containers: [{ name: 'c', image: 'x' }] },
    });
    const status = { phase: 'Running', podIP: address, podIPs: [{ ip: address }] };
    const contentType = 'application/merge-patch+json';
    await world.call({ method: 'PATCH', path: `${at}/pods/elsewhere/status`, body: { status }, contentType });
    const targetRef = { kind: 'Pod', namespace: world.namespace, name: 'elsewhere' };
    const subsets = [{ addresses: [{ ip: address, targetRef }], ports }];
    await world.make(`${at}/endpoints`, { apiVersion: 'v1', kind: 'Endpoints', metadata, subsets });
    await patch(world, { status: { dashboardURL: `elsewhere.${world.namespace}.svc.cluster.local:8265` } }, '/status');
    const { dashboards: _, ...proxied } = world.config();
    const context = { stateDir: tmpdir(), clock: systemClock };
    const other = await openProvider(kubeRay as unknown as AnyDefinition, proxied, context);
    atEnd.push(() => other.close());
    expect(Buffer.from(await other.logs(SPEC.key, 0, 100, signal())).toString()).toBe('grün\n');
    const cluster = (await world.rayJob(SPEC.key))?.status?.rayClusterName ?? '';
    expect(asked).toEqual([[`/api/jobs/${SPEC.key}/logs`, `Bearer ${await world.token(cluster)}`]]);
    await other.release(SPEC.key, signal());
  });
});

const SPEC: AttemptSpec = {
  key: 'm-b1-1',
  tag: 'here',
  bookingId: 'b1',
  attempt: 1,
  entrypoint: 'true',
  workdir: undefined,
  env: {},
  resources: { gpuMilli: 0n, cpuMilli: 500n, memoryBytes: 0n },
  flavour: 'cpu',
  leaseMs: 600_000,
};
const LOOK = (world: KubeRayWorld) => `GET /apis/ray.io/v1/namespaces/${world.namespace}/rayjobs/${SPEC.key}`;
