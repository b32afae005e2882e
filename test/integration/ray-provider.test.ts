import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { type AttemptSpec, type Observation, type Provider, ProviderError } from '../../providers/provider.ts';
import rayProvider from '../../providers/ray/adapter.ts';
import { rayForTests, rayMissing, type TestRay } from '../support/ray.ts';

const missing = rayMissing();
const signal = new AbortController().signal;

describe.skipIf(missing !== undefined)(
  `the Ray provider on a real Ray${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    let ray: TestRay;
    let provider: Provider;
    let count = 0;
    const tag = `t-${Date.now().toString(36)}`;

    beforeAll(async () => {
      ray = await rayForTests();
      provider = await rayProvider.open(
        {
          address: ray.address,
          tokenFile: ray.tokenFile,
          stopGraceSeconds: 5,
          flavours: [{ name: 'a', resource: 'pool_a' }],
        },
        { stateDir: tmpdir(), clock: systemClock },
      );
    });
    afterAll(async () => {
      await provider?.close();
      await ray?.stop();
    });

    function spec(fields: Partial<AttemptSpec> = {}): AttemptSpec {
      const bookingId = `${tag}${++count}`;
      return {
        key: `m-${bookingId}-1`,
        tag,
        bookingId,
        attempt: 1,
        entrypoint: 'true',
        workdir: undefined,
        env: {},
        resources: { gpuMilli: 0n, cpuMilli: 100n, memoryBytes: 0n },
        flavour: 'a',
        leaseMs: 60_000,
        ...fields,
      };
    }

    async function until(key: string, state: Observation['state']): Promise<Observation> {
      for (;;) {
        const observation = await provider.observe(key, signal);
        if (observation.state === state) return observation;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }

    async function rest(key: string, before: Buffer): Promise<Buffer> {
      const part = await provider.logs(key, before.length, 100_000, signal);
      return part.length === 0 ? before : rest(key, Buffer.concat([before, part]));
    }

    async function failureOf(work: Promise<unknown>): Promise<ProviderError> {
      const failure = await work.then(
        () => undefined,
        (error) => error,
      );
      expect(failure).toBeInstanceOf(ProviderError);
      return failure as ProviderError;
    }

    test('runs an attempt with its folder and environment to the end, and reads its log from an offset', async () => {
      const workdir = await mkdtemp(join(tmpdir(), 'merit-work-'));
      await writeFile(join(workdir, 'main.py'), "import os; print('got', os.environ['MERIT_PARAMETERS'])");
      const one = spec({
        entrypoint: 'python main.py',
        workdir,
        env: { MERIT_PARAMETERS: '{"a":"\'$(id)"}' },
        resources: { gpuMilli: 500n, cpuMilli: 500n, memoryBytes: 50_000_000n },
      });
      const handle = await provider.submit(one, signal);
      expect(handle).toMatchObject({
        provider: 'ray',
        id: one.key,
        uid: expect.stringMatching(/^session_[\w-]+\/\d{13}$/),
      });
      expect(await until(one.key, 'ended')).toMatchObject({ outcome: 'succeeded', exitCode: 0, handle });
      const log = Buffer.from(await provider.logs(one.key, 0, 100_000, signal));
      const at = log.indexOf('got');
      // Ray's own lines are buffered and may come before the job's or after.
      expect(log.subarray(at).toString()).toMatch(/^got {"a":"'\$\(id\)"}\n/);
      expect(Buffer.from(await provider.logs(one.key, at, 3, signal)).toString()).toBe('got');
      expect(await provider.logs(one.key, log.length, 100, signal)).toHaveLength(0);
      await rm(workdir, { recursive: true });
    });

    test('adopts its own attempt on a second submit, also of many at once, and refuses the same key with other ownership', async () => {
      const one = spec({ entrypoint: 'sleep 60' });
      const handles = await Promise.all(Array.from({ length: 5 }, () => provider.submit(one, signal)));
      expect(new Set(handles.map((handle) => handle.uid)).size).toBe(1);
      expect((await provider.list(tag, signal)).filter((owned) => owned.key === one.key)).toHaveLength(1);
      expect(await failureOf(provider.submit({ ...one, bookingId: 'other' }, signal))).toMatchObject({
        code: 'invalid',
        message: expect.stringContaining('conflict'),
      });
      await until(one.key, 'running');
      await provider.release(one.key, signal);
      expect(await provider.observe(one.key, signal)).toMatchObject({ state: 'ended', outcome: 'stopped' });
      await provider.release(one.key, signal);
    });

    test('tells a failing attempt by its exit code, and 4 KiB of a 2 MB traceback', async () => {
      const code =
        "import sys; sys.stderr.write('\\x1b[31mTraceback\\n' + 'x' * 2_000_000 + '\\nValueError: last'); sys.exit(9)";
      const one = spec({ entrypoint: `python -c "${code}"` });
      await provider.submit(one, signal);
      const ended = await until(one.key, 'ended');
      expect(ended).toMatchObject({
        outcome: 'failed',
        exitCode: 9,
        // Ray buffers its own line about the entrypoint, which may come after the job's last.
        message: expect.stringContaining('ValueError: last'),
      });
      const message = ended.state === 'ended' ? ended.message : '';
      expect(Buffer.byteLength(message)).toBeLessThanOrEqual(4096);
      expect(message).not.toMatch(/\p{Cc}/u);
    });

    test('gives a drained attempt its grace to end by itself', async () => {
      const one = spec({
        entrypoint: "trap 'sleep 1; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.1; done",
      });
      await provider.submit(one, signal);
      while (!Buffer.from(await provider.logs(one.key, 0, 10_000, signal)).includes('\nready\n')) {
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await provider.drain(one.key, 5_000, signal);
      await provider.release(one.key, signal);
      expect(await provider.observe(one.key, signal)).toMatchObject({ state: 'ended', outcome: 'stopped' });
      expect(Buffer.from(await provider.logs(one.key, 0, 10_000, signal)).toString()).toContain('\nsaved\n');
    });

    test('kills a released attempt that does not want to end', async () => {
      const one = spec({ entrypoint: "trap '' TERM; echo ready; while :; do sleep 0.1; done" });
      await provider.submit(one, signal);
      while (!Buffer.from(await provider.logs(one.key, 0, 10_000, signal)).includes('\nready\n')) {
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await provider.release(one.key, signal);
      expect(await provider.observe(one.key, signal)).toMatchObject({ state: 'ended', outcome: 'stopped' });
    });

    test('counts the GPUs an attempt holds, queues the next, and frees a queued one that is released', async () => {
      const gpus = (gpuMilli: bigint) => ({ resources: { gpuMilli, cpuMilli: 0n, memoryBytes: 0n } });
      const holder = spec({ entrypoint: 'sleep 120', ...gpus(4000n) });
      await provider.submit(holder, signal);
      await until(holder.key, 'running');
      for (;;) {
        const [capacity] = await provider.capacity(signal);
        expect(capacity).toMatchObject({ flavour: 'a', totalGpuMilli: 4000n });
        if (capacity?.freeGpuMilli === 0n) break;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      const queued = spec({ entrypoint: 'echo began; sleep 120', ...gpus(1000n) });
      await provider.submit(queued, signal);
      expect(await provider.observe(queued.key, signal)).toMatchObject({ state: 'pending' });
      await provider.release(queued.key, signal);
      expect(await provider.observe(queued.key, signal)).toMatchObject({ state: 'ended', outcome: 'stopped' });
      expect((await provider.list(tag, signal)).find((owned) => owned.key === queued.key)).toMatchObject({
        live: false,
      });
      await provider.release(holder.key, signal);
      // With the GPUs free Ray starts the queued one's supervisor, which finds the stop waiting.
      const other = await rayProvider.open(
        { address: ray.address, tokenFile: ray.tokenFile },
        { stateDir: tmpdir(), clock: systemClock },
      );
      for (;;) {
        const observation = await other.observe(queued.key, signal);
        if (observation.state === 'ended') {
          expect(observation.outcome).toBe('stopped');
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await other.close();
    });

    test('submits nothing that could never fit', async () => {
      const one = spec({ resources: { gpuMilli: 5000n, cpuMilli: 0n, memoryBytes: 0n } });
      expect(await failureOf(provider.submit(one, signal))).toMatchObject({ code: 'no_capacity', effect: 'none' });
      expect(await provider.observe(one.key, signal)).toEqual({ state: 'absent' });
    });

    test('reads a log as it grows, piece by piece, to the last byte', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'merit-log-'));
      const go = join(folder, 'go');
      const lines = (from: number, to: number) => `for i in $(seq ${from} ${to}); do echo "grün $i"; done`;
      const waits = 'while [ ! -e "$GO" ]; do sleep 0.1; done';
      const one = spec({
        entrypoint: `${lines(1, 20)}; ${waits}; ${lines(21, 40)}; printf "no line end"`,
        env: { GO: go },
      });
      const text = (from: number, to: number) =>
        Array.from({ length: to - from + 1 }, (_, i) => `grün ${from + i}\n`).join('');
      await provider.submit(one, signal);
      let log = Buffer.alloc(0);
      // Ray writes lines of its own into the same file, whenever it comes to that.
      const said = () => log.toString().replace(/^(Running entrypoint for job |\S+ \S+\tINFO ).*\n/gm, '');
      const readOn = async () => {
        const part = await provider.logs(one.key, log.length, 100, signal);
        log = Buffer.concat([log, part]);
        return part.length;
      };
      while (!said().includes(text(1, 20))) await readOn();
      // There is nothing more of it, and it has not ended.
      while ((await readOn()) > 0);
      await writeFile(go, '');
      for (let ended = false; ; ) {
        if ((await readOn()) > 0) continue;
        if (ended) break;
        ended = (await provider.observe(one.key, signal)).state === 'ended';
      }
      await rm(folder, { recursive: true });
      expect(said()).toContain(`${text(1, 40)}no line end`);
      const again = await provider.logs(one.key, 0, 100_000, signal);
      const whole = await rest(one.key, Buffer.from(again));
      expect(whole.equals(log)).toBe(true);
    });

    test('lists its own tag only', async () => {
      const listed = await provider.list(tag, signal);
      expect(listed.length).toBeGreaterThan(0);
      expect(listed.every((owned) => owned.key.startsWith(`m-${tag}`))).toBe(true);
      expect(await provider.list('nobody', signal)).toEqual([]);
    });
  },
);
