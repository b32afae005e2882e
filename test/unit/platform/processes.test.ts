import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  claimServer,
  endPart,
  forgetPart,
  isAlive,
  keepParts,
  liveServer,
  type Part,
  partRemains,
  processStart,
  readParts,
  recordPart,
} from '../../../platform/processes.ts';

let stateDir: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'merit-state-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    try {
      process.kill(child.spawnargs.includes('grouped') ? -(child.pid ?? 0) : (child.pid ?? 0), 'SIGKILL');
    } catch {
      // Ended already.
    }
  }
  await rm(stateDir, { recursive: true });
});

function start(script: string, options: SpawnOptions = {}): ChildProcess & { readonly pid: number } {
  const child = spawn('sh', ['-c', script, options.detached === true ? 'grouped' : 'plain'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    ...options,
  });
  children.push(child);
  return child as ChildProcess & { readonly pid: number };
}

const lineOf = async (child: ChildProcess): Promise<string> => {
  const [chunk] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  return chunk.toString().trim();
};
const partOf = (pid: number, more: Partial<Part> = {}): Part => ({
  name: 'p',
  pid,
  startTime: processStart(pid) ?? '',
  group: false,
  signal: 'SIGTERM',
  ...more,
});
const until = async (done: () => boolean) => {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 20));
};

describe('which process it is', () => {
  test('a process has one start time all its life', async () => {
    const mine = processStart(process.pid);
    expect(mine).toBeDefined();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(processStart(process.pid)).toBe(mine);
    expect(isAlive(process.pid, mine ?? '')).toBe(true);
  });

  test('the same number begun at another time is another process', () => {
    expect(isAlive(process.pid, 'earlier')).toBe(false);
    for (const pid of [0, -1, 1.5, Number.NaN, 2 ** 30]) expect(processStart(pid)).toBeUndefined();
  });

  test('a process that ended has no start time, nor has a zombie', async () => {
    const ended = start('exit 0');
    await once(ended, 'exit');
    expect(processStart(ended.pid)).toBeUndefined();
    const parent = start('true & echo $!; exec sleep 60');
    const zombie = Number(await lineOf(parent));
    await until(() => processStart(zombie) === undefined);
    expect(processStart(parent.pid)).toBeDefined();
  });

  test('a name with parentheses and blanks does not confuse it', async () => {
    const child = spawn('bash', ['-c', 'exec -a x bash -c \'printf "a) S 1 (b" > /proc/$$/comm; echo ok; sleep 60\''], {
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    children.push(child);
    await lineOf(child);
    const first = processStart(child.pid ?? 0);
    expect(first).toMatch(/^[0-9a-f]{8}:\d+$/);
  });
});

describe('the list of parts', () => {
  test('holds what was recorded until it is forgotten, private to its owner', async () => {
    const [one, two] = [start('sleep 60'), start('sleep 60')];
    recordPart(stateDir, { name: 'one', pid: one.pid });
    recordPart(stateDir, { name: 'two', pid: two.pid, group: true, signal: 'SIGINT' });
    recordPart(stateDir, { name: 'one again', pid: one.pid });
    expect(readParts(stateDir).map(({ startTime: _, ...part }) => part)).toEqual([
      { name: 'two', pid: two.pid, group: true, signal: 'SIGINT' },
      { name: 'one again', pid: one.pid, group: false, signal: 'SIGTERM' },
    ]);
    expect((await stat(join(stateDir, 'parts.json'))).mode & 0o777).toBe(0o600);
    forgetPart(stateDir, two.pid);
    forgetPart(stateDir, 12345);
    expect(readParts(stateDir).map((part) => part.pid)).toEqual([one.pid]);
    expect(await readdir(stateDir)).toEqual(['parts.json']);
  });

  test('drops parts that are gone, and does not take up dead ones', async () => {
    const gone = start('sleep 60');
    recordPart(stateDir, { name: 'gone', pid: gone.pid });
    gone.kill('SIGKILL');
    await once(gone, 'exit');
    const live = start('sleep 60');
    recordPart(stateDir, { name: 'live', pid: live.pid });
    recordPart(stateDir, { name: 'dead', pid: gone.pid });
    expect(readParts(stateDir).map((part) => part.name)).toEqual(['live']);
  });

  test.each([
    '',
    '{}',
    '[1, null]',
    '[{"name":"x","pid":1}]',
    '[{"name":"x","pid":-5,"startTime":"a","group":true,"signal":"SIGTERM"}]',
    '[{"name":"x","pid":5,"startTime":"a","group":false,"signal":"SIGSTOP"}]',
  ])('a file that is not such a list counts as empty (%s)', async (text) => {
    await writeFile(join(stateDir, 'parts.json'), text);
    expect(readParts(stateDir)).toEqual([]);
  });
});

describe('ending a part', () => {
  test('one that listens ends when asked', async () => {
    const child = start('sleep 60');
    expect(await endPart(partOf(child.pid))).toBe(true);
    expect(processStart(child.pid)).toBeUndefined();
    expect(child.signalCode ?? (await once(child, 'exit'))[1]).toBe('SIGTERM');
  });

  test('one that does not listen is killed past its limit', async () => {
    const child = start("trap '' TERM; echo ready; while :; do sleep 1; done", { detached: true });
    await lineOf(child);
    expect(await endPart(partOf(child.pid), 100)).toBe(true);
    expect(processStart(child.pid)).toBeUndefined();
  });

  test('of a group every member ends, also when the leader is gone', async () => {
    const leader = start('sleep 60 & echo $!; exec sleep 60', { detached: true });
    const member = Number(await lineOf(leader));
    const part = partOf(leader.pid, { group: true });
    process.kill(leader.pid, 'SIGKILL');
    await until(() => processStart(leader.pid) === undefined);
    expect(partRemains(part)).toBe(true);
    expect(await endPart(part)).toBe(true);
    expect(processStart(member)).toBeUndefined();
    expect(partRemains(part)).toBe(false);
  });

  test('a stranger that has the number now is left alone', async () => {
    const stranger = start('sleep 60', { detached: true });
    for (const group of [false, true]) {
      expect(await endPart({ ...partOf(stranger.pid), startTime: 'before', group })).toBe(true);
    }
    expect(processStart(stranger.pid)).toBeDefined();
  });
});

describe('one server a state folder', () => {
  test('a second one is refused while the first one lives, and then not', async () => {
    const server = spawn(
      process.execPath,
      [fileURLToPath(new URL('../../support/part-server.ts', import.meta.url)), stateDir, '60000'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    children.push(server);
    const [part = 0, keeper = 0] = (await lineOf(server)).split(' ').map(Number);
    expect(() => claimServer(stateDir)).toThrow(
      expect.objectContaining({ code: 'conflict', mend: expect.stringContaining('--state-dir') }),
    );
    server.kill('SIGKILL');
    await once(server, 'exit');
    const claim = claimServer(stateDir);
    // The keeper sees that we took over, and leaves the part to us.
    await until(() => processStart(keeper) === undefined);
    expect(processStart(part)).toBeDefined();
    claim.release();
    for (const left of readParts(stateDir)) expect(await endPart(left)).toBe(true);
  });

  test('it may be claimed again by the same process, and after a crash whatever its record says', async () => {
    claimServer(stateDir).release();
    const before = JSON.stringify({ pid: process.ppid, startTime: 'before the reboot' });
    for (const [i, record] of ['x', '{}', before].entries()) {
      await symlink(record, join(stateDir, 'server.lock', String(100 * (i + 1))));
      expect(liveServer(stateDir)).toBeUndefined();
      claimServer(stateDir).release();
    }
    expect(await readdir(join(stateDir, 'server.lock'))).toHaveLength(1);
  });
});

describe('the keeper', () => {
  test('ends the parts of a server that was killed and not started again, and then itself', async () => {
    const server = spawn(
      process.execPath,
      [fileURLToPath(new URL('../../support/part-server.ts', import.meta.url)), stateDir, '100'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    children.push(server);
    const [part = 0, keeper = 0] = (await lineOf(server)).split(' ').map(Number);
    expect([processStart(part), processStart(keeper)].every((one) => one !== undefined)).toBe(true);
    server.kill('SIGKILL');
    await until(() => processStart(part) === undefined && processStart(keeper) === undefined);
    expect(readParts(stateDir)).toEqual([]);
  });

  test('a server that left no parts is nothing to wait for', async () => {
    const hourMs = 3_600_000;
    expect(await keepParts(stateDir, { pid: 2 ** 30, startTime: 'gone' }, hourMs)).toEqual([]);
  });

  test('ends parts newest first', async () => {
    const [one, two] = [start('sleep 60'), start('sleep 60')];
    recordPart(stateDir, { name: 'database', pid: one.pid });
    recordPart(stateDir, { name: 'user of it', pid: two.pid });
    expect(await keepParts(stateDir, { pid: 2 ** 30, startTime: 'gone' }, 0)).toEqual(['user of it', 'database']);
  });
});
