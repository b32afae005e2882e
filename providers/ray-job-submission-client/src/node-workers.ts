import { isObject } from './job.ts';
import type { JsonValue } from './strict-json.ts';

/** A process that Ray runs on a node, as the node's agent sees it: a driver, a worker, or one of Ray's own. */
export interface RayWorker {
  readonly pid: number;
  /** With the pid it names one process: pids are given out again. */
  readonly createdAtMs: number;
  /** Whose driver or worker it is, some 15 s after its start; before, and of Ray's own, it is no job's. */
  readonly jobId: string;
  /** Since it started, with children that it waited for. */
  readonly cpuMs: number;
  readonly memoryBytes: number;
  /** Of all its GPUs together: 100 is one that never stands still. */
  readonly gpuPercent: number;
  readonly gpuMemoryBytes: number;
}

const MEGABYTE = 1024 * 1024;

/** The workers of GET /nodes/ID, or what is wrong as a string. Entries of another form are left out. */
export function workersOfReply(value: JsonValue): readonly RayWorker[] | string {
  const data = isObject(value) ? value.data : undefined;
  const detail = isObject(data) ? data.detail : undefined;
  if (!isObject(detail) || !Array.isArray(detail.workers)) return 'the node has no list of workers';
  return detail.workers.flatMap((worker) => {
    if (!isObject(worker) || !isObject(worker.cpuTimes) || !isObject(worker.memoryInfo)) return [];
    const times = ['user', 'system', 'childrenUser', 'childrenSystem'].map((name) =>
      amountOf((worker.cpuTimes as typeof worker)[name]),
    );
    const pid = amountOf(worker.pid);
    if (!Number.isSafeInteger(pid) || pid === 0 || typeof worker.jobId !== 'string') return [];
    return [
      {
        pid,
        createdAtMs: Math.round(amountOf(worker.createTime) * 1000),
        jobId: worker.jobId,
        cpuMs: Math.round(times.reduce((all, seconds) => all + seconds, 0) * 1000),
        memoryBytes: Math.round(amountOf(worker.memoryInfo.rss)),
        gpuPercent: amountOf(worker.gpuUtilization),
        gpuMemoryBytes: Math.round(amountOf(worker.gpuMemoryUsage) * MEGABYTE),
      },
    ];
  });
}

function amountOf(value: JsonValue | undefined): number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : 0;
}
