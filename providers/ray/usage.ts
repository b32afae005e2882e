import type { RayJob, RayJobClient, RayWorker } from 'ray-job-submission-client';
import type { Clock } from '../../platform/clock.ts';
import type { Usage } from '../provider.ts';
import { findJob } from './find-job.ts';
import { GANG_ENTRYPOINT } from './request.ts';

/** A cluster of more is not asked node by node: of its jobs nothing is told. */
const MAX_NODES = 32;
/** What a node told is told to all who ask within this: jobs of one cluster are read one behind the other. */
const FRESH_MS = 5_000;
/** Of one job, counted since it began; of more, the CPU time of those that ended may be missed. */
const MAX_PROCESSES = 10_000;
/** Jobs whose processes are remembered: of more, the one that was read longest ago is forgotten. */
const MAX_JOBS = 10_000;

type Asked = Pick<RayJobClient, 'get' | 'nodes' | 'workers'>;

/**
 * What jobs use, as Ray's agents see it: the driver of a job that is one of Ray's (it called `ray.init`), and its workers, wherever they run. Ray does
 * not look at the processes of a job that uses no Ray, nor at what the ranks of a gang run: of those nothing is told.
 */
export class RayUsage {
  readonly #client: Asked;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #nodes = new Map<string, { readonly atMs: number; readonly workers: Promise<readonly RayWorker[]> }>();
  /** By key: CPU time of each of its processes when it was seen last, also of those that ended. */
  readonly #seen = new Map<string, Map<string, number>>();

  constructor(client: Asked, clock: Pick<Clock, 'now'>) {
    this.#client = client;
    this.#clock = clock;
  }

  async of(key: string, signal: AbortSignal): Promise<Usage | undefined> {
    const job = await findJob(this.#client, key, signal);
    const seen = this.#seen.get(key);
    if (job?.status !== 'RUNNING') {
      this.#seen.delete(key);
      return seen === undefined ? undefined : { cpuMs: sum([...seen.values()]) };
    }
    const own = await this.#workersOf(job, signal);
    if (own === undefined) return undefined;
    const processes = seen ?? new Map<string, number>();
    this.#remember(key, processes);
    for (const [name, { cpuMs }] of own)
      if (processes.has(name) || processes.size < MAX_PROCESSES) processes.set(name, cpuMs);
    const workers = [...own.values()];
    const gpuMemoryBytes = sum(workers.map(({ gpuMemoryBytes: of }) => of));
    const gpuMilli = Math.round(sum(workers.map(({ gpuPercent }) => gpuPercent)) * 10);
    return {
      cpuMs: sum([...processes.values()]),
      memoryBytes: sum(workers.map(({ memoryBytes }) => memoryBytes)),
      // What uses a GPU holds memory of it: without any there is none.
      ...(gpuMemoryBytes + gpuMilli === 0 ? {} : { gpuMilli, gpuMemoryBytes }),
    };
  }

  /** By node, pid and start. undefined: Ray tells nothing of it. */
  async #workersOf(job: RayJob, signal: AbortSignal): Promise<ReadonlyMap<string, RayWorker> | undefined> {
    if (job.jobId === undefined || job.entrypoint === GANG_ENTRYPOINT) return undefined;
    const nodes = await this.#client.nodes(signal);
    if (nodes.length > MAX_NODES) return undefined;
    const told = await Promise.all(
      nodes.map(async ({ nodeId }) => ({ nodeId, workers: await this.#on(nodeId, signal) })),
    );
    this.#forgetStale();
    const own = told.flatMap(({ nodeId, workers }) =>
      workers
        .filter((worker) => worker.jobId === job.jobId)
        .map((worker) => [`${nodeId}/${worker.pid}/${worker.createdAtMs}`, worker] as const),
    );
    // None yet: Ray learns some seconds after its start whose a process is.
    return own.length === 0 ? undefined : new Map(own);
  }

  #remember(key: string, processes: Map<string, number>): void {
    this.#seen.delete(key);
    this.#seen.set(key, processes);
    if (this.#seen.size <= MAX_JOBS) return;
    for (const oldest of this.#seen.keys()) return void this.#seen.delete(oldest);
  }

  #on(nodeId: string, signal: AbortSignal): Promise<readonly RayWorker[]> {
    const known = this.#nodes.get(nodeId);
    if (known !== undefined && this.#clock.now() - known.atMs < FRESH_MS) return known.workers;
    const workers = this.#client.workers(nodeId, signal);
    this.#nodes.set(nodeId, { atMs: this.#clock.now(), workers });
    workers.catch(() => this.#nodes.delete(nodeId));
    return workers;
  }

  #forgetStale(): void {
    for (const [nodeId, { atMs }] of this.#nodes) if (this.#clock.now() - atMs >= FRESH_MS) this.#nodes.delete(nodeId);
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((all, one) => all + one, 0);
}
