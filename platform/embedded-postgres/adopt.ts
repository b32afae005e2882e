import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { uptime } from 'node:os';
import { basename, join } from 'node:path';
import { OperatingError } from '../../core/operating-error.ts';
import { processStart } from '../processes.ts';

export interface Running {
  readonly pid: number;
  readonly startTime: string;
  readonly port: number;
}

/** Crash recovery reads back the log before it lets anyone in. */
export const START_LIMIT_MS = 120_000;
export const POLL_MS = 15;
/** Backends of a Postgres that was killed see that and end by themselves; on a busy machine that takes a while. */
const ORPHANS_LIMIT_MS = 5_000;

export interface LockFile {
  readonly pid: number;
  readonly startedAtS: number;
  readonly port: number;
  readonly status: string;
}

/** postmaster.pid, line by line: process id, data folder, start time, port, socket folder, address, shared memory, status. */
export function readLockFile(dataDir: string): LockFile | undefined {
  try {
    const lines = readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n');
    const [pid, startedAtS, port] = [lines[0], lines[2], lines[3]].map(Number) as [number, number, number];
    return Number.isSafeInteger(pid) && pid > 0
      ? { pid, startedAtS, port, status: (lines[7] ?? '').trim() }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Whether that process is a Postgres of this data folder: its start command names it, and no other process of that number does. */
function servesFolder(pid: number, dataDir: string): boolean {
  try {
    if (process.platform === 'linux') {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return basename(words[0] ?? '') === 'postgres' && words.includes(dataDir);
    }
    return processStart(pid) !== undefined && commandOf(pid).includes(dataDir);
  } catch {
    return false;
  }
}

/** Where there is no /proc. */
function commandOf(pid: number): string {
  return execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

/**
 * The server that runs on the folder and is ready, if one does; waits while it starts, and while one that is shutting down
 * ends. A lock file that a reboot or a crash left is taken away where that is safe.
 */
export async function runningServer(dataDir: string, log: (line: string) => void): Promise<Running | undefined> {
  const startedAt = performance.now();
  const deadline = startedAt + START_LIMIT_MS;
  for (;;) {
    const lock = readLockFile(dataDir);
    if (lock === undefined) return undefined;
    const startTime = processStart(lock.pid);
    // Postgres itself takes over a lock whose process is gone: it looks whether orphans of it still hold shared memory.
    if (startTime === undefined) return undefined;
    if (!servesFolder(lock.pid, dataDir)) {
      // One that was just killed loses its command line before its number.
      if (performance.now() < startedAt + ORPHANS_LIMIT_MS && (await someoneWorksIn(dataDir))) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        continue;
      }
      await removeStaleLock(dataDir, lock, log);
      return undefined;
    }
    if (lock.status === 'ready') return { pid: lock.pid, startTime, port: lock.port };
    if (performance.now() > deadline) {
      throw new OperatingError(
        'timeout',
        'safe',
        `waiting for the Postgres that runs on ${dataDir} (process ${lock.pid})`,
        {
          cause: `it is ${lock.status || 'not ready'}`,
          mend: 'end that process, then start again',
        },
      );
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/**
 * The process id in the lock file lives, but is another program's. Postgres would refuse to start; taking the file away is
 * safe where the machine was booted since, or where no process works in the folder.
 */
async function removeStaleLock(dataDir: string, lock: LockFile, log: (line: string) => void): Promise<void> {
  const bootedAtS = Date.now() / 1000 - uptime();
  const clockSlackS = 5;
  const rebooted = lock.startedAtS < bootedAtS - clockSlackS;
  if (!rebooted && (process.platform !== 'linux' || (await someoneWorksIn(dataDir)))) {
    throw new OperatingError('conflict', 'never', `opening the data folder ${dataDir}`, {
      cause: 'its postmaster.pid names a process that is not its Postgres, and parts of the old one may still run',
      mend: `make sure that no postgres process runs on it, then remove ${join(dataDir, 'postmaster.pid')}`,
    });
  }
  await rm(join(dataDir, 'postmaster.pid'), { force: true });
  log(`removed a stale postmaster.pid (process ${lock.pid} is not Postgres) from ${dataDir}`);
}

async function someoneWorksIn(dataDir: string): Promise<boolean> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readlinkSync(`/proc/${name}/cwd`) === dataDir) return true;
    } catch {
      // Gone, or another user's: a backend of ours is readable.
    }
  }
  return false;
}
