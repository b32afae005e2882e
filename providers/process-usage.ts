import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { runningProcesses } from './process-table.ts';
import type { Usage } from './provider.ts';

/** Of the times in /proc: Linux tells them in hundredths of a second whatever its own tick is (USER_HZ). */
const TICK_MS = 10;

/**
 * CPU time and resident memory of the processes of a session or group, and the CPU time of those of them that ended and were waited for. Pages that
 * several of them share are counted for each. undefined: this is no Linux, or nothing of it runs.
 */
export async function sessionUsage(leader: number): Promise<Usage | undefined> {
  if (process.platform !== 'linux') return undefined;
  const own = (await runningProcesses()).filter((one) => one.groupId === leader || one.sessionId === leader);
  const read = await Promise.all(own.map(({ pid }) => usageOf(pid)));
  const known = read.filter((one) => one !== undefined);
  if (known.length === 0) return undefined;
  return {
    cpuMs: known.reduce((all, one) => all + one.cpuMs, 0),
    memoryBytes: known.reduce((all, one) => all + one.memoryBytes, 0),
  };
}

/** CPU time of what this process started and waited for. undefined: this is no Linux. */
export function collectedCpuMs(): number | undefined {
  if (process.platform !== 'linux') return undefined;
  const [, , cuser = 0, csystem = 0] = timesOf(readFileSync('/proc/self/stat', 'latin1'));
  return (cuser + csystem) * TICK_MS;
}

async function usageOf(pid: number): Promise<Required<Pick<Usage, 'cpuMs' | 'memoryBytes'>> | undefined> {
  const texts = ['stat', 'status'].map((name) => readFile(`/proc/${pid}/${name}`, 'latin1').catch(() => undefined));
  const [stat, status] = await Promise.all(texts);
  if (stat === undefined || status === undefined) return undefined;
  const cpuMs = timesOf(stat).reduce((all, ticks) => all + ticks, 0) * TICK_MS;
  return { cpuMs, memoryBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024 };
}

/** utime, stime, and the same of children that were waited for: fields 14 to 17 of proc_pid_stat(5), counted from the end of the command in brackets. */
function timesOf(stat: string): readonly number[] {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).map(Number);
}
