import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/** Where a process stands among the others. Who it is, pid and start time, is platform/processes.ts's to say. */
export interface ProcessPlace {
  readonly pid: number;
  readonly parentPid: number;
  readonly groupId: number;
  readonly sessionId: number;
}

const PS_TIMEOUT_MS = 5_000;
const PS_OUTPUT_LIMIT_BYTES = 8 * 1024 * 1024;

/** Every process that runs; those that ended and wait to be collected are left out. */
export function runningProcesses(): Promise<readonly ProcessPlace[]> {
  return process.platform === 'linux' ? procTable() : psTable();
}

/** True if the process was started with exactly this variable (`NAME=value`) in its environment. Linux only: elsewhere always false. */
export async function hasEnvironment(pid: number, variable: string): Promise<boolean> {
  if (process.platform !== 'linux') return false;
  const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
  return environment.split('\0').includes(variable);
}

/** Sends a signal to one process, or with a negative id to a whole group. False: there is none. */
export function signalProcess(pidOrGroup: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pidOrGroup, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

async function procTable(): Promise<readonly ProcessPlace[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const places = await Promise.all(pids.map((pid) => placeOf(Number(pid))));
  return places.filter((one) => one !== undefined);
}

async function placeOf(pid: number): Promise<ProcessPlace | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  if (text === undefined) return undefined;
  // The second field is the command in brackets and may itself hold spaces and brackets: count from the last one. See proc_pid_stat(5).
  const [state, parentPid, groupId, sessionId] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if (state === 'Z' || state === 'X') return undefined;
  return { pid, parentPid: Number(parentPid), groupId: Number(groupId), sessionId: Number(sessionId) };
}

/** Where there is no /proc. `ps` shows no session there, so the group stands for it. */
async function psTable(): Promise<readonly ProcessPlace[]> {
  const options = { timeout: PS_TIMEOUT_MS, maxBuffer: PS_OUTPUT_LIMIT_BYTES };
  const { stdout } = await promisify(execFile)('ps', ['-axo', 'pid=,ppid=,pgid=,stat='], options);
  return stdout.split('\n').flatMap((line) => {
    const [pid, parentPid, groupId, state] = line.trim().split(/\s+/);
    if (pid === undefined || state === undefined || state.startsWith('Z')) return [];
    return [{ pid: Number(pid), parentPid: Number(parentPid), groupId: Number(groupId), sessionId: Number(groupId) }];
  });
}
