import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endPart, forgetPart, type Part as Process, processStart, recordPart } from '../../../platform/processes.ts';
import type { Part, Place, RunOptions } from './part.ts';

/** Generous: the machine may be busy, and a part that fails ends by itself. */
export const READY_LIMIT_MS = 120_000;
const POLL_MS = 100;
const LOG_TAIL_LINES = 20;
const INHERITED = ['PATH', 'HOME', 'LANG', 'TZ', 'TMPDIR'];

/** One started instance of a part. */
export interface Instance {
  readonly facts: unknown;
  stop(): Promise<void>;
}

/** Starts the part in a folder below `runDir`, whose keeper ends it if this process cannot. `facts` are those of what it needs, by name. */
export async function startInstance(
  runDir: string,
  part: Part,
  facts: ReadonlyMap<string, unknown>,
): Promise<Instance> {
  const dir = mkdtempSync(join(runDir, `${part.name}-`));
  const running: Process[] = [];
  const stop = async () => {
    for (const process of running.splice(0).toReversed()) {
      if (!(await endPart(process))) throw new Error(`${process.name} (process ${process.pid}) does not end`);
      forgetPart(runDir, process.pid);
    }
  };
  const place: Place = {
    dir,
    factsOf: <Facts>(needed: Part<Facts>) => facts.get(needed.name) as Facts,
    freePort,
    run: (command, args, options) => runProcess({ runDir, dir, running }, command, args, options),
  };
  try {
    return { facts: await part.start(place), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Whereabouts {
  readonly runDir: string;
  readonly dir: string;
  readonly running: Process[];
}

async function runProcess(
  { runDir, dir, running }: Whereabouts,
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<number> {
  const name = basename(command);
  const logFile = join(dir, `${name}.log`);
  const log = openSync(logFile, 'a');
  const env: Record<string, string> = {};
  for (const key of INHERITED) if (process.env[key] !== undefined) env[key] = process.env[key];
  const child = spawn(command, args, {
    cwd: options.cwd ?? dir,
    env: { ...env, ...options.env },
    stdio: ['ignore', log, log],
    detached: true,
  });
  closeSync(log);
  let failure: Error | undefined;
  child.on('error', (error) => {
    failure = error;
  });
  if (child.pid !== undefined) {
    const record = { name, pid: child.pid, group: true, signal: options.signal ?? ('SIGTERM' as const) };
    recordPart(runDir, record);
    running.push({ ...record, startTime: processStart(child.pid) ?? '' });
  }
  child.unref();
  await untilReady(name, child, () => failure, options.ready, logFile);
  return child.pid ?? 0;
}

async function untilReady(
  name: string,
  child: ChildProcess,
  failure: () => Error | undefined,
  ready: RunOptions['ready'],
  logFile: string,
): Promise<void> {
  const deadline = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const failed = failure();
    if (failed !== undefined) throw new Error(`${name} could not be started: ${failed.message}`);
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`${name} ended (${child.exitCode ?? child.signalCode}) before it was ready:\n${tailOf(logFile)}`);
    if (await ready().catch(() => false)) return;
    if (performance.now() > deadline)
      throw new Error(`${name} was not ready after ${READY_LIMIT_MS / 1000} s:\n${tailOf(logFile)}`);
    await sleep(POLL_MS);
  }
}

function tailOf(file: string): string {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
}

/**
 * Below those that the system gives to whoever connects: a part that is killed and started again finds its port free, which a client that goes on knocking
 * there could else be given itself.
 */
const PORTS = { first: 20_000, count: 12_000 };
const PORT_TRIES = 100;

async function freePort(): Promise<number> {
  for (let tries = 0; tries < PORT_TRIES; tries++) {
    const port = PORTS.first + randomInt(PORTS.count);
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${PORTS.first} on is free`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
