import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { isAlive } from '../../platform/processes.ts';
import local from '../../providers/local/adapter.ts';
import type { LocalConfig } from '../../providers/local/config.ts';
import { readClaim, readIntent, readJob, writeIntent } from '../../providers/local/job-folder.ts';
import { jobProcesses } from '../../providers/local/job-state.ts';
import { type AttemptSpec, type Observation, type Provider, ProviderError } from '../../providers/provider.ts';

const signal = new AbortController().signal;
const CLOCK = new URL('../../platform/clock.ts', import.meta.url).href;
const ADAPTER = new URL('../../providers/local/adapter.ts', import.meta.url).href;

let root: string;
let provider: Provider;
let count = 0;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-local-'));
  provider = await open();
});
afterEach(async () => {
  for (const { key } of await provider.list('here', signal)) await provider.release(key, signal);
  await provider.close();
  await rm(root, { recursive: true, force: true });
});

function open(config: Partial<LocalConfig> = {}): Promise<Provider> {
  return local.open({ root, cpus: 8, gpus: 2, stopGraceSeconds: 1, ...config }, { stateDir: root, clock: systemClock });
}

function spec(fields: Partial<AttemptSpec> = {}): AttemptSpec {
  const bookingId = `b${++count}`;
  return {
    key: `m-${bookingId}-1`,
    tag: 'here',
    bookingId,
    attempt: 1,
    entrypoint: 'true',
    workdir: undefined,
    env: {},
    resources: { gpuMilli: 0n, cpuMilli: 100n, memoryBytes: 0n },
    flavour: 'default',
    leaseMs: 600_000,
    ...fields,
  };
}

const gpus = (gpuMilli: bigint) => ({ resources: { gpuMilli, cpuMilli: 100n, memoryBytes: 0n } });

async function until(key: string, state: Observation['state'], asked = provider): Promise<Observation> {
  for (;;) {
    const observation = await asked.observe(key, signal);
    if (observation.state === state) return observation;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

async function logOf(key: string): Promise<string> {
  return Buffer.from(await provider.logs(key, 0, 1_000_000, signal)).toString('utf8');
}

async function printed(key: string, text: string): Promise<void> {
  while (!(await logOf(key)).includes(text)) await new Promise((resolve) => setTimeout(resolve, 30));
}

test('tells what a job uses while it runs, and what it used in all when it ended', async () => {
  const busy =
    'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo counted; while [ ! -e "$GO" ]; do sleep 0.05; done';
  const one = spec({ entrypoint: `sh -c '${busy}'; true`, env: { GO: join(root, 'go') } });
  await provider.submit(one, signal);
  await printed(one.key, 'counted');
  const runs = await provider.usage?.(one.key, signal);
  expect(runs?.cpuMs).toBeGreaterThan(0);
  expect(runs?.memoryBytes).toBeGreaterThan(100_000);
  await writeFile(join(root, 'go'), '');
  await until(one.key, 'ended');
  const { cpuMs = 0, memoryBytes } = (await provider.usage?.(one.key, signal)) ?? {};
  expect(cpuMs).toBeGreaterThanOrEqual(runs?.cpuMs ?? Number.NaN);
  expect(memoryBytes).toBeUndefined();
  expect(await provider.usage?.('m-01k00000000000000000000000-1', signal)).toBeUndefined();
});

async function failureOf(work: Promise<unknown>): Promise<ProviderError> {
  const failure = await work.then(
    () => undefined,
    (error) => error,
  );
  expect(failure).toBeInstanceOf(ProviderError);
  return failure as ProviderError;
}

/** Runs `program` (TypeScript, with `provider` and `spec` at hand) in a process of its own, as another Merit would. */
async function inOtherMerit(one: AttemptSpec, program: string): Promise<{ readonly signal?: string }> {
  const amounts = one.resources;
  const text = `
    import local from ${JSON.stringify(ADAPTER)};
    import { systemClock as clock } from ${JSON.stringify(CLOCK)};
    const signal = new AbortController().signal;
    const resources = { gpuMilli: ${amounts.gpuMilli}n, cpuMilli: ${amounts.cpuMilli}n, memoryBytes: ${amounts.memoryBytes}n };
    const spec = { ...${JSON.stringify({ ...one, resources: undefined })}, resources };
    const provider = await local.open(${JSON.stringify({ root, cpus: 8, gpus: 2, stopGraceSeconds: 1 })}, { stateDir: ${JSON.stringify(root)}, clock });
    ${program}`;
  const args = ['--conditions=merit-source', '--input-type=module-typescript', '--eval', text];
  return promisify(execFile)(process.execPath, args).then(
    () => ({}),
    (error) => error as { readonly signal?: string },
  );
}

describe('a job on this machine', () => {
  test('finds its files and parameters, only a clean environment, and tells its exit', async () => {
    const workdir = join(root, '.source');
    await mkdir(join(workdir, 'sub'), { recursive: true });
    await mkdir(join(workdir, '.git'));
    await writeFile(join(workdir, 'sub', 'data'), 'grün');
    await writeFile(join(workdir, '.git', 'config'), 'x');
    await writeFile(join(workdir, 'run.sh'), 'cat sub/data; echo; env | sort; ls -A; exit 3', { mode: 0o755 });
    process.env.MERIT_TEST_SECRET = 'secret';
    const one = spec({ entrypoint: './run.sh', workdir, env: { MERIT_PARAMETERS: '{"a":"$(id)\'\\""}' } });
    const handle = await provider.submit(one, signal);
    const ended = await until(one.key, 'ended');
    delete process.env.MERIT_TEST_SECRET;
    expect(ended).toMatchObject({
      outcome: 'failed',
      exitCode: 3,
      handle,
      message: expect.stringMatching(/^ended with exit code 3, last output: grün/),
    });
    const [data, ...rest] = (await logOf(one.key)).trimEnd().split('\n');
    expect(data).toBe('grün');
    const names = rest.filter((line) => line.includes('=')).map((line) => line.slice(0, line.indexOf('=')));
    const inherited = [
      'CUDA_VISIBLE_DEVICES',
      'HOME',
      'LANG',
      'MERIT_JOB_DIR',
      'MERIT_PARAMETERS',
      'OLDPWD',
      'PATH',
      'PWD',
      'PYTHONUNBUFFERED',
      'SHLVL',
      'TMPDIR',
      '_',
    ];
    expect(names.filter((name) => !inherited.includes(name))).toEqual([]);
    expect(rest).toContain('MERIT_PARAMETERS={"a":"$(id)\'\\""}');
    expect(rest.filter((line) => !line.includes('='))).toEqual(['run.sh', 'sub']);
  });

  test('is read from any byte of its log, and its log ends at the limit while the job goes on', async () => {
    const small = await open({ logLimitBytes: 1000 });
    const one = spec({ entrypoint: 'i=0; while [ $i -lt 500 ]; do echo 0123456789; i=$((i+1)); done; exit 0' });
    await small.submit(one, signal);
    expect(await until(one.key, 'ended')).toMatchObject({ outcome: 'succeeded' });
    const log = await logOf(one.key);
    expect(log.slice(0, 1000)).toBe('0123456789\n'.repeat(91).slice(0, 1000));
    expect(log.slice(1000)).toMatch(/^\n\[the log was cut here/);
    expect(Buffer.from(await provider.logs(one.key, 11, 5, signal)).toString()).toBe('01234');
    expect(await provider.logs(one.key, 1_000_000, 5, signal)).toHaveLength(0);
    expect(await failureOf(provider.logs('m-none-1', 0, 5, signal))).toMatchObject({ code: 'not_found' });
  });

  test('runs once however often and from wherever its key is submitted', async () => {
    const one = spec({ entrypoint: `echo x >> ${root}/.ran; sleep 60` });
    const other = await open();
    const handles = await Promise.all([
      ...Array.from({ length: 4 }, () => provider.submit(one, signal)),
      ...Array.from({ length: 4 }, () => other.submit(one, signal)),
    ]);
    await inOtherMerit(one, 'await provider.submit(spec, signal);');
    expect(new Set(handles.map((handle) => handle.uid)).size).toBe(1);
    await until(one.key, 'running');
    await provider.release(one.key, signal);
    expect(await provider.submit(one, signal)).toEqual(handles[0]);
    expect(await readFile(join(root, '.ran'), 'utf8')).toBe('x\n');
    expect(await failureOf(provider.submit({ ...one, bookingId: 'other' }, signal))).toMatchObject({
      code: 'invalid',
      effect: 'none',
    });
  });

  test('outlives a killed Merit; the next one adopts it and learns its exit code', async () => {
    const one = spec({ entrypoint: `while [ ! -e ${root}/.go ]; do sleep 0.05; done; exit 42` });
    expect(
      await inOtherMerit(one, "await provider.submit(spec, signal); process.kill(process.pid, 'SIGKILL');"),
    ).toMatchObject({ signal: 'SIGKILL' });
    const next = await open();
    await until(one.key, 'running', next);
    expect(await next.list('here', signal)).toMatchObject([{ key: one.key, live: true }]);
    await writeFile(join(root, '.go'), '');
    expect(await until(one.key, 'ended', next)).toMatchObject({ outcome: 'failed', exitCode: 42 });
  });

  test('that a Merit intended and never started is absent, holds nothing, and can be submitted again', async () => {
    const one = spec({ entrypoint: 'exit 5', ...gpus(2000n) });
    const folder = join(root, one.key);
    await mkdir(folder);
    const { key, tag, bookingId, attempt, entrypoint, env, leaseMs } = one;
    const limits = { stopGraceMs: 1000, logLimitBytes: 1000, niceness: 0 };
    const amounts = { gpuMilli: '2000', cpuMilli: '100', memoryBytes: '0', gpus: [0, 1] };
    writeIntent(folder, { uid: 'u', key, tag, bookingId, attempt, entrypoint, env, leaseMs, ...amounts, ...limits });
    expect(await provider.observe(key, signal)).toEqual({ state: 'absent' });
    expect(await provider.list('here', signal)).toEqual([]);
    const next = await open();
    expect(await next.capacity(signal)).toMatchObject([{ freeGpuMilli: 2000n }]);
    await next.submit(one, signal);
    expect(await until(key, 'ended')).toMatchObject({ exitCode: 5 });
  });

  test('whose files cannot be copied had no effect and holds nothing', async () => {
    const one = spec({ workdir: join(root, 'nowhere'), ...gpus(2000n) });
    expect(await failureOf(provider.submit(one, signal))).toMatchObject({ code: 'invalid', effect: 'none' });
    expect(await provider.observe(one.key, signal)).toEqual({ state: 'absent' });
    expect(await provider.capacity(signal)).toMatchObject([{ freeGpuMilli: 2000n }]);
  });

  test('that was killed together with its wrapper is known as lost, not as running', async () => {
    const one = spec({ entrypoint: 'sleep 60' });
    await provider.submit(one, signal);
    await until(one.key, 'running');
    const folder = join(root, one.key);
    const claim = readClaim(folder);
    const job = readJob(folder);
    if (claim?.by !== 'wrapper' || job === undefined) throw new Error('the job has no wrapper');
    process.kill(claim.pid, 'SIGKILL');
    while (isAlive(claim.pid, claim.startTime)) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await provider.observe(one.key, signal)).toMatchObject({ state: 'running' });
    process.kill(-job.pid, 'SIGKILL');
    expect(await until(one.key, 'ended')).toMatchObject({
      outcome: 'failed',
      exitCode: undefined,
      message: expect.stringContaining('without anybody seeing how'),
    });
  });

  test('starts although another pool of this machine, or a changed one, is opened meanwhile', async () => {
    const one = spec({ entrypoint: 'exit 3' });
    const starting = provider.submit(one, signal);
    while (readIntent(join(root, one.key)) === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
    const other = await open();
    await starting;
    expect(await until(one.key, 'ended', other)).toMatchObject({ exitCode: 3 });
    await other.close();
  });

  test('whose lease was made longer runs on past the end that it had', async () => {
    const one = spec({ entrypoint: 'sleep 1', leaseMs: 500 });
    await provider.submit(one, signal);
    await provider.extend?.(one.key, 60_000, signal);
    expect(await until(one.key, 'ended')).toMatchObject({ outcome: 'succeeded' });
    await provider.extend?.('m-01k00000000000000000000000-1', 60_000, signal);
  });

  test('is ended when its lease is over', async () => {
    const one = spec({ entrypoint: 'sleep 60', leaseMs: 200 });
    await provider.submit(one, signal);
    expect(await until(one.key, 'ended')).toMatchObject({
      outcome: 'failed',
      message: expect.stringContaining('lease'),
    });
  });

  test('has no more memory than it asked for', async () => {
    const limited = spec({
      entrypoint: 'ulimit -d; dd if=/dev/zero of=/dev/null bs=300M count=1 2>&1',
      resources: { gpuMilli: 0n, cpuMilli: 100n, memoryBytes: 100n * 1024n * 1024n },
    });
    await provider.submit(limited, signal);
    expect(await until(limited.key, 'ended')).toMatchObject({ outcome: 'failed' });
    expect(await logOf(limited.key)).toMatch(/^102400\n/);
  });
});

describe('GPUs', () => {
  test('are given once, whichever of two pools of this machine asks', async () => {
    const other = await open();
    const asked = [provider, other, provider, other].map((one) =>
      one.submit(spec({ entrypoint: 'sleep 60', ...gpus(2000n) }), signal),
    );
    const results = await Promise.allSettled(asked);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    expect(await provider.capacity(signal)).toMatchObject([{ freeGpuMilli: 0n }]);
    await other.close();
  });

  test('are visible to the jobs that hold them, refused while held, and free again afterwards', async () => {
    const first = spec({ entrypoint: 'echo "gpus:$CUDA_VISIBLE_DEVICES:"; sleep 60', ...gpus(1000n) });
    const second = spec({ entrypoint: 'echo "gpus:$CUDA_VISIBLE_DEVICES:"; sleep 60', ...gpus(500n) });
    const none = spec({ entrypoint: 'echo "gpus:$CUDA_VISIBLE_DEVICES:"' });
    await Promise.all([first, second, none].map((one) => provider.submit(one, signal)));
    await printed(first.key, 'gpus:0:');
    await printed(second.key, 'gpus:1:');
    await printed(none.key, 'gpus::');
    expect(await provider.capacity(signal)).toMatchObject([{ totalGpuMilli: 2000n, freeGpuMilli: 500n }]);
    expect(await failureOf(provider.submit(spec(gpus(1000n)), signal))).toMatchObject({
      code: 'no_capacity',
      effect: 'none',
    });
    expect(await failureOf(provider.submit(spec(gpus(3000n)), signal))).toMatchObject({ code: 'no_capacity' });
    expect(await failureOf(provider.submit(spec(gpus(1500n)), signal))).toMatchObject({ code: 'invalid' });
    await provider.release(first.key, signal);
    expect(await provider.capacity(signal)).toMatchObject([{ freeGpuMilli: 1500n }]);
  });

  test('go to one of two that ask for the last at once', async () => {
    const settled = await Promise.allSettled([
      provider.submit(spec({ entrypoint: 'sleep 60', ...gpus(2000n) }), signal),
      provider.submit(spec({ entrypoint: 'sleep 60', ...gpus(2000n) }), signal),
    ]);
    expect(settled.map((one) => one.status).sort()).toEqual(['fulfilled', 'rejected']);
  });
});

describe('the end of a job', () => {
  test('by a drain is its own to make', async () => {
    const one = spec({ entrypoint: "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done" });
    await provider.submit(one, signal);
    await printed(one.key, 'ready');
    await provider.drain(one.key, 1000, signal);
    expect(await until(one.key, 'ended')).toMatchObject({ outcome: 'stopped', exitCode: 0 });
    expect(await logOf(one.key)).toContain('saved');
  });

  test('by a release comes even when it ignores SIGTERM, and leaves no process, not even one that left the group', async () => {
    const one = spec({
      entrypoint: "trap '' TERM; setsid sleep 300 & (sleep 301 &) ; echo ready; while :; do sleep 0.05; done",
    });
    await provider.submit(one, signal);
    await printed(one.key, 'ready');
    const folder = join(root, one.key);
    expect((await jobProcesses(folder, readJob(folder))).length).toBeGreaterThanOrEqual(3);
    await provider.release(one.key, signal);
    expect(await provider.observe(one.key, signal)).toMatchObject({ state: 'ended', outcome: 'stopped' });
    expect(await jobProcesses(folder, readJob(folder))).toEqual([]);
    await provider.release(one.key, signal);
  });

  test('takes what it left in its group along', async () => {
    const one = spec({ entrypoint: 'sleep 300 & echo done' });
    await provider.submit(one, signal);
    expect(await until(one.key, 'ended')).toMatchObject({ outcome: 'succeeded' });
    const folder = join(root, one.key);
    expect(await jobProcesses(folder, readJob(folder))).toEqual([]);
  });

  test('of the unknown is silent', async () => {
    await provider.release('m-none-1', signal);
    await provider.drain('m-none-1', 1000, signal);
    expect(await provider.observe('m-none-1', signal)).toEqual({ state: 'absent' });
  });

  test('may come while it is being started, and then it has run or never will', async () => {
    for (let round = 0; round < 5; round++) {
      const one = spec({ entrypoint: 'sleep 300' });
      const submitting = provider.submit(one, signal).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, round * 25));
      await provider.release(one.key, signal);
      await submitting;
      await provider.release(one.key, signal);
      const folder = join(root, one.key);
      expect(await jobProcesses(folder, readJob(folder))).toEqual([]);
    }
  });
});
