import { hostname } from 'node:os';
import { isAlive, processStart } from '../../platform/processes.ts';

/** Names this process among all of them, also after its number was given to another. */
export function processHolder(): string {
  return `${hostname()}/${process.pid}/${processStart(process.pid) ?? ''}`;
}

/** Is it certain here that the process of that name has ended? Of another machine's nothing is known. */
export function hasEnded(holder: string): boolean {
  const [host, pid, start] = holder.split('/');
  return host === hostname() && start !== undefined && start !== '' && !isAlive(Number(pid), start);
}
