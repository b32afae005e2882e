import { OperatingError } from '../../core/operating-error.ts';
import { systemClock } from '../../platform/clock.ts';
import { isAlive, processStart } from '../../platform/processes.ts';
import { hasEnvironment, runningProcesses, signalProcess } from '../process-table.ts';
import type { ClusterRecord } from './cluster-record.ts';

/** In the environment of all that a cluster starts, jobs included. */
export const CLUSTER_MARK = 'MERIT_RAY_CLUSTER';
/** A head ends in ~4 s on an idle machine. */
const STOP_LIMIT_MS = 30_000;
const KILL_LIMIT_MS = 10_000;
const POLL_MS = 200;

/**
 * The pids of everything that belongs to the cluster: the head's session (its workers have groups of their own, but not sessions), its
 * descendants, and by the mark in their environment the jobs, which have sessions of their own, and what a killed head left behind.
 */
export async function clusterProcesses(record: ClusterRecord): Promise<readonly number[]> {
  const all = await runningProcesses();
  const family = new Set<number>();
  if (record.state === 'running' && ownsSession(record)) {
    for (let grew = true; grew; ) {
      const found = all.filter(
        (one) => !family.has(one.pid) && (one.sessionId === record.pid || family.has(one.parentPid)),
      );
      for (const one of found) family.add(one.pid);
      grew = found.length > 0;
    }
  }
  const mark = `${CLUSTER_MARK}=${record.clusterId}`;
  const marked = await Promise.all(all.map((one) => hasEnvironment(one.pid, mark)));
  const own = all.filter((one, index) => family.has(one.pid) || marked[index] === true);
  return own.map((one) => one.pid).filter((pid) => pid !== process.pid);
}

/**
 * Whether the session numbered like the head is the cluster's. It outlives a killed head, and its number is not given to another process
 * while one member is left: so only a different process under that very pid says no.
 */
function ownsSession(record: Extract<ClusterRecord, { readonly state: 'running' }>): boolean {
  const startTime = processStart(record.pid);
  return startTime === undefined || startTime === record.startTime;
}

/**
 * Ends the cluster: SIGTERM to the head, which ends its own processes; after 30 s SIGKILL to whatever is left. Returns once nothing of it
 * runs. Only processes that the cluster started are signalled. Throws OperatingError.
 */
export async function endCluster(record: ClusterRecord): Promise<void> {
  const family = new Family(record);
  // Looked at before the head is gone: what no longer hangs from it afterwards is then known by pid and start time.
  await family.alive();
  if (record.state === 'running' && isAlive(record.pid, record.startTime)) {
    signalProcess(record.pid, 'SIGTERM');
    if (await family.gone(STOP_LIMIT_MS)) return;
  }
  if (await family.gone(KILL_LIMIT_MS, 'SIGKILL')) return;
  throw new OperatingError(
    'timeout',
    'safe',
    `ending the Ray cluster in ${record.tempDir}: some of its processes run on`,
  );
}

/** All that was ever seen of a cluster while it is ended. */
class Family {
  readonly #record: ClusterRecord;
  readonly #known = new Map<number, string>();

  constructor(record: ClusterRecord) {
    this.#record = record;
  }

  async alive(): Promise<readonly number[]> {
    for (const pid of await clusterProcesses(this.#record)) {
      const startTime = processStart(pid);
      if (startTime !== undefined) this.#known.set(pid, startTime);
    }
    return [...this.#known].filter(([pid, startTime]) => isAlive(pid, startTime)).map(([pid]) => pid);
  }

  /** True once nothing of it runs; each look sends `signal` to what is left. */
  async gone(limitMs: number, signal?: NodeJS.Signals): Promise<boolean> {
    const deadlineMs = performance.now() + limitMs;
    for (;;) {
      const left = await this.alive();
      if (left.length === 0) return true;
      if (performance.now() >= deadlineMs) return false;
      if (signal !== undefined) for (const pid of left) signalProcess(pid, signal);
      await systemClock.sleep(POLL_MS);
    }
  }
}
