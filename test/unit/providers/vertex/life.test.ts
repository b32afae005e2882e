import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { INTERNAL, PREEMPTED, STOCKOUT } from '../../../support/vertex/custom-job.ts';
import { nameOf, REGION } from '../../../support/vertex/simulator.ts';
import { type VertexWorld, vertexWorld } from '../../../support/vertex/world.ts';

let world: VertexWorld;
beforeEach(async () => {
  world = await vertexWorld({ delays: { queueMs: 60_000, prepareMs: 30_000, stopMs: 20_000 } });
});
afterEach(() => world.close());

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error as { code: string; effect: string; message: string },
  );
const observe = (key: string) => world.provider.observe(key, world.signal);
const asked = (verb: string) => world.simulator.asked.filter((one) => one.verb === verb).length;

describe('a simulated custom job', () => {
  test('waits, runs and ends, and is told with its times and how long each machine ran', async () => {
    const spec = world.spec({ nodes: 3 }, { runs: 100 });
    const handle = await world.provider.submit(spec, world.signal);
    expect(handle).toEqual({ provider: 'vertex', id: spec.key, uid: nameOf(world.simulator.job(spec.key)) });
    const beganMs = world.clock.now();
    expect(await observe(spec.key)).toEqual({ state: 'pending', handle, message: 'queued' });
    world.clock.advance(60);
    expect(await observe(spec.key)).toMatchObject({ state: 'pending', message: 'Vertex AI prepares its machines' });
    world.clock.advance(30);
    expect(await observe(spec.key)).toEqual({ state: 'running', handle, startedAtMs: beganMs + 90_000 });
    world.clock.advance(100);
    expect(await observe(spec.key)).toEqual({
      state: 'ended',
      handle,
      outcome: 'succeeded',
      exitCode: 0,
      message: 'ran 100 s on each of 3 machines',
      startedAtMs: beganMs + 90_000,
      endedAtMs: beganMs + 190_000,
    });
  });

  test('that fails is told with its exit code', async () => {
    const spec = world.spec({}, { runs: 5, exit: 3 });
    await world.provider.submit(spec, world.signal);
    world.clock.advance(200);
    expect(await observe(spec.key)).toMatchObject({
      outcome: 'failed',
      exitCode: 3,
      message: expect.stringContaining('non-zero status of 3'),
    });
  });

  test.each([
    ['no machine', STOCKOUT],
    ['spot machines that were taken back', PREEMPTED],
    ['a fault of Google’s own', INTERNAL],
  ])('that was taken and then failed for %s is a preempted attempt, which goes elsewhere', async (_what, fault) => {
    const spec = world.spec({ flavour: 'l4-spot' });
    await world.provider.submit(spec, world.signal);
    world.simulator.job(spec.key).fail(world.clock.now(), fault);
    expect(await observe(spec.key)).toMatchObject({
      outcome: 'preempted',
      exitCode: undefined,
      message: expect.stringContaining(fault.message),
    });
    const [owned] = await world.provider.list('merit-test', world.signal);
    expect(owned).toMatchObject({ key: spec.key, live: false });
  });

  test('is cancelled at once while it is queued', async () => {
    const spec = world.spec();
    await world.provider.submit(spec, world.signal);
    const askedMs = world.clock.now();
    await world.provider.release(spec.key, world.signal);
    expect(world.simulator.job(spec.key)).toMatchObject({ state: 'CANCELLED', endedAtMs: askedMs });
    expect(await observe(spec.key)).toMatchObject({ state: 'ended', outcome: 'stopped' });
  });

  test('runs on while it is being cancelled, is asked once, and its release returns once it is gone', async () => {
    const spec = world.spec({}, { stubborn: true });
    await world.provider.submit(spec, world.signal);
    world.clock.advance(100);
    await world.provider.drain(spec.key, 0, world.signal);
    const noticedMs = world.clock.now();
    expect(world.simulator.job(spec.key).state).toBe('CANCELLING');
    expect(await observe(spec.key)).toMatchObject({ state: 'running' });
    await world.provider.release(spec.key, world.signal);
    // Its grace, and what Vertex AI takes to give its machines back.
    expect(world.simulator.job(spec.key)).toMatchObject({ state: 'CANCELLED', endedAtMs: noticedMs + 50_000 });
    expect(await observe(spec.key)).toMatchObject({ outcome: 'stopped' });
    expect(asked('CancelCustomJob')).toBe(1);
  });

  test('is ended by its lease where Merit does not, and told as stopped by that', async () => {
    const spec = world.spec({ leaseMs: 600_000 });
    await world.provider.submit(spec, world.signal);
    world.clock.advance(89 + 600);
    expect(await observe(spec.key)).toMatchObject({ state: 'running' });
    world.clock.advance(200);
    expect(await observe(spec.key)).toMatchObject({
      outcome: 'stopped',
      message: expect.stringContaining('timeout of 600 s'),
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

  test('in a state whose number the SDK does not know counts as live, and nothing is concluded from it', async () => {
    const spec = world.spec();
    await world.provider.submit(spec, world.signal);
    world.simulator.faults.stateNumber = 99;
    expect(await observe(spec.key)).toMatchObject({ state: 'unknown-status', word: '99' });
    expect(await world.provider.list('merit-test', world.signal)).toMatchObject([{ key: spec.key, live: true }]);
  });
});

describe('a key in the simulator, which takes any number of jobs of one name', () => {
  test('whose submit lost its reply is found by it, and its repetition makes nothing', async () => {
    const spec = world.spec();
    world.simulator.nextReply = 'lost';
    const lost = await failureOf(world.provider.submit(spec, world.signal));
    expect(lost).toMatchObject({ code: 'transient', effect: 'unknown' });
    const other = await world.open();
    const handle = await other.submit(spec, world.signal);
    expect(await observe(spec.key)).toMatchObject({ state: 'pending', handle });
    expect(world.simulator.of(spec.key)).toHaveLength(1);
  });

  test('that one process submits several times at once is made once', async () => {
    const spec = world.spec();
    const handles = await Promise.all(Array.from({ length: 4 }, () => world.provider.submit(spec, world.signal)));
    expect(new Set(handles.map(({ uid }) => uid)).size).toBe(1);
    expect(asked('CreateCustomJob')).toBe(1);
  });

  test('for which a race made two keeps the older, whoever looks, and the other is cancelled', async () => {
    const spec = world.spec();
    const other = await world.open();
    let theirs: unknown;
    // It looked, and found nothing; before it makes its own, another one has made and told of one.
    world.simulator.beforeCreate = async () => {
      theirs = await other.submit(spec, world.signal);
    };
    const mine = await world.provider.submit(spec, world.signal);
    expect(mine).toEqual(theirs);
    const [older, younger] = world.simulator.of(spec.key);
    expect(mine.uid).toBe(nameOf(older!));
    expect(older?.state).toBe('QUEUED');
    expect(younger?.state).toBe('CANCELLED');
    expect(await world.provider.list('merit-test', world.signal)).toEqual([
      { key: spec.key, handle: mine, live: true },
    ]);
  });

  test('that came to have two unseen: who looks at its handle finds both, and a release ends all', async () => {
    const spec = world.spec();
    const handle = await world.provider.submit(spec, world.signal);
    world.clock.advance(100);
    const second = world.simulator.plant(world.simulator.job(spec.key).request);
    world.clock.advance(100);
    expect(await world.provider.observe(spec.key, world.signal, handle)).toMatchObject({ state: 'running', handle });
    expect(second.state).toBe('CANCELLING');
    const third = world.simulator.plant(world.simulator.job(spec.key).request);
    world.clock.advance(100);
    await world.provider.release(spec.key, world.signal);
    for (const job of [...world.simulator.of(spec.key), third]) expect(job.state).toBe('CANCELLED');
  });

  test('that another installation has too is not touched', async () => {
    const spec = world.spec();
    await world.provider.submit(spec, world.signal);
    const { request } = world.simulator.job(spec.key);
    const theirs = world.simulator.plant({ ...request, labels: { ...request.labels, merit_tag: 'merit-other' } });
    await world.provider.release(spec.key, world.signal);
    expect(theirs.isOver).toBe(false);
  });

  test('that has other content is refused, and its job goes on', async () => {
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
    expect(world.simulator.jobs).toHaveLength(1);
  });

  test('that another attempt took while its job was being made is refused, and what was made is ended again', async () => {
    const spec = world.spec();
    const other = await world.open();
    world.simulator.beforeCreate = async () => {
      await other.submit({ ...spec, entrypoint: 'python other.py' }, world.signal);
    };
    const refused = await failureOf(world.provider.submit(spec, world.signal));
    expect(refused).toMatchObject({ code: 'invalid', effect: 'none', message: expect.stringContaining('content') });
    expect(world.simulator.of(spec.key).map(({ state }) => state)).toEqual(['QUEUED', 'CANCELLED']);
  });

  test('whose job somebody deleted is made anew once no list can be late any more', async () => {
    const spec = world.spec();
    const first = await world.provider.submit(spec, world.signal);
    world.simulator.forget(spec.key);
    expect(await world.provider.submit(spec, world.signal)).toEqual(first);
    world.clock.advance(60);
    const second = await world.provider.submit(spec, world.signal);
    expect(second).not.toEqual(first);
    expect(second).toEqual({ ...first, uid: nameOf(world.simulator.job(spec.key)) });
    expect(await observe(spec.key)).toMatchObject({ state: 'pending', handle: second });
  });

  test('that no label can hold is refused before anything is sent', async () => {
    for (const key of ['M-UPPER-1', `m-${'x'.repeat(62)}`]) {
      const refused = await failureOf(world.provider.submit(world.spec({ key }), world.signal));
      expect(refused, key).toMatchObject({ code: 'invalid', message: expect.stringContaining('labels') });
      expect(await observe(key)).toEqual({ state: 'absent' });
    }
    expect(world.simulator.asked).toEqual([]);
  });
});

test('what the service refuses is told by its field, and nothing comes of it', async () => {
  const flavours = [
    { name: 'l4', machineType: 'g2-standard-8', accelerator: 'NVIDIA_L4', gpus: 4, cpus: 8, machines: 8 },
  ] as const;
  const provider = await world.open({ flavours });
  const refused = await failureOf(provider.submit(world.spec(), world.signal));
  expect(refused).toMatchObject({
    code: 'invalid',
    effect: 'none',
    message: expect.stringContaining('worker_pool_specs[0].machine_spec.accelerator_count'),
  });
  expect(world.simulator.jobs).toEqual([]);
});

test('a job is not told to be gone where the pool names another region than it was made in', async () => {
  const known = { provider: 'vertex', id: 'm-x-1', uid: 'projects/1/locations/us-central1/customJobs/7' };
  const failure = await failureOf(world.provider.observe('m-x-1', world.signal, known));
  expect(failure).toMatchObject({ code: 'transient', message: expect.stringContaining('us-central1') });
  const here = { ...known, uid: known.uid.replace('us-central1', REGION) };
  expect(await world.provider.observe('m-x-1', world.signal, here)).toEqual({ state: 'absent' });
});

test('however many run, looking at them costs one paged list in two seconds, and a look at each at its end', async () => {
  await world.close();
  world = await vertexWorld({ pageSize: 100 });
  const specs = Array.from({ length: 20 }, (_, i) => world.spec({}, i === 0 ? { runs: 10 } : {}));
  const handles = await Promise.all(specs.map((spec) => world.provider.submit(spec, world.signal)));
  const before = asked('ListCustomJobs');
  const look = () => Promise.all(specs.map(({ key }, i) => world.provider.observe(key, world.signal, handles[i])));
  for (let second = 0; second < 6; second++) {
    for (const seen of await look()) expect(seen.state).toBe('running');
    await world.provider.capacity(world.signal);
    world.clock.advance(1);
  }
  expect(asked('ListCustomJobs') - before).toBe(3);
  world.clock.advance(10);
  expect((await look()).map(({ state }) => state).filter((state) => state !== 'running')).toEqual(['ended']);
  expect(asked('ListCustomJobs') - before).toBe(5);
  expect(asked('GetCustomJob')).toBe(0);
});

test('a list has what runs however long, and of what has ended what was made in the last day', async () => {
  const old = world.spec({}, { runs: 10 });
  const long = world.spec({ leaseMs: 20 * 86_400_000 });
  await world.provider.submit(old, world.signal);
  await world.provider.submit(long, world.signal);
  world.clock.advance(3 * 86_400);
  const recent = Array.from({ length: 7 }, () => world.spec({}, { runs: 10 }));
  for (const spec of recent) await world.provider.submit(spec, world.signal);
  world.clock.advance(3_600);
  const listed = await world.provider.list('merit-test', world.signal);
  expect(new Map(listed.map(({ key, live }) => [key, live]))).toEqual(
    new Map([[long.key, true], ...recent.map(({ key }) => [key, false] as const)]),
  );
});

test('what is free is the declared number less all that runs in the region of the kind, spot apart', async () => {
  const spec = world.spec({ nodes: 3 });
  await world.provider.submit(spec, world.signal);
  await world.provider.submit(world.spec({ flavour: 'l4-spot' }), world.signal);
  const { labels: _mine, ...request } = world.simulator.job(spec.key).request;
  world.simulator.plant({ ...request, displayName: 'somebody-else', labels: {} });
  const free = async () =>
    (await world.provider.capacity(world.signal)).map(({ flavour, freeGpuMilli, totalGpuMilli, freeCpuMilli }) => [
      flavour,
      freeGpuMilli,
      totalGpuMilli,
      freeCpuMilli,
    ]);
  expect(await free()).toEqual([
    ['l4', 8_000n, 32_000n, 96_000n],
    ['l4-spot', 28_000n, 32_000n, 336_000n],
    ['n1', 0n, 0n, 12_000n],
  ]);
  await world.provider.release(spec.key, world.signal);
  expect((await free())[0]).toEqual(['l4', 20_000n, 32_000n, 240_000n]);
});

test('prices are the pool’s, or the config’s where it says its own', async () => {
  expect(await world.provider.offers(world.signal)).toEqual([
    { flavour: 'l4', spot: false, currency: 'EUR', centsPerUnitHour: 142n },
    { flavour: 'l4-spot', spot: true, currency: 'USD', centsPerUnitHour: 50n },
    { flavour: 'n1', spot: false, currency: 'USD', centsPerUnitHour: 6n },
  ]);
});
