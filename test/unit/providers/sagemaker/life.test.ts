import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { arnOf } from '../../../support/sagemaker/simulator.ts';
import { CAPACITY_REASON, INTERNAL_REASON } from '../../../support/sagemaker/training-job.ts';
import { type SageMakerWorld, sageMakerWorld } from '../../../support/sagemaker/world.ts';

let world: SageMakerWorld;
beforeEach(async () => {
  world = await sageMakerWorld({ delays: { startMs: 60_000, downloadMs: 30_000, uploadMs: 20_000 } });
});
afterEach(() => world.close());

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error as { code: string; effect: string; message: string },
  );
const observe = (key: string) => world.provider.observe(key, world.signal);
const described = () => world.simulator.asked.filter(({ verb }) => verb === 'DescribeTrainingJob').length;

describe('a simulated training job', () => {
  test('waits, runs and ends, and is told with the simulator’s words, its times and what it bills', async () => {
    const spec = world.spec({ nodes: 2 }, { runs: 100 });
    const handle = await world.provider.submit(spec, world.signal);
    expect(handle).toEqual({ provider: 'sagemaker', id: spec.key, uid: arnOf(spec.key) });
    const beganMs = world.clock.now();
    expect(await observe(spec.key)).toEqual({
      state: 'pending',
      handle,
      message: 'Starting: Preparing the instances for training',
    });
    world.clock.advance(60);
    expect(await observe(spec.key)).toMatchObject({ state: 'pending', message: 'Downloading: Downloading input data' });
    world.clock.advance(30);
    expect(await observe(spec.key)).toEqual({ state: 'running', handle, startedAtMs: beganMs + 90_000 });
    world.clock.advance(110);
    // It writes what it made to S3.
    expect(await observe(spec.key)).toMatchObject({ state: 'running' });
    world.clock.advance(10);
    expect(await observe(spec.key)).toEqual({
      state: 'ended',
      handle,
      outcome: 'succeeded',
      exitCode: 0,
      message: 'AWS bills 100 s of 100 s on each of 2 instances',
      startedAtMs: beganMs + 90_000,
      endedAtMs: beganMs + 210_000,
    });
  });

  test('that fails is told with its exit code', async () => {
    const spec = world.spec({}, { runs: 5, exit: 3 });
    await world.provider.submit(spec, world.signal);
    world.clock.advance(200);
    expect(await observe(spec.key)).toMatchObject({
      outcome: 'failed',
      exitCode: 3,
      message: expect.stringContaining('exit code: 3'),
    });
  });

  test.each([
    ['no machine', CAPACITY_REASON],
    ['a fault of its own', INTERNAL_REASON],
  ])('that was taken and then failed for %s is a preempted attempt, which goes elsewhere', async (_what, reason) => {
    const spec = world.spec();
    await world.provider.submit(spec, world.signal);
    world.simulator.job(spec.key).fail(world.clock.now(), reason);
    expect(await observe(spec.key)).toMatchObject({ outcome: 'preempted', exitCode: undefined, message: reason });
  });

  test('has 120 s after its notice, and its release returns once it is gone', async () => {
    const spec = world.spec({}, { stubborn: true });
    await world.provider.submit(spec, world.signal);
    world.clock.advance(100);
    await world.provider.drain(spec.key, 0, world.signal);
    const noticedMs = world.clock.now();
    expect(await observe(spec.key)).toMatchObject({ state: 'running' });
    await world.provider.drain(spec.key, 0, world.signal);
    await world.provider.release(spec.key, world.signal);
    expect(world.clock.now() - noticedMs).toBeGreaterThanOrEqual(140_000);
    expect(await observe(spec.key)).toMatchObject({ outcome: 'stopped', message: 'AWS bills 130 s of 130 s' });
    expect(world.simulator.asked.filter(({ verb }) => verb === 'StopTrainingJob')).toHaveLength(1);
  });

  test('is ended by its lease where Merit does not, and told as stopped by that', async () => {
    const spec = world.spec({ leaseMs: 600_000 });
    await world.provider.submit(spec, world.signal);
    world.clock.advance(89 + 600);
    expect(await observe(spec.key)).toMatchObject({ state: 'running' });
    world.clock.advance(200);
    expect(await observe(spec.key)).toMatchObject({
      outcome: 'stopped',
      message: expect.stringContaining('MaxRuntimeExceeded'),
    });
  });

  test('takes a longer lease as far as its submit left room, and no further', async () => {
    const provider = await world.open({ extensionSeconds: 600 });
    const spec = world.spec({ leaseMs: 600_000 });
    await provider.submit(spec, world.signal);
    await provider.extend?.(spec.key, 1_200_000, world.signal);
    const refused = await failureOf(provider.extend!(spec.key, 1_200_001, world.signal));
    expect(refused).toMatchObject({ code: 'invalid', message: expect.stringContaining('extensionSeconds') });
    await provider.extend?.('m-nobody-1', 9_000_000, world.signal);
  });
});

describe('simulated managed spot', () => {
  test('waits where its machines were taken, goes on from the booking’s checkpoints, and costs less', async () => {
    const spec = world.spec({ flavour: 'a10g-spot' }, { runs: 100 });
    await world.provider.submit(spec, world.signal);
    const { request } = world.simulator.job(spec.key);
    expect(request).toMatchObject({
      EnableManagedSpotTraining: true,
      CheckpointConfig: { S3Uri: `s3://example-merit/training/checkpoints/${spec.bookingId}/` },
      StoppingCondition: { MaxRuntimeInSeconds: 3600, MaxWaitTimeInSeconds: 4200 },
    });
    world.clock.advance(150);
    world.simulator.job(spec.key).interrupt(world.clock.now(), 300_000);
    expect(await observe(spec.key)).toMatchObject({
      state: 'pending',
      message: 'Interrupted: Spot instances were interrupted',
    });
    world.clock.advance(300 + 30);
    expect(await observe(spec.key)).toMatchObject({ state: 'running' });
    world.clock.advance(130);
    expect(await observe(spec.key)).toMatchObject({ outcome: 'succeeded', message: 'AWS bills 48 s of 160 s' });
  });

  test('whose machines never come back is a preempted attempt', async () => {
    const spec = world.spec({ flavour: 'a10g-spot' });
    await world.provider.submit(spec, world.signal);
    world.clock.advance(150);
    world.simulator.job(spec.key).interrupt(world.clock.now());
    world.clock.advance(4_200);
    expect(await observe(spec.key)).toMatchObject({
      outcome: 'preempted',
      message: expect.stringContaining('MaxWaitTimeExceeded'),
    });
  });
});

describe('a name in the simulator', () => {
  test('that has the attempt already is its job; with other content it is refused, and that job goes on', async () => {
    const spec = world.spec();
    const first = await world.provider.submit(spec, world.signal);
    const other = await world.open();
    const again = { ...spec, leaseMs: 1_000_000, env: { MERIT_CHECKPOINT: 'newer' } };
    expect(await other.submit(again, world.signal)).toEqual(first);
    for (const [fields, word] of [
      [{ entrypoint: 'python other.py' }, 'content'],
      [{ nodes: 3 }, 'content'],
      [{ bookingId: 'other' }, 'bookingId'],
      [{ tag: 'other' }, 'tag'],
    ] as const) {
      const refused = await failureOf(other.submit({ ...spec, ...fields }, world.signal));
      expect(refused).toMatchObject({ code: 'invalid', effect: 'none', message: expect.stringContaining(word) });
    }
    expect(world.simulator.jobs.size).toBe(1);
    expect(await observe(spec.key)).toMatchObject({ state: 'pending' });
  });

  test('that is held and told nothing of yet is unknown to whoever did not make it', async () => {
    world.simulator.faults.hideMs = 30_000;
    const spec = world.spec();
    const handle = await world.provider.submit(spec, world.signal);
    expect(await world.provider.submit(spec, world.signal)).toEqual(handle);
    const other = await world.open();
    expect(await failureOf(other.submit(spec, world.signal))).toMatchObject({ code: 'transient', effect: 'unknown' });
    world.clock.advance(31);
    expect(await other.submit(spec, world.signal)).toEqual(handle);
  });

  test('that SageMaker would not take is refused before anything is sent', async () => {
    for (const key of ['m-a_b-1', 'm--', `m-${'x'.repeat(62)}`, 'M-UPPER-1']) {
      const refused = await failureOf(world.provider.submit(world.spec({ key }), world.signal));
      expect(refused, key).toMatchObject({ code: 'invalid', message: expect.stringContaining('inner dashes') });
      expect(await observe(key)).toEqual({ state: 'absent' });
    }
    expect(world.simulator.asked).toEqual([]);
  });
});

test('a job is not told to be gone where the pool names another region than it was made in', async () => {
  const known = {
    provider: 'sagemaker',
    id: 'm-x-1',
    uid: 'arn:aws:sagemaker:us-east-1:123456789012:training-job/m-x-1',
  };
  const failure = await failureOf(world.provider.observe('m-x-1', world.signal, known));
  expect(failure).toMatchObject({ code: 'transient', message: expect.stringContaining('us-east-1') });
  expect(await world.provider.observe('m-x-1', world.signal)).toEqual({ state: 'absent' });
});

test('a list has what runs however long, and of what has ended the last day; each job is described once', async () => {
  const old = world.spec({}, { runs: 10 });
  const long = world.spec({ leaseMs: 20 * 86_400_000 });
  await world.provider.submit(old, world.signal);
  await world.provider.submit(long, world.signal);
  world.clock.advance(3 * 86_400);
  const recent = Array.from({ length: 7 }, () => world.spec({}, { runs: 10 }));
  for (const spec of recent) await world.provider.submit(spec, world.signal);
  world.clock.advance(3_600);
  const before = described();
  const listed = await world.provider.list('merit-test', world.signal);
  expect(new Map(listed.map(({ key, live }) => [key, live]))).toEqual(
    new Map([[long.key, true], ...recent.map(({ key }) => [key, false] as const)]),
  );
  expect(described() - before).toBe(8);
  await world.provider.list('merit-test', world.signal);
  expect(described() - before).toBe(8);
});

test('what a list does not tell of a change its time does', async () => {
  world.simulator.faults.plainLists = true;
  const spec = world.spec();
  const handle = await world.provider.submit(spec, world.signal);
  const look = async () => (await world.provider.observe(spec.key, world.signal, handle)).state;
  expect(await look()).toBe('pending');
  world.clock.advance(95);
  expect(await look()).toBe('running');
});

test('however many run, looking at them costs a shared list in five seconds, and a description of each when it changes', async () => {
  await world.close();
  world = await sageMakerWorld({ pageSize: 100 });
  const specs = Array.from({ length: 12 }, (_, i) => world.spec({}, i === 0 ? { runs: 12 } : {}));
  const handles = await Promise.all(specs.map((spec) => world.provider.submit(spec, world.signal)));
  const before = world.simulator.asked.length;
  const look = async () =>
    (await Promise.all(specs.map(({ key }, i) => world.provider.observe(key, world.signal, handles[i])))).map(
      ({ state }) => state,
    );
  for (let second = 0; second < 10; second++) {
    expect(new Set(await look())).toEqual(new Set(['running']));
    world.clock.advance(1);
  }
  const since = () => world.simulator.asked.slice(before).map(({ verb }) => verb);
  // A list is one request for each status of what runs.
  expect(since().filter((verb) => verb === 'ListTrainingJobs')).toHaveLength(4);
  expect(since().filter((verb) => verb === 'DescribeTrainingJob')).toHaveLength(12);
  world.clock.advance(5);
  expect((await look()).filter((state) => state !== 'running')).toEqual(['ended']);
  expect(since().filter((verb) => verb === 'ListTrainingJobs')).toHaveLength(6);
  expect(since().filter((verb) => verb === 'DescribeTrainingJob')).toHaveLength(13);
});

test('what is free is the declared quota less all that the account runs of the type, spot apart', async () => {
  const spec = world.spec({ nodes: 3 });
  await world.provider.submit(spec, world.signal);
  await world.provider.submit(world.spec({ flavour: 'a10g-spot' }), world.signal);
  world.simulator.plant({
    TrainingJobName: 'somebody-else',
    AlgorithmSpecification: { TrainingImage: 'x:1', TrainingInputMode: 'File' },
    RoleArn: 'arn:aws:iam::123456789012:role/x',
    OutputDataConfig: { S3OutputPath: 's3://somebody/else' },
    ResourceConfig: { InstanceType: 'ml.g5.12xlarge', InstanceCount: 2, VolumeSizeInGB: 1 },
  });
  const free = async () =>
    (await world.provider.capacity(world.signal)).map(({ flavour, freeGpuMilli, totalGpuMilli, freeCpuMilli }) => [
      flavour,
      freeGpuMilli,
      totalGpuMilli,
      freeCpuMilli,
    ]);
  expect(await free()).toEqual([
    ['a10g', 12_000n, 32_000n, 144_000n],
    ['a10g-spot', 28_000n, 32_000n, 336_000n],
    ['m5', 0n, 0n, 12_000n],
  ]);
  const asked = world.simulator.asked.length;
  await free();
  expect(world.simulator.asked).toHaveLength(asked);
  await world.provider.release(spec.key, world.signal);
  world.clock.advance(10);
  expect((await free())[0]).toEqual(['a10g', 24_000n, 32_000n, 288_000n]);
});

test('prices are the pool’s, or the config’s where it says its own', async () => {
  expect(await world.provider.offers(world.signal)).toEqual([
    { flavour: 'a10g', spot: false, currency: 'EUR', centsPerUnitHour: 142n },
    { flavour: 'a10g-spot', spot: true, currency: 'USD', centsPerUnitHour: 50n },
    { flavour: 'm5', spot: false, currency: 'USD', centsPerUnitHour: 6n },
  ]);
});
