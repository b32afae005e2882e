import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFileSync } from '../../platform/processes.ts';

/**
 * An attempt's folder is all that is known of it, so that any later Merit reads the same. Files appear whole, in this order, and but for
 * the lease's length never change: intent (it shall run) → claim (exactly one process may run it, or a release forbids it) → job (it runs) → exit (it ended).
 */
const INTENT = 'intent.json';
const CLAIM = 'claim.json';
const JOB = 'job.json';
const STOP = 'stop.json';
const LEASE = 'lease.json';
const EXIT = 'exit.json';

/** What shall run; amounts as decimal text, because JSON has no bigint. */
export interface Intent {
  readonly uid: string;
  readonly key: string;
  readonly tag: string;
  readonly bookingId: string;
  readonly attempt: number;
  readonly entrypoint: string;
  readonly env: Readonly<Record<string, string>>;
  readonly gpuMilli: string;
  readonly cpuMilli: string;
  readonly memoryBytes: string;
  /** Indices of the GPUs it sees. */
  readonly gpus: readonly number[];
  readonly leaseMs: number;
  readonly stopGraceMs: number;
  readonly logLimitBytes: number;
  readonly niceness: number;
}

/** Who may run it: a wrapper process, or nobody any more. */
export type Claim =
  | { readonly by: 'wrapper'; readonly pid: number; readonly startTime: string }
  | { readonly by: 'release' };

/** The leader of the job's own session and process group. */
export interface JobProcess {
  readonly pid: number;
  readonly startTime: string;
  readonly startedAtMs: number;
}

export interface Exit {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly why: 'ended' | 'lease' | 'never-started' | 'could-not-start' | 'lost';
  readonly startedAtMs: number | null;
  readonly endedAtMs: number | null;
  /** CPU time of all of it that was waited for; absent where nobody could tell. */
  readonly cpuMs?: number;
}

export function workPath(folder: string): string {
  return join(folder, 'work');
}

export function homePath(folder: string): string {
  return join(folder, 'home');
}

export function tempPath(folder: string): string {
  return join(folder, 'tmp');
}

export function logPath(folder: string): string {
  return join(folder, 'log');
}

export const readIntent = (folder: string) => read<Intent>(folder, INTENT);
export const readClaim = (folder: string) => read<Claim>(folder, CLAIM);
export const readJob = (folder: string) => read<JobProcess>(folder, JOB);
export const readExit = (folder: string) => read<Exit>(folder, EXIT);
/** How long it may run, where that was made longer than its intent says. */
export const readLeaseMs = (folder: string) => read<{ readonly leaseMs: number }>(folder, LEASE)?.leaseMs;
export const writeLeaseMs = (folder: string, leaseMs: number) =>
  replaceFileSync(join(folder, LEASE), JSON.stringify({ leaseMs }));
export const isStopAsked = (folder: string) => existsSync(join(folder, STOP));

/** Each returns false where the file was there already: then somebody else's word holds. */
export const writeIntent = (folder: string, intent: Intent) => writeOnce(folder, INTENT, intent);
export const writeClaim = (folder: string, claim: Claim) => writeOnce(folder, CLAIM, claim);
export const writeStop = (folder: string) => writeOnce(folder, STOP, {});
export const writeExit = (folder: string, exit: Exit) => writeOnce(folder, EXIT, exit);

export function writeJob(folder: string, job: JobProcess): void {
  replaceFileSync(join(folder, JOB), JSON.stringify(job));
}

function read<T>(folder: string, name: string): T | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ENOTDIR')
      return undefined;
    throw error;
  }
}

/** A link is made or not, and what it names is whole: no reader sees half a file, and of two writers one wins. */
function writeOnce(folder: string, name: string, value: Intent | Claim | Exit | Record<string, never>): boolean {
  const temporary = join(folder, `.${name}.${process.pid}.${randomBytes(4).toString('hex')}`);
  try {
    writeFileSync(temporary, JSON.stringify(value), { mode: 0o600, flag: 'wx', flush: true });
    linkSync(temporary, join(folder, name));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}
