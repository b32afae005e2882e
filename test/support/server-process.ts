import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { liveServer, processStart } from '../../platform/processes.ts';

const LAUNCHER = fileURLToPath(new URL('../../bin/merit.mjs', import.meta.url));
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 30_000;
const POLL_MS = 20;
const MAX_SAID_BYTES = 16_384;

/** The server as a user starts it: `merit start` in a process of its own. */
export interface ServerProcess {
  readonly url: string;
  readonly token: string;
  /** Of the server itself; the launcher that started it is another process. */
  readonly pid: number;
  /** `kill -9` of the server and of its launcher. Resolves once neither runs. */
  kill(): Promise<void>;
  /** SIGTERM; throws where it does not end by itself. */
  stop(): Promise<void>;
}

export interface ServerProcessOptions {
  readonly stateDir: string;
  /** Settings of Merit's; nothing else of Merit's in this process's environment reaches it. */
  readonly env: Readonly<Record<string, string>>;
}

/** Starts it and waits until it says in `server.json` where it listens. Throws with what it said where it does not come up. */
export async function startServerProcess({ stateDir, env }: ServerProcessOptions): Promise<ServerProcess> {
  const before = await serverRecord(stateDir);
  const launcher = spawn(process.execPath, [LAUNCHER, 'start', '--port', '0', '--state-dir', stateDir], {
    cwd: stateDir,
    env: { ...foreignEnvironment(), XDG_CACHE_HOME: join(stateDir, 'no-cache'), ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let said = '';
  launcher.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-MAX_SAID_BYTES);
  });
  const ended = once(launcher, 'exit');
  const deadline = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const record = await serverRecord(stateDir);
    if (record !== undefined && record.pid !== before?.pid && liveServer(stateDir)?.pid === record.pid) {
      const token = (await readFile(join(stateDir, record.tokenFile), 'utf8')).trim();
      return handle(launcher, ended, { ...record, token });
    }
    if (hasEnded(launcher) || performance.now() > deadline) {
      const pid = liveServer(stateDir)?.pid;
      if (pid !== undefined) signalIfThere(pid);
      launcher.kill('SIGKILL');
      throw new Error(`the server did not come up (exit ${launcher.exitCode}): ${said}`);
    }
    await sleep(POLL_MS);
  }
}

function handle(
  launcher: ChildProcess,
  ended: Promise<unknown>,
  { url, token, pid }: { readonly url: string; readonly token: string; readonly pid: number },
): ServerProcess {
  return {
    url,
    token,
    pid,
    kill: async () => {
      // The server first: it would end by itself, and in good order, once its launcher were gone.
      signalIfThere(pid);
      launcher.kill('SIGKILL');
      if (!hasEnded(launcher)) await ended;
      while (processStart(pid) !== undefined) await sleep(POLL_MS);
    },
    stop: async () => {
      launcher.kill('SIGTERM');
      const timer = setTimeout(() => {
        signalIfThere(pid);
        launcher.kill('SIGKILL');
      }, STOP_LIMIT_MS);
      if (!hasEnded(launcher)) await ended;
      clearTimeout(timer);
      if (launcher.signalCode === 'SIGKILL') throw new Error(`the server did not end within ${STOP_LIMIT_MS} ms`);
    },
  };
}

interface ServerRecord {
  readonly url: string;
  readonly tokenFile: string;
  readonly pid: number;
}

async function serverRecord(stateDir: string): Promise<ServerRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(stateDir, 'server.json'), 'utf8')) as ServerRecord;
  } catch {
    return undefined;
  }
}

/** This process's environment without what configures Merit or Node; no Python of the machine's is found by it. */
function foreignEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(MERIT_|VITEST|NODE_|PG|.*DATABASE_URL$)/.test(name));
  return Object.fromEntries(kept);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function signalIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
