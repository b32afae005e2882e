import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { assert } from '../../core/assert.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { endPart, processStart } from '../processes.ts';
import type { RunAs } from '../state-layout.ts';
import { POLL_MS, type Running, readLockFile, runningServer, START_LIMIT_MS } from './adopt.ts';
import { childOptions, MAX_OUTPUT_CHARS } from './cluster.ts';
import { explainFailure } from './failure.ts';
import type { NativePostgres } from './native.ts';

export const STOP_LIMIT_MS = 30_000;
const MAX_LOG_BYTES = 10 * 1024 * 1024;
const MAX_START_TRIES = 4;

interface LaunchOptions {
  readonly stateDir: string;
  readonly postgresUser: RunAs | undefined;
  readonly log: (line: string) => void;
  readonly port?: number;
}

/** For a laptop: small, private, but safe: fsync, full_page_writes and synchronous_commit stay on. No statement and no row's content is logged. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  shared_buffers: '256MB',
  max_connections: '60',
  max_wal_size: '1GB',
  min_wal_size: '32MB',
  wal_level: 'minimal',
  max_wal_senders: '0',
  huge_pages: 'off',
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_checkpoints: 'off',
  max_logical_replication_workers: '0',
};

/** A port nobody listens on now. */
export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      assert(typeof address === 'object' && address !== null, 'a TCP server has an address');
      server.close(() => resolve(address.port));
    });
  });
}

async function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** Starts it on the wished port; a kept port that another program took meanwhile is given up for a free one. */
export async function startServer(
  options: LaunchOptions,
  native: NativePostgres,
  dataDir: string,
  keptPort: number,
): Promise<Running> {
  let port = options.port ?? keptPort;
  for (let attempt = 1; ; attempt++) {
    if (!(await isPortFree(port))) {
      if (options.port !== undefined || attempt === MAX_START_TRIES)
        throw explainFailure(`could not bind to port ${port}`, dataDir);
      options.log(`port ${port} is used by another program; Postgres takes another one`);
      port = await freePort();
    }
    try {
      return await launch(options, native, dataDir, port);
    } catch (error) {
      // Lost a race: for the port, or for the data folder against another start of ours.
      const raced = error instanceof OperatingError && error.code === 'conflict' && attempt < MAX_START_TRIES;
      if (!raced) throw error;
      const other = await runningServer(dataDir, options.log);
      if (other !== undefined) return other;
    }
  }
}

async function launch(options: LaunchOptions, native: NativePostgres, dataDir: string, port: number): Promise<Running> {
  const logPath = join(options.stateDir, 'postgres.log');
  const logStart = rotateLog(logPath);
  const settings = Object.entries({ ...SETTINGS, port: String(port) }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
  const logFile = openSync(logPath, 'a', 0o600);
  let child: ChildProcess;
  let failure: Error | undefined;
  try {
    // Detached: Ctrl-C in a terminal reaches the whole foreground group, and Postgres must outlive our drain.
    child = spawn(native.postgres, ['-D', dataDir, ...settings], {
      ...childOptions(native, options.postgresUser),
      detached: true,
      stdio: ['ignore', logFile, logFile],
    });
    child.once('error', (error) => {
      failure = error;
    });
  } finally {
    closeSync(logFile);
  }
  child.unref();
  const pid = child.pid;
  const deadline = performance.now() + START_LIMIT_MS;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (failure !== undefined || pid === undefined) throw explainFailure(String(failure), dataDir, failure);
    if (child.exitCode !== null || child.signalCode !== null) {
      throw explainFailure(readFileSync(logPath).subarray(logStart).toString('utf8').slice(-MAX_OUTPUT_CHARS), dataDir);
    }
    const lock = readLockFile(dataDir);
    const startTime = processStart(pid);
    if (lock?.pid === pid && lock.status === 'ready' && startTime !== undefined) return { pid, startTime, port };
    if (performance.now() > deadline) {
      if (startTime !== undefined)
        await endPart({ name: 'postgres', pid, startTime, group: false, signal: 'SIGINT' }, STOP_LIMIT_MS);
      throw new OperatingError('timeout', 'safe', `starting Postgres on ${dataDir}`, { mend: `read ${logPath}` });
    }
  }
}

/** The size of the log before this start; one old log is kept. */
function rotateLog(path: string): number {
  try {
    const size = statSync(path).size;
    if (size <= MAX_LOG_BYTES) return size;
    renameSync(path, `${path}.1`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return 0;
}
