import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../../../core/canonical.ts';
import { type VertexWorld, vertexWorld } from '../../../support/vertex/world.ts';

let world: VertexWorld;
beforeEach(async () => {
  world = await vertexWorld();
});
afterEach(() => world.close());

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error as { code: string; effect: string; message: string },
  );

describe('what the simulator is sent', () => {
  test('is a chief and its workers, on machines with their accelerators, ended by the lease, and tried once', async () => {
    const spec = world.spec({ nodes: 3, leaseMs: 90_500 });
    await world.provider.submit(spec, world.signal);
    const { request } = world.simulator.job(spec.key);
    const [chief, workers] = request.jobSpec.workerPoolSpecs;
    expect(chief).toMatchObject({
      replicaCount: '1',
      machineSpec: { machineType: 'g2-standard-48', acceleratorType: 'NVIDIA_L4', acceleratorCount: 4 },
      diskSpec: { bootDiskSizeGb: 100 },
      containerSpec: { imageUri: 'europe-docker.pkg.dev/example-merit/train/train:1' },
    });
    expect(workers).toEqual({ ...chief, replicaCount: '2' });
    expect(request.jobSpec.scheduling).toMatchObject({
      timeout: { seconds: '91' },
      restartJobOnWorkerRestart: false,
      disableRetries: true,
      strategy: 'STANDARD',
    });
    expect(request.jobSpec.baseOutputDirectory).toEqual({
      outputUriPrefix: `gs://example-merit/training/output/${spec.bookingId}`,
    });
    expect(request).toMatchObject({
      displayName: spec.key,
      labels: { merit_tag: 'merit-test', merit_booking: spec.bookingId, merit_attempt: '1' },
    });
    expect(request.labels.merit_content).toMatch(/^[0-9a-f]{40}$/);
  });

  test('has no accelerator where the flavour has none, and asks for spot where it is spot', async () => {
    const cpu = world.spec({ flavour: 'n1', resources: { gpuMilli: 0n, cpuMilli: 4000n, memoryBytes: 0n } });
    await world.provider.submit(cpu, world.signal);
    const [pool] = world.simulator.job(cpu.key).request.jobSpec.workerPoolSpecs;
    expect(pool?.machineSpec).toMatchObject({ machineType: 'n1-standard-4', acceleratorCount: 0 });
    const spot = world.spec({ flavour: 'l4-spot' });
    await world.provider.submit(spot, world.signal);
    expect(world.simulator.job(spot.key).request.jobSpec.scheduling.strategy).toBe('SPOT');
  });

  test('has what the pool says of networks, keys, disks, accounts and labels, and a job’s own before it', async () => {
    const provider = await world.open({
      serviceAccount: 'pool@example-merit.iam.gserviceaccount.com',
      serviceAccounts: ['other@example-merit.iam.gserviceaccount.com'],
      network: 'projects/12345/global/networks/merit',
      reservedIpRanges: ['merit-range'],
      kmsKey: 'projects/p/locations/l/keyRings/r/cryptoKeys/k',
      bootDiskType: 'pd-standard',
      bootDiskGb: 300,
      extensionSeconds: 60,
      labels: { team: 'search' },
    });
    const options = {
      image: 'other:2',
      serviceAccount: 'other@example-merit.iam.gserviceaccount.com',
      output: 'gs://elsewhere/x',
      bootDiskGb: 500,
      tensorboard: 'projects/1/locations/europe-west4/tensorboards/7',
    };
    const spec = world.spec({ options: { vertex: options } });
    await provider.submit(spec, world.signal);
    expect(world.simulator.job(spec.key).request).toMatchObject({
      labels: { team: 'search' },
      encryptionSpec: { kmsKeyName: 'projects/p/locations/l/keyRings/r/cryptoKeys/k' },
      jobSpec: {
        serviceAccount: options.serviceAccount,
        network: 'projects/12345/global/networks/merit',
        reservedIpRanges: ['merit-range'],
        tensorboard: options.tensorboard,
        baseOutputDirectory: { outputUriPrefix: options.output },
        scheduling: { timeout: { seconds: '3660' } },
        workerPoolSpecs: [
          {
            containerSpec: { imageUri: 'other:2' },
            diskSpec: { bootDiskType: 'pd-standard', bootDiskSizeGb: 500 },
          },
        ],
      },
    });
    const psc = await world.open({ networkAttachment: 'projects/p/regions/r/networkAttachments/a' });
    const second = world.spec();
    await psc.submit(second, world.signal);
    expect(world.simulator.job(second.key).request.jobSpec.pscInterfaceConfig).toMatchObject({
      networkAttachment: 'projects/p/regions/r/networkAttachments/a',
    });
  });
});

test.each([
  ['half of a machine', { resources: { gpuMilli: 2000n, cpuMilli: 0n, memoryBytes: 0n } }, 'rented whole'],
  ['more CPUs than it has', { resources: { gpuMilli: 4000n, cpuMilli: 99_000n, memoryBytes: 0n } }, '48 CPUs'],
  ['more memory', { resources: { gpuMilli: 4000n, cpuMilli: 0n, memoryBytes: 200n * 1024n ** 3n } }, '192 GiB'],
  ['more nodes than there are', { nodes: 9 }, 'at most so many nodes'],
  ['a flavour that is none', { flavour: 'none' }, 'no flavour none'],
  ['an unknown option', { options: { vertex: { queue: 'x' } } }, 'options.vertex.queue'],
  [
    'an account that the pool does not name',
    { options: { vertex: { serviceAccount: 'x@p.iam.gserviceaccount.com' } } },
    'none of the pool',
  ],
  [
    'a tensorboard without an account',
    { options: { vertex: { tensorboard: 'projects/1/locations/l/tensorboards/7' } } },
    'serviceAccount',
  ],
  ['a variable that no process can carry', { env: { BIG: 'x'.repeat(140_000) } }, 'BIG has'],
])('%s is refused before anything is made', async (_what, fields, words) => {
  const refused = await failureOf(world.provider.submit(world.spec(fields), world.signal));
  expect(refused).toMatchObject({ code: 'invalid', effect: 'none', message: expect.stringContaining(words) });
  expect(world.simulator.jobs).toEqual([]);
});

describe('what is staged', () => {
  test('lies by its content, a workdir once for all that use it, and is what the container starts', async () => {
    const workdir = await mkdtemp(join(tmpdir(), 'merit-vertex-work-'));
    try {
      await writeFile(join(workdir, 'train.py'), 'print(1)');
      const [one, two] = [world.spec({ workdir }), world.spec({ workdir })];
      await world.provider.submit(one, world.signal);
      await world.provider.submit(two, world.signal);
      const names = [...world.simulator.http.objects.keys()];
      expect(names.filter((name) => name.startsWith('example-merit/training/code/'))).toHaveLength(1);
      for (const [name, bytes] of world.simulator.http.objects) expect(name).toContain(sha256Hex(bytes));
      const [pool] = world.simulator.job(one.key).request.jobSpec.workerPoolSpecs;
      const start = pool?.containerSpec.command[4]?.replace('/gcs/', '') ?? '';
      expect(start).toContain(`example-merit/training/runs/${one.key}/`);
      expect(pool?.containerSpec.command[5]).toBe(sha256Hex(world.simulator.http.objects.get(start)!));
      const script = String(world.simulator.http.objects.get(start));
      expect(script).toContain("merit_command='python train.py'");
      const code = names.find((name) => name.includes('/code/'))!;
      expect(script).toContain(`'${sha256Hex(world.simulator.http.objects.get(code)!)}'`);
    } finally {
      await rm(workdir, { recursive: true, force: true });
    }
  });

  test('that was altered in the bucket is not run', async () => {
    const spec = world.spec();
    await world.provider.submit(spec, world.signal);
    const [name] = world.simulator.http.objects.keys();
    world.simulator.http.objects.set(name!, Buffer.from('echo mine'));
    world.simulator.forget(spec.key);
    const other = await world.open();
    const refused = await failureOf(other.submit(spec, world.signal));
    expect(refused).toMatchObject({ code: 'invalid', message: expect.stringContaining('was altered') });
    expect(world.simulator.jobs).toEqual([]);
  });

  test('and cannot be is told without effect, in the store’s words', async () => {
    world.simulator.http.throttleMs = 4_000;
    const refused = await failureOf(world.provider.submit(world.spec(), world.signal));
    expect(refused).toMatchObject({ code: 'transient', effect: 'none', retryAfterMs: 4_000 });
    expect(world.simulator.jobs).toEqual([]);
  });
});

test('a token is kept while its file is the same and it is taken; a renewed file is used at once, without a restart', async () => {
  const tokens = () => world.simulator.http.asked.filter((path) => path === '/token').length;
  const list = () => world.provider.list('merit-test', world.signal);
  await list();
  await list();
  expect(tokens()).toBe(1);
  const text = await readFile(world.simulator.credentialsFile, 'utf8');
  await writeFile(world.simulator.credentialsFile, `${text}\n`);
  await list();
  expect(tokens()).toBe(2);
  world.simulator.expireCredentials();
  expect(await failureOf(list())).toMatchObject({ code: 'auth' });
  expect(await failureOf(list())).toMatchObject({ code: 'auth', message: expect.stringContaining('invalid_grant') });
  await world.simulator.renewCredentials();
  await list();
});

test('a token service that cannot be reached is no want of rights', async () => {
  const text = await readFile(world.simulator.credentialsFile, 'utf8');
  await writeFile(world.simulator.credentialsFile, text.replace(/127\.0\.0\.1:\d+/, '127.0.0.1:1'));
  expect(await failureOf(world.provider.list('merit-test', world.signal))).toMatchObject({ code: 'transient' });
});
