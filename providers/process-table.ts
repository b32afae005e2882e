import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/** One process as the system sees it now. `startTime` with the pid names it for ever: pids are used again, start times are not. */
export interface ProcessFacts {
  readonly pid: number;
  readonly parentPid: number;
  readonly groupId: number;
  readonly sessionId: number;
  /** Ended, but not yet collected by its parent: runs nothing. */
  readonly zombie: boolean;
  /** Field 22 of /proc/PID/stat (clock ticks since boot); elsewhere what `ps -o lstart` prints. */
  readonly startTime: string;
}

const PS_TIMEOUT_MS = 5_000;
const PS_OUTPUT_LIMIT_BYTES = 8 * 1024 * 1024;

/** The process with this pid, or undefined. */
export async function processFacts(pid: number): Promise<ProcessFacts | undefined> {
  if (process.platform === 'linux') return readStat(pid);
  return (await psTable()).find((one) => one.pid === pid);
}

/** True while the very process that had this pid and start time runs. */
export async function isRunning(pid: number, startTime: string): Promise<boolean> {
  const facts = await processFacts(pid);
  return facts !== undefined && facts.startTime === startTime && !facts.zombie;
}

/** Every process, ended but uncollected ones left out. */
export async function runningProcesses(): Promise<readonly ProcessFacts[]> {
  const all = process.platform === 'linux' ? await procTable() : await psTable();
  return all.filter((one) => !one.zombie);
}

/** True if the process was started with exactly this variable in its environment. Linux only: elsewhere always false. */
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

async function procTable(): Promise<readonly ProcessFacts[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const facts = await Promise.all(pids.map((pid) => readStat(Number(pid))));
  return facts.filter((one) => one !== undefined);
}

async function readStat(pid: number): Promise<ProcessFacts | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  if (text === undefined) return undefined;
  // The second field is the command in brackets and may itself hold spaces and brackets: count from the last one. See proc_pid_stat(5).
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parentPid, groupId, sessionId] = fields;
  const startTime = fields[19];
  if (startTime === undefined) return undefined;
  return {
    pid,
    parentPid: Number(parentPid),
    groupId: Number(groupId),
    sessionId: Number(sessionId),
    zombie: state === 'Z' || state === 'X',
    startTime,
  };
}

/** Where there is no /proc. `ps` shows no session there, so the group stands for it. */
async function psTable(): Promise<readonly ProcessFacts[]> {
  const options = { timeout: PS_TIMEOUT_MS, maxBuffer: PS_OUTPUT_LIMIT_BYTES, env: { ...process.env, LC_ALL: 'C' } };
  const { stdout } = await promisify(execFile)('ps', ['-axo', 'pid=,ppid=,pgid=,stat=,lstart='], options);
  return stdout.split('\n').flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(.*\S)/.exec(line);
    if (match === null) return [];
    const [, pid, parentPid, groupId, state, startTime] = match;
    const group = Number(groupId);
    return [
      {
        pid: Number(pid),
        parentPid: Number(parentPid),
        groupId: group,
        sessionId: group,
        zombie: state?.startsWith('Z') === true,
        startTime: startTime ?? '',
      },
    ];
  });
}
