import { describe, expect, test } from 'vitest';
import { type FakeJob, fakeJob, faults } from '../../../support/fake-ray.ts';
import { clock, failureOf, KEY, OURS, provider, providerWith, ray, signal } from '../../../support/ray-provider.ts';

const NODES = /^GET \/api\/v0\/nodes/;
const BY_ITSELF =
  'Job supervisor actor died: The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: the process was killed by the OOM killer due to high memory usage';
const NO_SUPERVISOR = 'Unexpected error occurred: failed to get job supervisor.';

function jobOn(node: string | null, fields: Partial<FakeJob> = {}): FakeJob {
  const job = fakeJob({ metadata: OURS, driver_node_id: node, ...fields });
  ray.jobs.set(KEY, job);
  return job;
}

/** Power fails on the node, and a new one with its address comes: Ray gives that another id. */
function loseNode(): void {
  ray.deadNodes = ['n2'];
  ray.nodes = { n1: ray.nodes.n1 ?? '', n3: '0.0/8.0 CPU' };
}

const observe = () => provider.observe(KEY, signal);
const later = (ms: number) => {
  clock.nowMs += ms;
};

describe('a job that Ray goes on to call RUNNING although its node is dead', () => {
  test('is told as preempted once the node has given up, is not live, and is released at once', async () => {
    jobOn('n2');
    loseNode();
    expect(await observe()).toMatchObject({ state: 'running' });
    later(89_000);
    expect(await observe()).toMatchObject({ state: 'running' });
    expect(await provider.list('here', signal)).toMatchObject([{ key: KEY, live: true }]);
    later(1_000);
    expect(await observe()).toMatchObject({
      state: 'ended',
      outcome: 'preempted',
      message: expect.stringContaining("the job's node has died"),
      handle: { uid: 'session_1/1795000000000' },
    });
    expect(await provider.list('here', signal)).toMatchObject([{ key: KEY, live: false }]);
    await provider.release(KEY, signal);
  });

  test('is not waited for without bounds by a release that comes first', async () => {
    jobOn('n2');
    ray.onStop = () => false;
    loseNode();
    for (let tries = 1; ; tries++) {
      const failure = await provider.release(KEY, signal).then(
        () => undefined,
        (error) => error,
      );
      if (failure === undefined) break;
      expect(failure).toMatchObject({ code: 'transient', effect: 'unknown' });
      expect(tries).toBeLessThan(3);
    }
  });

  test('is told as Ray tells it where Ray does so first', async () => {
    const job = jobOn('n2');
    loseNode();
    await observe();
    later(40_000);
    Object.assign(job, { status: 'SUCCEEDED', driver_exit_code: 0 });
    expect(await observe()).toMatchObject({ state: 'ended', outcome: 'succeeded', exitCode: 0 });
  });

  test('has as long on a cluster whose nodes need not give up: Ray may still say what became of it', async () => {
    const own = await providerWith({ nodeGivesUpSeconds: 0 });
    jobOn('n2');
    loseNode();
    expect(await own.observe(KEY, signal)).toMatchObject({ state: 'running' });
    later(29_000);
    expect(await own.observe(KEY, signal)).toMatchObject({ state: 'running' });
    later(1_000);
    expect(await own.observe(KEY, signal)).toMatchObject({ state: 'ended', outcome: 'preempted' });
    await own.close();
  });

  test('on a node that Ray has forgotten is told so too', async () => {
    jobOn('n0');
    await observe();
    later(90_000);
    expect(await observe()).toMatchObject({ state: 'ended', outcome: 'preempted' });
  });
});

describe('a job whose node was only not seen', () => {
  test('runs, and the wait begins anew', async () => {
    jobOn('n2');
    loseNode();
    await observe();
    later(80_000);
    ray.nodes = { n1: '', n2: '' };
    expect(await observe()).toMatchObject({ state: 'running' });
    later(10_000);
    loseNode();
    expect(await observe()).toMatchObject({ state: 'running' });
    later(80_000);
    expect(await observe()).toMatchObject({ state: 'running' });
  });

  test.each([
    ['no node at all', faults.bodyAfterEffect('{"data":{"result":{"total":0,"result":[]}}}')],
    ['a part of them', faults.bodyAfterEffect('{"data":{"result":{"total":2,"result":[]}}}')],
    ['an error', faults.status(500)],
  ])('runs where Ray answers with %s', async (_what, fault) => {
    jobOn('n2');
    loseNode();
    await observe();
    later(90_000);
    ray.inject(NODES, fault);
    expect(await observe()).toMatchObject({ state: 'running' });
  });

  test('is not looked for where Ray has not placed it yet: it comes to be elsewhere', async () => {
    jobOn(null, { status: 'PENDING' });
    loseNode();
    await observe();
    later(90_000);
    expect(await observe()).toMatchObject({ state: 'pending' });
    expect(ray.calls.filter((call) => NODES.test(call))).toEqual([]);
  });
});

test('the nodes are asked for once in 5 s, however many jobs are looked at', async () => {
  for (let i = 0; i < 20; i++) ray.jobs.set(`m-b1-${i}`, fakeJob({ metadata: OURS, driver_node_id: 'n1' }));
  await Promise.all([...ray.jobs.keys()].map((key) => provider.observe(key, signal)));
  await provider.list('here', signal);
  expect(ray.calls.filter((call) => NODES.test(call))).toHaveLength(1);
});

describe('a job whose supervisor died, and Ray does not say why', () => {
  test.each([
    ['JOB_SUPERVISOR_ACTOR_DIED', BY_ITSELF],
    ['JOB_SUPERVISOR_ACTOR_START_FAILURE', NO_SUPERVISOR],
    ['JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE', 'Unexpected error occurred: The actor ab is unavailable'],
  ])('(%s) is preempted where its node is dead', async (error_type, message) => {
    jobOn('n2', { status: 'FAILED', error_type, message });
    loseNode();
    const seen = await observe();
    expect(seen).toMatchObject({ state: 'ended', outcome: 'preempted', exitCode: undefined });
    expect(seen).toMatchObject({ message: expect.stringContaining(`${error_type}: ${message}`) });
  });

  test('is preempted although Ray learns of the node only later', async () => {
    ray.nodes = { n1: '', n2: '' };
    jobOn('n2', { status: 'FAILED', error_type: 'JOB_SUPERVISOR_ACTOR_DIED', message: BY_ITSELF });
    expect(await failureOf(observe())).toMatchObject({ code: 'transient', effect: 'none' });
    later(14_000);
    loseNode();
    expect(await observe()).toMatchObject({ state: 'ended', outcome: 'preempted' });
  });

  test.each([
    ['lives on', () => {}],
    ['is not told of', () => ray.inject(NODES, faults.status(500), 99)],
  ])('has failed where its node %s for 30 s', async (_what, make) => {
    ray.nodes = { n1: '', n2: '' };
    make();
    jobOn('n2', { status: 'FAILED', error_type: 'JOB_SUPERVISOR_ACTOR_DIED', message: BY_ITSELF });
    expect(await failureOf(observe())).toMatchObject({ code: 'transient' });
    later(29_000);
    expect(await failureOf(observe())).toMatchObject({ code: 'transient', retryAfterMs: 1_000 });
    later(1_000);
    expect(await observe()).toMatchObject({ state: 'ended', outcome: 'failed' });
  });
});

test.each([
  ['its command failed', 'JOB_ENTRYPOINT_COMMAND_ERROR', 'Job entrypoint command failed with exit code 3', 'failed'],
  [
    'it took too much memory',
    'JOB_SUPERVISOR_ACTOR_DIED',
    'its worker process has died. Worker exit type: NODE_OUT_OF_MEMORY',
    'failed',
  ],
  ['its node has died', 'JOB_SUPERVISOR_ACTOR_DIED', 'The actor died because its node has died.', 'preempted'],
])('a job of which Ray says that %s is not asked about', async (_what, error_type, message, outcome) => {
  jobOn('n2', { status: 'FAILED', error_type, message });
  expect(await observe()).toMatchObject({ state: 'ended', outcome });
  expect(ray.calls.filter((call) => NODES.test(call))).toEqual([]);
});
