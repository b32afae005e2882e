import { OperatingError } from '../../core/operating-error.ts';
import { systemClock } from '../../platform/clock.ts';
import { hasEnvironment, isRunning, type ProcessFacts, runningProcesses, signalProcess } from '../process-table.ts';
import type { ClusterRecord } from './cluster-record.ts';

/** In the environment of all that a cluster starts, jobs included. */
export const CLUSTER_MARK = 'MERIT_RAY_CLUSTER';
/** A head ends in ~4 s on an idle machine. */
const STOP_LIMIT_MS = 30_000;
const KILL_LIMIT_MS = 10_000;
const POLL_MS = 200;

/**
 * Everything that belongs to the cluster: the head's session (its workers have groups of their own, but not sessions), its descendants, and by
 * the mark in their environment the jobs, which have sessions of their own, and whatever a killed head left behind.
 */
export async function clusterProcesses(record: ClusterRecord): Promise<readonly ProcessFacts[]> {
  const all = await runningProcesses();
  const family = new Set<number>();
  if (record.state === 'running' && (await isRunning(record.pid, record.startTime))) {
    family.add(record.pid);
    for (let grew = true; grew; ) {
      const found = all.filter(
        (one) => !family.has(one.pid) && (family.has(one.parentPid) || one.sessionId === record.pid),
      );
      for (const one of found) family.add(one.pid);
      grew = found.length > 0;
    }
  }
  const mark = `${CLUSTER_MARK}=${record.clusterId}`;
  const marked = await Promise.all(all.map((one) => hasEnvironment(one.pid, mark)));
  return all.filter((one, index) => one.pid !== process.pid && (family.has(one.pid) || marked[index] === true));
}

/**
 * Ends the cluster: SIGTERM to the head, which ends its own processes; after 30 s SIGKILL to whatever is left. Returns once nothing of it
 * runs. Only processes that the cluster started are signalled. Throws OperatingError.
 */
export async function endCluster(record: ClusterRecord): Promise<void> {
  // Taken before the head is gone: what no longer hangs from it then is still known by pid and start time.
  const known = new Map((await clusterProcesses(record)).map((one) => [one.pid, one]));
  if (record.state === 'running' && (await isRunning(record.pid, record.startTime))) {
    signalProcess(record.pid, 'SIGTERM');
    if (await gone(record, known, STOP_LIMIT_MS)) return;
  }
  const left = await remaining(record, known);
  for (const one of left) signalProcess(one.pid, 'SIGKILL');
  if (await gone(record, known, KILL_LIMIT_MS, 'SIGKILL')) return;
  throw new OperatingError(
    'timeout',
    'safe',
    `ending the Ray cluster of ${record.tempDir}: some of its processes run on`,
  );
}

async function gone(
  record: ClusterRecord,
  known: Map<number, ProcessFacts>,
  limitMs: number,
  signal?: NodeJS.Signals,
): Promise<boolean> {
  const deadlineMs = Date.now() + limitMs;
  for (;;) {
    const left = await remaining(record, known);
    if (left.length === 0) return true;
    if (Date.now() >= deadlineMs) return false;
    if (signal !== undefined) for (const one of left) signalProcess(one.pid, signal);
    await systemClock.sleep(POLL_MS);
  }
}

async function remaining(record: ClusterRecord, known: Map<number, ProcessFacts>): Promise<readonly ProcessFacts[]> {
  for (const one of await clusterProcesses(record)) known.set(one.pid, one);
  const running = await Promise.all(
    [...known.values()].map(async (one) => ((await isRunning(one.pid, one.startTime)) ? [one] : [])),
  );
  return running.flat();
}
