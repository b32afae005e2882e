import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ownerOf, tryLock } from '../bin/lock.mjs';
import { OperatingError } from '../core/operating-error.ts';

/**
 * The parts a server starts (Postgres, Ray, simulators) outlive a `kill -9` of it. So each is written down with its process
 * id and start time, and a keeper (bin/keeper.mjs) ends them when the server is gone and no other took over. A process id
 * alone is never trusted: the kernel gives it out again.
 */
export interface Part {
  readonly name: string;
  readonly pid: number;
  /** As `processStart` says it. */
  readonly startTime: string;
  /** The part leads a process group of its own; the whole group is ended. */
  readonly group: boolean;
  /** Asks it to end: SIGINT is Postgres' fast shutdown. */
  readonly signal: 'SIGTERM' | 'SIGINT';
}

const PARTS_FILE = 'parts.json';
const SERVER_LOCK = 'server.lock';
/** A part that was asked to end has this long before it is made to. */
export const PART_END_LIMIT_MS = 15_000;
/** A server that died has this long to be started again before the keeper ends its parts. */
export const KEEPER_GRACE_MS = 20_000;
const KEEPER_POLL_MS = 500;

let bootId: string | undefined;

function linuxBootId(): string {
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
  return bootId;
}

interface ProcessFacts {
  readonly startTime: string;
  readonly zombie: boolean;
}

function processFacts(pid: number): ProcessFacts | undefined {
  if (process.platform === 'linux') {
    let stat: string;
    try {
      stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    } catch {
      return undefined;
    }
    // The command's name stands in parentheses and may hold anything: fields count from the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const state = fields[0];
    return { startTime: `${linuxBootId()}:${fields[19]}`, zombie: state === 'Z' || state === 'X' };
  }
  try {
    const line = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    const space = line.indexOf(' ');
    return space < 0 ? undefined : { startTime: line.slice(space + 1).trim(), zombie: line.startsWith('Z') };
  } catch {
    return undefined;
  }
}

/** When the process began, as an opaque text that differs between boots; undefined where no such process runs (a zombie does not). */
export function processStart(pid: number): string | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  const facts = processFacts(pid);
  return facts === undefined || facts.zombie ? undefined : facts.startTime;
}

/** Whether this very process still runs: the same id begun at the same time. */
export function isAlive(pid: number, startTime: string): boolean {
  return processStart(pid) === startTime;
}

/** Writes a file whole or not at all, readable by its owner only, whatever the umask. */
export function replaceFileSync(path: string, text: string): void {
  const temporary = `${path}.tmp-${process.pid}-${randomBytes(4).toString('hex')}`;
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: 'wx', flush: true });
    chmodSync(temporary, 0o600);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function isPart(value: unknown): value is Part {
  const part = value as Partial<Part> | null;
  return (
    typeof part === 'object' &&
    part !== null &&
    typeof part.name === 'string' &&
    Number.isSafeInteger(part.pid) &&
    (part.pid ?? 0) > 1 &&
    typeof part.startTime === 'string' &&
    typeof part.group === 'boolean' &&
    (part.signal === 'SIGTERM' || part.signal === 'SIGINT')
  );
}

/** The parts written down, oldest first. A file that cannot be read as such counts as empty. */
export function readParts(stateDir: string): readonly Part[] {
  try {
    const value: unknown = JSON.parse(readFileSync(join(stateDir, PARTS_FILE), 'utf8'));
    return Array.isArray(value) ? value.filter(isPart) : [];
  } catch {
    return [];
  }
}

/** Writes a running part down. Does nothing where the process is gone already. */
export function recordPart(
  stateDir: string,
  part: { readonly name: string; readonly pid: number; readonly group?: boolean; readonly signal?: Part['signal'] },
): void {
  const startTime = processStart(part.pid);
  if (startTime === undefined) return;
  const others = readParts(stateDir).filter((other) => other.pid !== part.pid && partRemains(other));
  const record: Part = { group: false, signal: 'SIGTERM', ...part, startTime };
  replaceFileSync(join(stateDir, PARTS_FILE), JSON.stringify([...others, record]));
}

/** Takes a part that ended off the list. */
export function forgetPart(stateDir: string, pid: number): void {
  const parts = readParts(stateDir);
  const left = parts.filter((part) => part.pid !== pid);
  if (left.length !== parts.length) replaceFileSync(join(stateDir, PARTS_FILE), JSON.stringify(left));
}

function groupExists(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whether anything of the part still runs: for a group also members that outlived their leader. */
export function partRemains(part: Part): boolean {
  if (isAlive(part.pid, part.startTime)) return true;
  // While a group has members the kernel does not give its number to a new process; a live one there is a stranger's.
  return part.group && processStart(part.pid) === undefined && groupExists(part.pid) && groupHasLiveMember(part.pid);
}

/** A group that consists of zombies only has ended. */
function groupHasLiveMember(pid: number): boolean {
  try {
    const lines = execFileSync('ps', ['-A', '-o', 'pgid=,stat='], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return lines.split('\n').some((line) => {
      const [group, stat] = line.trim().split(/\s+/);
      return group === String(pid) && stat !== undefined && !stat.startsWith('Z');
    });
  } catch {
    return true;
  }
}

function signalPart(part: Part, signal: NodeJS.Signals): void {
  try {
    process.kill(part.group ? -part.pid : part.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function untilGone(part: Part, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  for (let pauseMs = 10; partRemains(part); pauseMs = Math.min(pauseMs * 2, 200)) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return true;
}

/**
 * Asks the part to end and waits; past the limit it is killed. True once nothing of it runs. Postgres (SIGINT) is then told
 * to stop at once (SIGQUIT), which it recovers from, and never SIGKILLed before that.
 */
export async function endPart(part: Part, limitMs: number = PART_END_LIMIT_MS): Promise<boolean> {
  const ladder: NodeJS.Signals[] =
    part.signal === 'SIGINT' ? ['SIGINT', 'SIGQUIT', 'SIGKILL'] : [part.signal, 'SIGKILL'];
  for (const signal of ladder) {
    if (!partRemains(part)) return true;
    signalPart(part, signal);
    if (await untilGone(part, limitMs)) return true;
  }
  return false;
}

interface ServerRecord {
  readonly pid: number;
  readonly startTime: string;
}

function serverOf(record: string): ServerRecord | undefined {
  try {
    const value = JSON.parse(record) as Partial<ServerRecord> | null;
    if (typeof value?.pid !== 'number' || typeof value.startTime !== 'string') return undefined;
    return { pid: value.pid, startTime: value.startTime };
  } catch {
    return undefined;
  }
}

function isServerAlive(record: string): boolean {
  const server = serverOf(record);
  return server !== undefined && isAlive(server.pid, server.startTime);
}

/** The live server of this state folder, if one runs. */
export function liveServer(stateDir: string): ServerRecord | undefined {
  const record = ownerOf(join(stateDir, SERVER_LOCK), isServerAlive);
  return record === undefined ? undefined : serverOf(record);
}

/**
 * Makes this process the one server of the state folder. Throws OperatingError `conflict` where another one runs.
 * `release` gives it back; a server that dies without it is recognised by its start time.
 */
export function claimServer(stateDir: string): { release(): void } {
  const startTime = processStart(process.pid);
  const lock = tryLock(join(stateDir, SERVER_LOCK), JSON.stringify({ pid: process.pid, startTime }), isServerAlive);
  if (lock.owner === undefined) return lock;
  throw new OperatingError('conflict', 'never', `taking the state folder ${stateDir}`, {
    cause: `a server runs there already (process ${serverOf(lock.owner)?.pid})`,
    mend: 'stop it, or start this one with another --state-dir',
  });
}

/** Starts the keeper of this process's parts, detached: it sees this process end however it ends. */
export function startKeeper(stateDir: string, options: { readonly graceMs?: number } = {}): number {
  const startTime = processStart(process.pid);
  const script = fileURLToPath(new URL('../bin/keeper.mjs', import.meta.url));
  const args = [script, stateDir, String(process.pid), startTime ?? '', String(options.graceMs ?? KEEPER_GRACE_MS)];
  const child = spawn(process.execPath, ['--max-old-space-size=32', ...args], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
  });
  child.on('error', () => {});
  child.unref();
  return child.pid ?? 0;
}

/**
 * The keeper's whole life: waits for `server` to end, gives a new server `graceMs` to take over, else ends the parts,
 * newest first. Returns what it ended.
 */
export async function keepParts(
  stateDir: string,
  server: ServerRecord,
  graceMs: number,
  endLimitMs: number = PART_END_LIMIT_MS,
): Promise<readonly string[]> {
  const pause = () => new Promise((resolve) => setTimeout(resolve, KEEPER_POLL_MS));
  while (isAlive(server.pid, server.startTime)) await pause();
  const deadline = performance.now() + graceMs;
  while (performance.now() < deadline) {
    if (liveServer(stateDir) !== undefined || readParts(stateDir).length === 0) return [];
    await pause();
  }
  const ended: string[] = [];
  for (const part of readParts(stateDir).toReversed()) {
    if (liveServer(stateDir) !== undefined) break;
    if (await endPart(part, endLimitMs)) {
      ended.push(part.name);
      forgetPart(stateDir, part.pid);
    }
  }
  return ended;
}
