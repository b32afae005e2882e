import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openRayProvider } from '../../../../providers/ray/adapter.ts';
import { fakeJob, faults } from '../../../support/fake-ray.ts';
import {
  clock,
  failureOf,
  folder,
  GET,
  KEY,
  OURS,
  provider,
  providerWith,
  ray,
  SPEC,
  signal,
} from '../../../support/ray-provider.ts';

describe('a Ray that asks for no token', () => {
  test('is refused before the token is sent to it (G37)', async () => {
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
