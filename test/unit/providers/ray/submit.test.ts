import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { alreadyExists, type Exchange, fakeJob, faults } from '../../../support/fake-ray.ts';
import {
  failureOf,
  folder,
  KEY,
  OURS,
  POST,
  posts,
  provider,
  providerWith,
  ray,
  SPEC,
  signal,
} from '../../../support/ray-provider.ts';

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
