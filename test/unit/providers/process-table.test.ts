import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { hasEnvironment, runningProcesses, signalProcess } from '../../../providers/process-table.ts';

test('a process is found with its parent, group and session, and no more once it ended, collected or not', async () => {
  const child = spawn('sleep', ['60'], {
    detached: true,
    stdio: 'ignore',
    env: { PATH: process.env.PATH, MARK: 'a b' },
  });
  await once(child, 'spawn');
  const pid = child.pid ?? 0;
  const place = { pid, parentPid: process.pid, groupId: pid, sessionId: pid };
  expect((await runningProcesses()).find((one) => one.pid === pid)).toEqual(place);
  if (process.platform === 'linux') {
    expect(await hasEnvironment(pid, 'MARK=a b')).toBe(true);
    expect(await hasEnvironment(pid, 'MARK=a')).toBe(false);
  }
  const ended = once(child, 'exit');
  expect(signalProcess(-pid, 'SIGKILL')).toBe(true);
  await ended;
  expect((await runningProcesses()).some((one) => one.pid === pid)).toBe(false);
  expect(signalProcess(pid, 'SIGKILL')).toBe(false);
});

test.skipIf(process.platform !== 'linux')(
  'a process whose name holds brackets and spaces is read like any other',
  async () => {
    const child = spawn(
      process.execPath,
      ['-e', "process.title = 'x) S 1 (y'; console.log('named'); setTimeout(() => {}, 60_000)"],
      {
        detached: true,
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    await once(child.stdout, 'data');
    const found = (await runningProcesses()).find((one) => one.pid === child.pid);
    expect(found).toEqual({ pid: child.pid, parentPid: process.pid, groupId: child.pid, sessionId: child.pid });
    const ended = once(child, 'exit');
    signalProcess(-(child.pid ?? 0), 'SIGKILL');
    await ended;
  },
);
