import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Clock } from '../../../../platform/clock.ts';
import { type AttemptSpec, type Provider, ProviderError } from '../../../../providers/provider.ts';
import { openRayProvider } from '../../../../providers/ray/adapter.ts';
import type { RayConfig } from '../../../../providers/ray/config.ts';
import {
  alreadyExists,
  type Exchange,
  type FakeRay,
  fakeJob,
  faults,
  startFakeRay,
} from '../../../support/fake-ray.ts';

const KEY = 'm-b1-1';
const OURS = { merit_tag: 'here', merit_booking: 'b1', merit_attempt: '1' };
const SPEC: AttemptSpec = {
  key: KEY,
  tag: 'here',
  bookingId: 'b1',
  attempt: 1,
  entrypoint: 'python train.py',
  workdir: undefined,
  env: { MERIT_PARAMETERS: '{"a":"; rm -rf /"}' },
  resources: { gpuMilli: 2000n, cpuMilli: 500n, memoryBytes: 1_000_000n },
  flavour: 'default',
  leaseMs: 60_000,
};
const POST = /^POST \/api\/jobs\/$/;
const GET = /^GET \/api\/jobs\/m-b1-1$/;
const signal = new AbortController().signal;

/** Sleeps pass at once and move the time. */
class FastClock implements Clock {
  nowMs = 1_000_000;
  now(): number {
    return this.nowMs;
  }
  async sleep(ms: number): Promise<void> {
    this.nowMs += ms;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

let ray: FakeRay;
let folder: string;
let clock: FastClock;
let provider: Provider;

beforeEach(async () => {
  ray = await startFakeRay();
  folder = await mkdtemp(join(tmpdir(), 'merit-ray-'));
  await writeFile(join(folder, 'token'), `${ray.token}\n`);
  clock = new FastClock();
  provider = await providerWith({});
});
afterEach(async () => {
  await provider.close();
  await ray.close();
  await rm(folder, { recursive: true });
});

function providerWith(config: Partial<RayConfig>): Promise<Provider> {
  const base = { address: ray.address, tokenFile: join(folder, 'token'), timeoutMs: 2_000, submitTimeoutMs: 400 };
  return openRayProvider({ ...base, ...config }, clock);
}

async function failureOf(work: Promise<unknown>): Promise<ProviderError> {
  const failure = await work.then(
    () => undefined,
    (error) => error,
  );
  expect(failure).toBeInstanceOf(ProviderError);
  return failure as ProviderError;
}

const posts = () => ray.calls.filter((call) => POST.test(call)).length;

describe('a submit to Ray', () => {
  test('carries the key, the ownership and the resources, and parameters only in the environment', async () => {
    expect(await provider.submit(SPEC, signal)).toEqual({ provider: 'ray', id: KEY, uid: 'session_1/1795000000000' });
    expect(ray.submissions).toEqual([
      {
        entrypoint: 'python train.py',
        submission_id: KEY,
        metadata: OURS,
        runtime_env: {
          env_vars: {
            MERIT_PARAMETERS: '{"a":"; rm -rf /"}',
            MERIT_NODE_RANK: '0',
            MERIT_NODE_IPS: '127.0.0.1',
            MERIT_HEAD_IP: '127.0.0.1',
            SKYPILOT_NODE_RANK: '0',
            SKYPILOT_NUM_NODES: '1',
            SKYPILOT_NODE_IPS: '127.0.0.1',
            SKYPILOT_NUM_GPUS_PER_NODE: '2',
            RAY_JOB_STOP_WAIT_TIME_S: '30',
          },
        },
        entrypoint_num_gpus: 2,
        entrypoint_num_cpus: 0.5,
        entrypoint_memory: 1_000_000,
      },
    ]);
  });

  // Rows of the bad-input catalogue, by number.
  test.each([
    ['P02 the reply is lost after it took effect', faults.lostReply],
    ['P02 the connection tears after it took effect', faults.tornAfterEffect],
    ['P04 another submit of the key came first', faults.status(500, alreadyExists(KEY))],
    ['P05 a 200 without a body', faults.bodyAfterEffect('')],
    ['P07 a 200 with truncated JSON', faults.bodyAfterEffect('{"submission_id": "m-b1')],
    ['P07 a 200 shorter than announced', faults.truncatedAfterEffect],
    ['P09 a body of 50 MiB', faults.bodyAfterEffect(Buffer.alloc(50 * 1024 * 1024, 0x20))],
    ['P10 a compressed body', faults.bodyAfterEffect(Buffer.from('1f8b', 'hex'), { 'content-encoding': 'gzip' })],
    ['P37 a body 100,000 levels deep', faults.bodyAfterEffect('['.repeat(100_000))],
    ['P38 100 KB of headers', faults.bodyAfterEffect('{}', { 'x-long': 'x'.repeat(100_000) })],
    [
      'a 500 after it took effect',
      (exchange: Exchange) => {
        exchange.proceed('silently');
        faults.status(500, 'KeyError')(exchange);
      },
    ],
  ])('adopts what Ray then holds under the key: %s', async (what, fault) => {
    ray.inject(
      POST,
      what.startsWith('P04')
        ? (exchange) => {
            ray.jobs.set(KEY, fakeJob({ metadata: OURS }));
            fault(exchange);
          }
        : fault,
    );
    expect(await provider.submit(SPEC, signal)).toMatchObject({ id: KEY });
    expect([posts(), ray.jobs.size]).toEqual([1, 1]);
  });

  test.each([
    ['P03 a time-out', faults.silence],
    ['P05 a 200 without a body', faults.status(200, '')],
    ['P08 a 200 about another id', faults.status(200, '{"submission_id":"m-b9-1"}')],
    ['P12 a redirect', faults.status(307, '', { location: 'http://127.0.0.1:1/' })],
    ['a 500', faults.status(500, 'No available agent to submit job, please try again later.')],
    ['a 503', faults.status(503)],
  ])(
    'that met %s and is not there is transient, of unknown effect, and was posted once; the same key then works',
    async (_what, fault) => {
      ray.inject(POST, fault);
      expect(await failureOf(provider.submit(SPEC, signal))).toMatchObject({ code: 'transient', effect: 'unknown' });
      expect(posts()).toBe(1);
      expect(await provider.submit(SPEC, signal)).toMatchObject({ id: KEY });
    },
  );

  test('P08 names the id that came in place of its own, and takes it for nobody', async () => {
    ray.jobs.set('m-b9-1', fakeJob({ metadata: OURS }));
    ray.inject(POST, faults.status(200, '{"submission_id":"m-b9-1"}'));
    expect((await failureOf(provider.submit(SPEC, signal))).message).toContain('m-b9-1');
  });

  test.each([
    ['P13 401 that stays', faults.status(401), 'auth'],
    ['P14 403', faults.status(403), 'auth'],
    ['P17 413', faults.status(413), 'invalid'],
    ['P17 422', faults.status(422), 'invalid'],
    ['400', faults.status(400, 'TypeError: x'), 'invalid'],
  ])('refused with %s had no effect', async (_what, fault, code) => {
    ray.inject(POST, fault, 9);
    expect(await failureOf(provider.submit(SPEC, signal))).toMatchObject({ code, effect: 'none' });
    expect(posts()).toBe(1);
  });

  test('P13 reads the token file again after a refusal and goes on with the new token', async () => {
    await provider.capacity(signal);
    ray.acceptedTokens = ['token-2'];
    await writeFile(join(folder, 'token'), 'token-2');
    expect(await provider.submit(SPEC, signal)).toMatchObject({ id: KEY });
  });

  test.each([
    ['9999999', 60_000],
    ['abc', undefined],
    ['-5', undefined],
  ])('P18, P19 told 429 with Retry-After %s hands on at most 60 s', async (header, retryAfterMs) => {
    ray.inject(POST, faults.status(429, '', { 'retry-after': header }));
    expect(await failureOf(provider.submit(SPEC, signal))).toMatchObject({ code: 'transient', retryAfterMs });
  });

  test.each([
    ['another booking', { ...OURS, merit_booking: 'b2' }],
    ['another installation', { ...OURS, merit_tag: 'there' }],
    ['another attempt', { ...OURS, merit_attempt: '2' }],
    ['nobody of ours', {}],
  ])('P04 whose id is held by %s is a conflict, posted or not', async (_who, metadata) => {
    ray.jobs.set(KEY, fakeJob({ metadata }));
    expect(await failureOf(provider.submit(SPEC, signal))).toMatchObject({
      code: 'invalid',
      effect: 'none',
      message: expect.stringContaining('conflict'),
    });
    ray.jobs.clear();
    ray.inject(POST, (exchange) => {
      ray.jobs.set(KEY, fakeJob({ metadata }));
      exchange.proceed();
    });
    expect(await failureOf(provider.submit(SPEC, signal))).toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('conflict'),
    });
  });

  test('of a key that was submitted before returns the first handle and posts nothing, even when the cluster has shrunk since', async () => {
    const first = await provider.submit(SPEC, signal);
    ray.nodes = { n1: '0.0/1.0 CPU' };
    expect(await provider.submit(SPEC, signal)).toEqual(first);
    expect(posts()).toBe(1);
  });

  test.each([
    ['more GPUs than any node has', { gpuMilli: 5000n }],
    ['more CPUs', { cpuMilli: 9000n }],
    ['more memory', { memoryBytes: 17n * 1024n ** 3n }],
  ])('that asks for %s is no_capacity and is not posted', async (_what, more) => {
    ray.nodes = {
      n1: '0.0/8.0 CPU\n0.0/4.0 GPU\n0B/16.00GiB memory',
      n2: '4.0/8.0 CPU\n0.0/4.0 GPU\n0B/16.00GiB memory',
    };
    const spec = { ...SPEC, resources: { ...SPEC.resources, ...more } };
    expect(await failureOf(provider.submit(spec, signal))).toMatchObject({ code: 'no_capacity', effect: 'none' });
    expect(posts()).toBe(0);
  });

  test('that fits once others are done is posted although nothing is free now', async () => {
    ray.nodes = { n1: '8.0/8.0 CPU\n4.0/4.0 GPU\n16.00GiB/16.00GiB memory' };
    expect(await provider.submit(SPEC, signal)).toMatchObject({ id: KEY });
  });

  test.each([
    ['one and a half GPUs', { resources: { ...SPEC.resources, gpuMilli: 1500n } }],
    ['less than nothing', { resources: { ...SPEC.resources, cpuMilli: -1n } }],
    ['a flavour the pool has not', { flavour: 'other' }],
    ['a key that Ray cannot hold', { key: 'a/b' }],
    ['a variable that no process can carry', { env: { A: 'x'.repeat(140_000) } }],
    ['more for each node of a gang than one variable holds', { nodes: 2, env: { A: 'x'.repeat(110_000) } }],
    ['300 KB of environment', { env: { A: 'x'.repeat(300_000) } }],
  ])('that asks for %s is invalid and reaches nothing', async (_what, fields) => {
    expect(await failureOf(provider.submit({ ...SPEC, ...fields }, signal))).toMatchObject({
      code: 'invalid',
      effect: 'none',
    });
    expect(posts()).toBe(0);
  });

  const GIB = 1024n ** 3n;
  const two = '0.0/8.0 CPU\n0.0/4.0 GPU\n0B/16.00GiB memory';
  test.each([
    ['more nodes than there is room for', 3, { gpuMilli: 3000n }, undefined, 2],
    ['nodes that fit by their sum only', 2, { memoryBytes: 9n * GIB, gpuMilli: 0n }, { n1: two }, 1],
    ['machines of their own for more nodes than there are', 3, { gpuMilli: 1000n }, undefined, 2, 'strict'],
    [
      'nodes on machines with a label that too few have',
      2,
      { gpuMilli: 3000n },
      undefined,
      1,
      undefined,
      { zone: 'b' },
    ],
  ])('of a gang that asks for %s is no_capacity and is not posted', async (...row) => {
    const [, nodes, more, seen, room, spread, labels] = row;
    ray.nodes = seen ?? { n1: two, n2: two };
    ray.labels = { n1: { zone: 'a' }, n2: { zone: 'b' } };
    const resources = { ...SPEC.resources, ...more };
    const spec = {
      ...SPEC,
      nodes,
      resources,
      options: { ray: { ...(spread && { spread }), ...(labels && { labels }) } },
    };
    expect(await failureOf(provider.submit(spec, signal))).toMatchObject({
      code: 'no_capacity',
      effect: 'none',
      message: expect.stringContaining(`it has room for ${room}`),
    });
    expect(posts()).toBe(0);
  });

  test('of a gang sends its driver by content, and what it runs in one variable that Ray leaves alone', async () => {
    ray.nodes = { n1: two, n2: two };
    ray.labels = { n1: { zone: 'a' }, n2: { zone: 'a' } };
    const options = { ray: { spread: 'strict', labels: { zone: 'in(a,b)' }, runtime_env: { pip: ['torch==2.8.0'] } } };
    const env = { A: '$HOME' };
    await provider.submit({ ...SPEC, entrypoint: 'python "$A"', env, nodes: 2, options }, signal);
    const [sent] = ray.submissions as { runtime_env: { env_vars: Record<string, string>; py_modules: string[] } }[];
    expect(sent).toMatchObject({
      entrypoint: 'exec python -m merit_gang',
      runtime_env: { pip: ['torch==2.8.0'], env_vars: { RAY_JOB_STOP_WAIT_TIME_S: '50' } },
    });
    expect(sent).not.toHaveProperty('entrypoint_num_gpus');
    expect(JSON.parse(Buffer.from(sent?.runtime_env.env_vars.MERIT_GANG ?? '', 'base64').toString())).toEqual({
      nodes: 2,
      command: 'python "$A"',
      env,
      resources: { CPU: 0.5, GPU: 2, memory: 1_000_000 },
      labels: { zone: 'in(a,b)' },
      strategy: 'STRICT_SPREAD',
      startSeconds: 900,
      graceSeconds: 30,
    });
    const [uri] = sent?.runtime_env.py_modules ?? [];
    expect(ray.calls).toContain(`PUT /api/packages/gcs/${uri?.replace('gcs://', '')}`);
  });

  test('asks Ray for the labels of a flavour and of the job', async () => {
    const own = await providerWith({ flavours: [{ name: 'default', labels: { 'ray.io/accelerator-type': 'H100' } }] });
    ray.nodes = { n1: two, n2: two };
    ray.labels = { n1: { 'ray.io/accelerator-type': 'A100' }, n2: { 'ray.io/accelerator-type': 'H100', zone: 'b' } };
    await own.submit({ ...SPEC, options: { ray: { labels: { zone: '!a' } } } }, signal);
    expect(ray.submissions[0]).toMatchObject({
      entrypoint_label_selector: { 'ray.io/accelerator-type': 'H100', zone: '!a' },
    });
    expect(await own.capacity(signal)).toMatchObject([{ totalGpuMilli: 4000n, totalCpuMilli: 8000n }]);
    await own.close();
  });

  test('with options that Ray would ignore is refused with their fields and the mend, and reaches nothing', async () => {
    const options = { ray: { runtime_env: { pipp: ['torch'], env_vars: { A: '1' } }, spread: 'wide' } };
    const failure = await failureOf(provider.submit({ ...SPEC, options }, signal));
    expect(failure).toMatchObject({ code: 'invalid', effect: 'none' });
    expect(failure.message).toContain(
      'options.ray.runtime_env.pipp: is not taken (remove it; there are pip, uv, conda',
    );
    expect(failure.message).toContain('options.ray.runtime_env.env_vars: is not taken (write envs in the job file)');
    expect(failure.message).toContain('options.ray.spread: is not strict');
    expect(posts()).toBe(0);
  });

  test('waits for a fresh cluster to know its nodes, which is not the same as having none', async () => {
    ray.nodes = {};
    expect(await failureOf(provider.capacity(signal))).toMatchObject({ code: 'transient', effect: 'none' });
    expect(await failureOf(provider.submit(SPEC, signal))).toMatchObject({ code: 'transient', effect: 'none' });
  });

  test('uploads its folder once, whoever submits it next', async () => {
    await writeFile(join(folder, 'train.py'), 'print(1)');
    await rm(join(folder, 'token'));
    const tokenFolder = await mkdtemp(join(tmpdir(), 'merit-token-'));
    await writeFile(join(tokenFolder, 'token'), ray.token);
    const own = await providerWith({ tokenFile: join(tokenFolder, 'token') });
    await own.submit({ ...SPEC, workdir: folder }, signal);
    const [upload] = ray.calls.filter((call) => call.startsWith('PUT'));
    const name = /merit_[0-9a-f]{40}\.zip$/.exec(upload ?? '')?.[0];
    expect(ray.submissions[0]).toMatchObject({ runtime_env: { working_dir: `gcs://${name}` } });
    ray.inject(/^GET \/api\/packages/, faults.status(200));
    await own.submit({ ...SPEC, key: 'm-b1-2', attempt: 2, workdir: folder }, signal);
    expect(ray.calls.filter((call) => call.startsWith('PUT'))).toHaveLength(1);
    await own.close();
    await rm(tokenFolder, { recursive: true });
  });

  test('whose upload fails had no effect', async () => {
    ray.inject(/^PUT/, faults.tornAfterEffect);
    const failure = await failureOf(provider.submit({ ...SPEC, workdir: folder }, signal));
    expect(failure).toMatchObject({ code: 'transient', effect: 'none' });
  });

  test('steers a flavour to its own nodes by their resource', async () => {
    const own = await providerWith({
      flavours: [
        { name: 'a', resource: 'pool_a' },
        { name: 'b', resource: 'pool_b' },
      ],
    });
    ray.nodes = {
      n1: '0.0/8.0 CPU\n0.0/4.0 GPU\n0B/16.00GiB memory\n0.0/1.0 pool_a',
      n2: '0.0/8.0 CPU\n0.0/1.0 pool_b',
    };
    await own.submit({ ...SPEC, flavour: 'a' }, signal);
    expect(ray.submissions[0]).toMatchObject({ entrypoint_resources: { pool_a: 0.001 } });
    expect(await failureOf(own.submit({ ...SPEC, key: 'm-b1-2', flavour: 'b' }, signal))).toMatchObject({
      code: 'no_capacity',
    });
    expect(await own.capacity(signal)).toEqual([
      { flavour: 'a', totalGpuMilli: 4000n, freeGpuMilli: 4000n, totalCpuMilli: 8000n, freeCpuMilli: 8000n },
      { flavour: 'b', totalGpuMilli: 0n, freeGpuMilli: 0n, totalCpuMilli: 8000n, freeCpuMilli: 8000n },
    ]);
    await own.close();
  });
});

describe('a Ray that asks for no token', () => {
  test('is refused before the token is sent to it', async () => {
    ray.acceptedTokens = undefined;
    for (const work of [provider.submit(SPEC, signal), provider.capacity(signal), provider.list('here', signal)]) {
      expect(await failureOf(work)).toMatchObject({
        code: 'auth',
        message: expect.stringContaining('allowUnauthenticated'),
      });
    }
    expect(new Set(ray.authorizations)).toEqual(new Set([undefined]));
  });

  test('is taken when that is named', async () => {
    ray.acceptedTokens = undefined;
    const open = await openRayProvider({ address: ray.address, allowUnauthenticated: true }, clock);
    expect(await open.submit(SPEC, signal)).toMatchObject({ id: KEY });
    await open.close();
  });

  test('is found out although it asked for one before', async () => {
    await provider.capacity(signal);
    ray.acceptedTokens = undefined;
    clock.nowMs += 600_000;
    expect(await failureOf(provider.capacity(signal))).toMatchObject({ code: 'auth' });
  });

  test.each([503, 500, 429])('is not meant by a %s, which passes', async (status) => {
    ray.inject(/^GET \/api\/version$/, faults.status(status), 3);
    expect(await failureOf(provider.capacity(signal))).toMatchObject({ code: 'transient', effect: 'none' });
  });
});

describe('a look at an attempt', () => {
  test('P15 that Ray does not know is absent at once: Ray writes its table before it answers', async () => {
    expect(await provider.observe(KEY, signal)).toEqual({ state: 'absent' });
    expect(provider.consistencyWindowMs).toBe(0);
  });

  const born = (session: string, at = 1) => ({ provider: 'ray', id: KEY, uid: `${session}/${at}` });

  test('that went down with an earlier life of the cluster is certainly gone once the nodes of that life have given up', async () => {
    const handle = await provider.submit(SPEC, signal);
    expect(await provider.observe(KEY, signal, handle)).toMatchObject({ state: 'running', handle });
    ray.jobs.clear();
    ray.session = 'session_2';
    expect(await failureOf(provider.observe(KEY, signal, handle))).toMatchObject({ code: 'transient', effect: 'none' });
    clock.nowMs += 89_000;
    expect(await failureOf(provider.observe(KEY, signal, handle))).toMatchObject({ code: 'transient' });
    clock.nowMs += 1_000;
    expect(await provider.observe(KEY, signal, handle)).toEqual({ state: 'absent', certain: true });
    // What nothing was ever seen of is submitted anew at once.
    expect(await provider.observe('m-b2-1', signal)).toEqual({ state: 'absent' });
  });

  test('that went down with a cluster of one node is certainly gone at once', async () => {
    const own = await providerWith({ nodeGivesUpSeconds: 0 });
    expect(await own.observe(KEY, signal, born('session_0'))).toEqual({ state: 'absent', certain: true });
    await own.close();
  });

  test('that Ray forgot within one life is not believed to be gone for 30 s', async () => {
    const handle = await provider.submit(SPEC, signal);
    const job = ray.jobs.get(KEY);
    ray.jobs.clear();
    expect(await failureOf(provider.observe(KEY, signal, handle))).toMatchObject({ code: 'transient' });
    clock.nowMs += 20_000;
    if (job !== undefined) ray.jobs.set(KEY, job);
    expect(await provider.observe(KEY, signal, handle)).toMatchObject({ state: 'running' });
    ray.jobs.clear();
    clock.nowMs += 20_000;
    expect(await failureOf(provider.observe(KEY, signal, handle))).toMatchObject({ code: 'transient' });
    clock.nowMs += 30_000;
    expect(await provider.observe(KEY, signal, handle)).toEqual({ state: 'absent' });
  });

  test('with a handle that names no life is absent as one without', async () => {
    expect(await provider.observe(KEY, signal, { ...born(''), uid: '1795000000000' })).toEqual({ state: 'absent' });
  });

  test('P22 with a word never used before names the word', async () => {
    ray.jobs.set(KEY, fakeJob({ status: 'PAUSED', metadata: OURS }));
    expect(await provider.observe(KEY, signal)).toMatchObject({ state: 'unknown-status', word: 'PAUSED' });
  });

  test('P28 tells a job from an earlier one of the same id by its uid', async () => {
    ray.jobs.set(KEY, fakeJob({ metadata: OURS, start_time: 1 }));
    const first = await provider.observe(KEY, signal);
    ray.jobs.set(KEY, fakeJob({ metadata: OURS, start_time: 2 }));
    const second = await provider.observe(KEY, signal);
    expect([first, second]).toMatchObject([{ handle: { uid: 'session_1/1' } }, { handle: { uid: 'session_1/2' } }]);
  });

  test('P35 hands on 4 KiB of a 2 MB traceback and no control characters', async () => {
    // As much as passes the reply's own limit of 1 MiB; Ray itself cuts at 20,000 characters.
    const message = `Job failed\u001b[31m\n${'  File "x"\n\u0000'.repeat(50_000)}ValueError: last`;
    ray.jobs.set(
      KEY,
      fakeJob({
        status: 'FAILED',
        error_type: 'JOB_ENTRYPOINT_COMMAND_ERROR',
        message,
        metadata: OURS,
        driver_exit_code: 1,
      }),
    );
    const observation = await provider.observe(KEY, signal);
    expect(observation).toMatchObject({ state: 'ended', outcome: 'failed', exitCode: 1 });
    const text = observation.state === 'ended' ? observation.message : '';
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096);
    expect(text).toMatch(/^JOB_ENTRYPOINT_COMMAND_ERROR: Job failed .* ValueError: last$/);
    expect(text).not.toMatch(/\p{Cc}/u);
  });

  test('P35 at a reply beyond 1 MiB is transient', async () => {
    ray.jobs.set(KEY, fakeJob({ message: 'x'.repeat(2_000_000), metadata: OURS }));
    expect(await failureOf(provider.observe(KEY, signal))).toMatchObject({ code: 'transient', effect: 'none' });
  });

  test("at somebody else's job of that id is refused, and a release leaves it running", async () => {
    ray.jobs.set(KEY, fakeJob());
    expect(await failureOf(provider.observe(KEY, signal))).toMatchObject({ code: 'invalid' });
    expect(await failureOf(provider.release(KEY, signal))).toMatchObject({ code: 'invalid' });
    expect(await failureOf(provider.drain(KEY, 1000, signal))).toMatchObject({ code: 'invalid' });
    expect(ray.jobs.get(KEY)?.status).toBe('RUNNING');
  });
});

describe('a release', () => {
  test('of the unknown and of the ended returns, and stops nothing', async () => {
    await provider.release(KEY, signal);
    ray.jobs.set(KEY, fakeJob({ status: 'FAILED', metadata: OURS }));
    await provider.release(KEY, signal);
    await provider.drain(KEY, 1000, signal);
    await provider.drain('m-none-1', 1000, signal);
    expect(ray.calls.filter((call) => call.endsWith('/stop'))).toEqual([]);
  });

  test('returns only when the job has ended', async () => {
    const job = fakeJob({ metadata: OURS });
    ray.jobs.set(KEY, job);
    let looks = 0;
    ray.onStop = () => true;
    ray.inject(
      GET,
      (exchange) => {
        if (++looks === 5) job.status = 'STOPPED';
        exchange.proceed();
      },
      99,
    );
    await provider.release(KEY, signal);
    expect(looks).toBe(5);
  });

  test('of a job that does not end is transient, of unknown effect, and asked for more than once', async () => {
    ray.jobs.set(KEY, fakeJob({ metadata: OURS }));
    ray.onStop = () => true;
    expect(await failureOf(provider.release(KEY, signal))).toMatchObject({ code: 'transient', effect: 'unknown' });
    expect(ray.calls.filter((call) => call.endsWith('/stop')).length).toBeGreaterThan(1);
  });

  test('of a job that waits for resources returns once Ray holds the stop, and the job then counts as ended until Ray says more', async () => {
    const job = fakeJob({ status: 'PENDING', metadata: OURS });
    ray.jobs.set(KEY, job);
    ray.onStop = () => true;
    await provider.release(KEY, signal);
    expect(await provider.observe(KEY, signal)).toMatchObject({
      state: 'ended',
      outcome: 'stopped',
      handle: { uid: 'session_1/1795000000000' },
    });
    expect(await provider.list('here', signal)).toMatchObject([{ key: KEY, live: false }]);
    job.status = 'RUNNING';
    expect(await provider.observe(KEY, signal)).toMatchObject({ state: 'running' });
    expect(await provider.list('here', signal)).toMatchObject([{ key: KEY, live: true }]);
    job.status = 'STOPPED';
    expect(await provider.list('here', signal)).toMatchObject([{ key: KEY, live: false }]);
  });

  test('is not waited for where a drained job waits for resources: it counts as ended once its stop has stood for 2 s', async () => {
    ray.jobs.set(KEY, fakeJob({ status: 'PENDING', metadata: OURS }));
    ray.onStop = () => true;
    await provider.drain(KEY, 30_000, signal);
    expect(await provider.observe(KEY, signal)).toMatchObject({ state: 'pending' });
    clock.nowMs += 2_000;
    await provider.drain(KEY, 30_000, signal);
    expect(await provider.observe(KEY, signal)).toMatchObject({ state: 'ended', outcome: 'stopped' });
  });

  test('of a pending job whose supervisor is not there yet asks again until the stop is taken', async () => {
    ray.jobs.set(KEY, fakeJob({ status: 'PENDING', metadata: OURS }));
    let asked = 0;
    ray.onStop = () => ++asked >= 3;
    await provider.release(KEY, signal);
    expect(asked).toBe(3);
  });

  test('whose stop got no reply may have stopped it', async () => {
    ray.jobs.set(KEY, fakeJob({ metadata: OURS }));
    ray.inject(/\/stop$/, faults.lostReply);
    expect(await failureOf(provider.release(KEY, signal))).toMatchObject({ code: 'transient', effect: 'unknown' });
    await provider.release(KEY, signal);
  });

  test('that is broken off says so as a ProviderError', async () => {
    ray.jobs.set(KEY, fakeJob({ metadata: OURS }));
    const controller = new AbortController();
    ray.inject(/\/stop$/, () => controller.abort(new Error('shutting down')));
    expect(await failureOf(provider.release(KEY, controller.signal))).toMatchObject({
      code: 'transient',
      effect: 'unknown',
    });
  });
});

describe('the list', () => {
  test('holds every job with the tag once, ended ones as not live, and no others', async () => {
    ray.jobs.set('m-a-1', fakeJob({ metadata: OURS }));
    ray.jobs.set('m-a-2', fakeJob({ metadata: OURS, status: 'SUCCEEDED' }));
    ray.jobs.set('m-a-3', fakeJob({ metadata: OURS, status: 'PAUSED' }));
    ray.jobs.set('other', fakeJob({ metadata: { ...OURS, merit_tag: 'there' } }));
    ray.jobs.set('foreign', fakeJob());
    const listed = await provider.list('here', signal);
    expect(listed.map(({ key, live }) => [key, live])).toEqual([
      ['m-a-1', true],
      ['m-a-2', false],
      ['m-a-3', true],
    ]);
  });

  test('survives thousands of ended jobs with long messages', async () => {
    for (let index = 0; index < 1000; index++)
      ray.jobs.set(`m-x-${index}`, fakeJob({ metadata: OURS, message: 'x'.repeat(5000) }));
    expect(await provider.list('here', signal)).toHaveLength(1000);
  });

  test('that is torn, or no list, is transient and never an empty one', async () => {
    for (const body of ['', '{}', '[{"type":"SUBMISSION"}]', '[']) {
      ray.inject(/^GET \/api\/jobs\/$/, faults.bodyAfterEffect(body));
      expect(await failureOf(provider.list('here', signal))).toMatchObject({ code: 'transient' });
    }
  });
});

test('offers are the configured prices, in cents', async () => {
  const own = await providerWith({ flavours: [{ name: 'a', centsPerUnitHour: 250, spot: true }] });
  expect(await own.offers(signal)).toEqual([{ flavour: 'a', spot: true, currency: 'USD', centsPerUnitHour: 250n }]);
  expect(await provider.offers(signal)).toEqual([]);
  await own.close();
});

test('a token file that cannot be read is an auth fault that names it', async () => {
  const own = await providerWith({ tokenFile: join(folder, 'nowhere') });
  expect(await failureOf(own.capacity(signal))).toMatchObject({
    code: 'auth',
    message: expect.stringContaining('nowhere'),
  });
  await own.close();
});
