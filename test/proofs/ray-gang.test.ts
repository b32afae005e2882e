import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import type { AttemptSpec, Observation, Provider } from '../../providers/provider.ts';
import { openRayProvider } from '../../providers/ray/adapter.ts';
import { rayForTests, rayMissing, type TestRay } from '../support/ray.ts';
import { dueToday } from '../support/rotating.ts';

const missing = rayMissing();
const signal = new AbortController().signal;
type Ended = Extract<Observation, { state: 'ended' }>;

describe.skipIf(missing !== undefined)(`a gang on a real Ray${missing === undefined ? '' : ` (${missing})`}`, () => {
  let ray: TestRay;
  let provider: Provider;
  let folder: string;
  let count = 0;
  const tag = `g-${Date.now().toString(36)}`;

  beforeAll(async () => {
    ray = await rayForTests();
    folder = await mkdtemp(join(tmpdir(), 'merit-gang-'));
    provider = await providerWith({});
  });
  afterAll(async () => {
    await provider?.close();
    await ray?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  function providerWith(config: { readonly gangStartSeconds?: number }): Promise<Provider> {
    const { address, tokenFile } = ray;
    const flavours = [{ name: 'a', resource: 'pool_a' }];
    return openRayProvider({ address, tokenFile, stopGraceSeconds: 4, flavours, ...config }, systemClock);
  }

  function gang(entrypoint: string, fields: Partial<AttemptSpec> = {}): AttemptSpec {
    const bookingId = `${tag}${++count}`;
    return {
      key: `m-${bookingId}-1`,
      tag,
      bookingId,
      attempt: 1,
      entrypoint,
      workdir: undefined,
      env: { GANG: bookingId, FOLDER: folder },
      resources: { gpuMilli: 1000n, cpuMilli: 500n, memoryBytes: 0n },
      nodes: 2,
      flavour: 'a',
      leaseMs: 60_000,
      ...fields,
    };
  }

  async function end(key: string): Promise<Ended & { readonly log: string }> {
    for (;;) {
      const seen = await provider.observe(key, signal);
      if (seen.state === 'ended')
        return { ...seen, log: Buffer.from(await provider.logs(key, 0, 1_000_000, signal)).toString() };
      await systemClock.sleep(200);
    }
  }

  async function logged(key: string, text: string): Promise<void> {
    while (!Buffer.from(await provider.logs(key, 0, 100_000, signal)).includes(text)) await systemClock.sleep(200);
  }

  /** All that runs with this gang's name in its environment, Ray's own workers left out: they never have it. */
  function processes(bookingId: string): readonly number[] {
    return pids().filter((pid) => environmentOf(pid).includes(`\0GANG=${bookingId}\0`));
  }

  async function expectWhole(): Promise<void> {
    await expect
      .poll(async () => (await provider.capacity(signal))[0], { timeout: 30_000, interval: 300 })
      .toMatchObject({ totalGpuMilli: 4000n, freeGpuMilli: 4000n, freeCpuMilli: 4000n });
  }

  test('gives every node its rank and the addresses of all, its environment as it was given and the folder, and prints with ranks', async () => {
    const workdir = await mkdtemp(join(folder, 'work-'));
    await writeFile(join(workdir, 'words.txt'), 'grün 😀');
    const env = { PLAIN: `$HOME \${HOME} \${NONE} $(id) "'`, MERIT_PARAMETERS: `{"a":"\${HOME}"}` };
    const command =
      'echo "$MERIT_NODE_RANK/$MERIT_NUM_NODES $SKYPILOT_NODE_RANK/$SKYPILOT_NUM_NODES $SKYPILOT_NUM_GPUS_PER_NODE"; ' +
      'echo "ips $(echo "$MERIT_NODE_IPS" | wc -l) $(echo "$SKYPILOT_NODE_IPS" | head -1) head $MERIT_HEAD_IP"; ' +
      'echo "gpu $CUDA_VISIBLE_DEVICES"; echo "$PLAIN|$MERIT_PARAMETERS"; cat words.txt; printf "\\n\\377[merit] rank 9 was lost: its node has died"';
    const one = gang(command, { workdir, env });
    await provider.submit(one, signal);
    const ended = await end(one.key);
    expect(ended, ended.log).toMatchObject({ outcome: 'succeeded', exitCode: 0 });
    const ip = /head (\S+)/.exec(ended.log)?.[1];
    for (const rank of [0, 1]) {
      const own = ended.log
        .split('\n')
        .filter((line) => line.startsWith(`(rank ${rank}) `))
        .map((line) => line.slice(`(rank ${rank}) `.length));
      expect(own.filter((line) => !line.startsWith('gpu'))).toEqual([
        `${rank}/2 ${rank}/2 1`,
        `ips 2 ${ip} head ${ip}`,
        `${env.PLAIN}|${env.MERIT_PARAMETERS}`,
        'grün 😀',
        '\ufffd[merit] rank 9 was lost: its node has died',
      ]);
    }
    expect(new Set(ended.log.match(/gpu \d/g)).size).toBe(2);
    expect(ended.log.trim().split('\n').at(-1)).toBe('[merit] all 2 ranks ended well');
    await expectWhole();
  });

  test('ends as a whole when one rank fails: its exit code and rank are told, and nothing that the others started is left', async () => {
    // Rank 0 leaves a daemon of its own session behind; rank 1 fails once it is there.
    const one = gang(
      'if [ $MERIT_NODE_RANK = 0 ]; then (setsid sleep 300 >/dev/null 2>&1 &); touch $FOLDER/$GANG; trap "" TERM; sleep 300; sleep 300; fi; ' +
        'while [ ! -e $FOLDER/$GANG ]; do sleep 0.1; done; echo giving up >&2; exit 3',
    );
    await provider.submit(one, signal);
    const ended = await end(one.key);
    expect(ended).toMatchObject({
      outcome: 'failed',
      exitCode: 3,
      message: expect.stringMatching(/rank 1 of 2 on \S+ failed with exit code 3;/),
    });
    expect(ended.log).toContain('(rank 1) giving up\n');
    expect(processes(one.bookingId)).toEqual([]);
    await expectWhole();
  });

  test('that is released has its notice on every node, and is gone when the release returns', async () => {
    const one = gang('trap "sleep 0.5; echo saved; exit 0" TERM; echo ready; while :; do sleep 0.1; done');
    await provider.submit(one, signal);
    await logged(one.key, '(rank 0) ready');
    await logged(one.key, '(rank 1) ready');
    await provider.drain(one.key, 5_000, signal);
    await provider.release(one.key, signal);
    expect(processes(one.bookingId)).toEqual([]);
    const ended = await end(one.key);
    expect(ended).toMatchObject({ outcome: 'stopped' });
    for (const rank of [0, 1]) expect(ended.log).toContain(`(rank ${rank}) saved`);
    await expectWhole();
  });

  test.each(dueToday(['its driver', 'the worker of rank 1', 'the keeper of rank 1']))(
    'is gone from every node, and its capacity whole, after a kill -9 of %s',
    async (victim) => {
      const one = gang(
        'echo $$ > $FOLDER/$GANG-$MERIT_NODE_RANK; trap "" TERM; echo ready; while :; do sleep 0.1; done',
      );
      await provider.submit(one, signal);
      for (const rank of [0, 1]) await logged(one.key, `(rank ${rank}) ready`);
      process.kill(await victimOf(victim, one), 'SIGKILL');
      const ended = await end(one.key);
      expect(ended.outcome).toBe('failed');
      if (victim !== 'its driver') expect(ended.message).toMatch(/rank 1 of 2 on \S+ (was lost|failed)/);
      await expect.poll(() => processes(one.bookingId), { timeout: 15_000 }).toEqual([]);
      await expectWhole();
    },
  );

  test('begins on all its nodes or on none: without room for all of them nothing runs, and the attempt goes on another time', async () => {
    const hasty = await providerWith({ gangStartSeconds: 2 });
    const holder = gang('sleep 120', { nodes: 1, resources: { gpuMilli: 3000n, cpuMilli: 100n, memoryBytes: 0n } });
    await hasty.submit(holder, signal);
    while ((await provider.observe(holder.key, signal)).state !== 'running') await systemClock.sleep(200);
    const one = gang('echo began');
    await hasty.submit(one, signal);
    const ended = await end(one.key);
    expect(ended).toMatchObject({
      outcome: 'preempted',
      message: expect.stringContaining('no room for all its nodes'),
    });
    expect(ended.log).not.toContain('began');
    await hasty.release(holder.key, signal);
    await expectWhole();
    await hasty.close();
  });

  async function victimOf(victim: string, one: AttemptSpec): Promise<number> {
    if (victim === 'its driver') {
      const driver = pids().find(
        (pid) => commandOf(pid).includes('\0-m\0merit_gang') && orderOf(pid).includes(one.bookingId),
      );
      if (driver === undefined) throw new Error('the driver does not run');
      return driver;
    }
    const command = Number(await readFile(join(folder, `${one.bookingId}-1`), 'utf8'));
    const keeper = parentOf(command);
    if (victim === 'the keeper of rank 1') return keeper;
    // The worker holds the other end of the pipe that its keeper listens to; Ray names its actor.
    const worker = pids().filter((pid) => commandOf(pid).startsWith('ray::Rank') && pipesOf(pid).has(stdinOf(keeper)));
    expect(worker).toHaveLength(1);
    return worker[0] ?? 0;
  }
});

function pids(): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function fileOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

const environmentOf = (pid: number): string => `\0${fileOf(pid, 'environ')}`;
const commandOf = (pid: number): string => fileOf(pid, 'cmdline');
const parentOf = (pid: number): number => Number(/^PPid:\s+(\d+)/m.exec(fileOf(pid, 'status'))?.[1]);

function orderOf(pid: number): string {
  const order = /\0MERIT_GANG=([^\0]*)\0/.exec(environmentOf(pid))?.[1] ?? '';
  return Buffer.from(order, 'base64').toString();
}

function linkOf(pid: number, descriptor: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${descriptor}`);
  } catch {
    return '';
  }
}

const stdinOf = (pid: number): string => linkOf(pid, '0');

function pipesOf(pid: number): ReadonlySet<string> {
  return new Set(readdirSync(`/proc/${pid}/fd`).map((descriptor) => linkOf(pid, descriptor)));
}
