import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
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
const SERVER_FILE = 'server.pid';
/** A part that was asked to end has this long before it is made to. */
export const PART_END_LIMIT_MS = 15_000;
/** A server that died has this long to be started again before the keeper ends its parts. */
export const KEEPER_GRACE_MS = 20_000;
const KEEPER_POLL_MS = 500;
/** Looks at a state folder that others claim at the same time. */
const MAX_CLAIM_TRIES = 50;
const CLAIM_PAUSE_MS = 4;

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

/** The process that a record names, if it still runs. */
function liveRecord(path: string): ServerRecord | undefined {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as Partial<ServerRecord> | null;
    if (typeof value?.pid !== 'number' || typeof value.startTime !== 'string') return undefined;
    return isAlive(value.pid, value.startTime) ? { pid: value.pid, startTime: value.startTime } : undefined;
  } catch {
    return undefined;
  }
}

/** The live server of this state folder, if one runs. */
export function liveServer(stateDir: string): ServerRecord | undefined {
  return liveRecord(join(stateDir, SERVER_FILE));
}

/** A link is made or not: of several that ask at once, one has it. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    return false;
  }
}

/**
 * Takes away a record whose server is gone. One claimer at a time looks and removes: without that, one that looked early would remove what
 * a faster one has written since, and two servers would run.
 */
function removeDeadServer(path: string, mine: string): void {
  const turn = `${path}.turn`;
  if (!linked(mine, turn)) {
    if (liveRecord(turn) === undefined) rmSync(turn, { force: true });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, CLAIM_PAUSE_MS);
    return;
  }
  try {
    const other = liveRecord(path);
    if (other === undefined || other.pid === process.pid) rmSync(path, { force: true });
  } finally {
    rmSync(turn, { force: true });
  }
}

/**
 * Makes this process the one server of the state folder. Throws OperatingError `conflict` where another one runs.
 * `release` gives it back; a server that dies without it is recognised by its start time.
 */
export function claimServer(stateDir: string): { release(): void } {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const path = join(stateDir, SERVER_FILE);
  const startTime = processStart(process.pid);
  const temporary = `${path}.claim-${process.pid}`;
  writeFileSync(temporary, JSON.stringify({ pid: process.pid, startTime }), { mode: 0o600 });
  try {
    for (let attempt = 1; !linked(temporary, path); attempt++) {
      const other = liveServer(stateDir);
      if ((other !== undefined && other.pid !== process.pid) || attempt === MAX_CLAIM_TRIES) {
        throw new OperatingError('conflict', 'never', `taking the state folder ${stateDir}`, {
          cause: `a server runs there already${other === undefined ? '' : ` (process ${other.pid})`}`,
          mend: 'stop it, or start this one with another --state-dir',
        });
      }
      removeDeadServer(path, temporary);
    }
  } finally {
    rmSync(temporary, { force: true });
  }
  return {
    release: () => {
      if (liveServer(stateDir)?.pid === process.pid) rmSync(path, { force: true });
    },
  };
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
