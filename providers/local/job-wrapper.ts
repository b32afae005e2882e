import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { processStart } from '../../platform/processes.ts';
import { signalProcess } from '../process-table.ts';
import { collectedCpuMs } from '../process-usage.ts';
import { jobEnvironment } from './job-environment.ts';
import {
  type Exit,
  homePath,
  type Intent,
  isStopAsked,
  logPath,
  readIntent,
  readLeaseMs,
  tempPath,
  workPath,
  writeClaim,
  writeExit,
  writeJob,
} from './job-folder.ts';
import { JobLog } from './job-log.ts';

/**
 * The process between Merit and one job: claims the folder, runs the job in a session of its own, keeps its log within the limit and
 * its lease, and writes down how it ended. It outlives Merit, so an exit code is never lost with the server.
 * Started as `node job-wrapper.ts FOLDER`.
 */

/**
 * Fixed: memory limit in KiB (0: none) and command line come as arguments. A shell that cannot limit runs the job without. What is limited
 * is data (RLIMIT_DATA), not address space: Node and CUDA reserve hundreds of GiB of that which they never touch.
 */
const SHELL = 'if [ "$1" -gt 0 ]; then ulimit -d "$1" 2>/dev/null; fi; exec /bin/sh -c "$2"';
/** After the job ended, what still comes through its pipes. */
const DRAIN_LIMIT_MS = 1_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

function main(folder: string): void {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
  const startTime = processStart(process.pid);
  if (startTime === undefined) process.exit(1);
  if (!writeClaim(folder, { by: 'wrapper', pid: process.pid, startTime })) process.exit(0);
  // Read once it is ours: a key that was withdrawn and submitted again may hold other GPUs.
  const intent = readIntent(folder);
  if (intent === undefined) process.exit(1);
  // A stop that comes before this look finds the job never begun; a later one is seen again once job.json is there.
  if (isStopAsked(folder)) finish(folder, { exitCode: null, signal: null, why: 'never-started', startedAtMs: null });
  else run(folder, intent);
}

function run(folder: string, intent: Intent): void {
  const log = new JobLog(logPath(folder), intent.logLimitBytes);
  const startedAtMs = Date.now();
  const couldNotStart = (problem: unknown): void => {
    log.write(Buffer.from(`${String(problem)}\n`));
    finish(folder, { exitCode: null, signal: null, why: 'could-not-start', startedAtMs: null });
  };
  try {
    const child = launch(folder, intent);
    child.once('error', couldNotStart);
    child.once('spawn', () => supervise(folder, intent, child, log, startedAtMs));
  } catch (problem) {
    couldNotStart(problem);
  }
}

function launch(folder: string, intent: Intent): ChildProcess {
  for (const path of [workPath(folder), homePath(folder), tempPath(folder)])
    mkdirSync(path, { recursive: true, mode: 0o700 });
  standBack(intent.niceness);
  const memoryKib = String(BigInt(intent.memoryBytes) / 1024n);
  return spawn('/bin/sh', ['-c', SHELL, 'sh', memoryKib, intent.entrypoint], {
    detached: true,
    cwd: workPath(folder),
    env: jobEnvironment(folder, intent, process.env.PATH ?? '/usr/bin:/bin'),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** The job inherits it. A server that already stands further back stays there: coming forward takes rights. */
function standBack(niceness: number): void {
  if (getPriority() < niceness) setPriority(niceness);
}

function supervise(folder: string, intent: Intent, child: ChildProcess, log: JobLog, startedAtMs: number): void {
  const pid = child.pid ?? 0;
  writeJob(folder, { pid, startTime: processStart(pid) ?? '', startedAtMs });
  if (isStopAsked(folder)) signalProcess(-pid, 'SIGTERM');
  child.stdout?.on('data', (chunk: Buffer) => log.write(chunk));
  child.stderr?.on('data', (chunk: Buffer) => log.write(chunk));
  let overLease = false;
  afterLease(folder, intent, performance.now(), () => {
    overLease = true;
    signalProcess(-pid, 'SIGTERM');
    after(intent.stopGraceMs, () => signalProcess(-pid, 'SIGKILL'));
  });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  child.once('exit', async (exitCode, signal) => {
    // What the job left behind in its group ends with it: an ended attempt runs nothing.
    signalProcess(-pid, 'SIGKILL');
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, DRAIN_LIMIT_MS))]);
    log.close();
    finish(folder, { exitCode, signal, why: overLease ? 'lease' : 'ended', startedAtMs });
  });
}

/** The lease may be made longer while it runs: what it is then, is read when it would be over. */
function afterLease(folder: string, intent: Intent, since: number, act: () => void): void {
  const leftMs = (readLeaseMs(folder) ?? intent.leaseMs) - (performance.now() - since);
  if (leftMs <= 0) act();
  else after(leftMs, () => afterLease(folder, intent, since, act));
}

/** setTimeout, beyond the 24.8 days that it can count. Ends with the process. */
function after(ms: number, act: () => void): void {
  const part = Math.min(ms, LONGEST_TIMER_MS);
  setTimeout(() => (ms > part ? after(ms - part, act) : act()), part).unref();
}

function finish(folder: string, exit: Omit<Exit, 'endedAtMs'>): never {
  const cpuMs = collectedCpuMs();
  writeExit(folder, { ...exit, endedAtMs: Date.now(), ...(cpuMs === undefined ? {} : { cpuMs }) });
  process.exit(0);
}

main(process.argv[2] ?? '');
