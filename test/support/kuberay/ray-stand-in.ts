import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

interface Submission {
  readonly entrypoint: string;
  readonly submission_id: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly runtime_env?: {
    readonly env_vars?: Readonly<Record<string, string>>;
    readonly working_dir?: string;
  };
}

interface Job {
  readonly asked: Submission;
  readonly folder: string;
  readonly child: ChildProcess;
  readonly startedMs: number;
  readonly output: Buffer[];
  status: 'RUNNING' | 'SUCCEEDED' | 'FAILED' | 'STOPPED';
  message: string;
  endedMs: number | undefined;
  stopping: boolean;
  /** Settles when the command and its output have ended. */
  readonly over: Promise<void>;
}

/** What a stand-in must know of the cluster around it. */
export interface Surroundings {
  /** Whether the head pod of this RayCluster runs. */
  isUp(cluster: string): boolean;
  /** What its dashboard asks callers for; undefined: it asks for nothing. */
  tokenOf(cluster: string): Promise<string | undefined>;
  /** Puts the files of `file:///merit/code/NAME.zip` into a folder. */
  unpack(key: string, uri: string, folder: string): Promise<void>;
}

/** As Ray has it. */
const MESSAGE_LIMIT = 20_000;
const LOOK_EVERY_MS = 20;

/**
 * Ray's Jobs API of all the clusters of a namespace, at `/NAMESPACE/SERVICE/api/jobs/…`, as far as KubeRay's operator and Merit ask it. It runs commands as
 * local processes, each cluster's only while its head pod runs. A stand-in: what Ray does is tried on a real one.
 */
export class RayStandIn {
  readonly #around: Surroundings;
  /** Jobs of a cluster by id. */
  readonly #clusters = new Map<string, Map<string, Job>>();
  /** Submissions that were taken, as `cluster id`. */
  readonly taken: string[] = [];
  readonly #server = createServer((incoming, outgoing) => {
    this.#answer(incoming, outgoing).catch((error) => outgoing.writeHead(500).end(String(error)));
  });

  constructor(around: Surroundings) {
    this.#around = around;
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Processes of this id that run. */
  running(key: string): number {
    return [...this.#clusters.values()].filter((jobs) => jobs.get(key)?.status === 'RUNNING').length;
  }

  /** Its head is gone: all that it ran is killed, and forgotten. */
  async lose(cluster: string): Promise<void> {
    const jobs = this.#clusters.get(cluster);
    this.#clusters.delete(cluster);
    for (const job of jobs?.values() ?? []) {
      kill(job, 'SIGKILL');
      await job.over;
      await rm(job.folder, { recursive: true, force: true });
    }
  }

  async close(): Promise<void> {
    for (const cluster of [...this.#clusters.keys()]) await this.lose(cluster);
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const [, , service = '', ...rest] = (incoming.url ?? '').split('/');
    const cluster = service.replace(/-head-svc$/, '');
    if (!this.#around.isUp(cluster)) return void incoming.socket.destroy();
    const token = await this.#around.tokenOf(cluster);
    if (token !== undefined && incoming.headers['x-ray-authorization'] !== `Bearer ${token}`)
      return void outgoing.writeHead(401).end('Unauthorized: Missing authentication token');
    // As Ray does, for which these are signs of a browser.
    if (incoming.method === 'POST' && ['origin', 'sec-fetch-mode'].some((name) => name in incoming.headers))
      return void outgoing.writeHead(405).end('method not allowed for browser traffic');
    const [, , id = '', verb] = rest;
    if (incoming.method === 'POST' && id === '')
      return this.#submit(cluster, (await json(incoming)) as Submission, outgoing);
    const job = this.#clusters.get(cluster)?.get(id);
    if (job === undefined) return void outgoing.writeHead(404).end(`Job ${id} does not exist`);
    if (verb === 'logs') return reply(outgoing, { logs: Buffer.concat(job.output).toString('utf8') });
    if (verb === 'stop') return reply(outgoing, { stopped: this.#stop(job) });
    reply(outgoing, toldOf(id, job));
  }

  async #submit(cluster: string, asked: Submission, outgoing: ServerResponse): Promise<void> {
    const { submission_id: id, entrypoint, runtime_env: env = {} } = asked;
    const jobs = this.#clusters.get(cluster) ?? new Map<string, Job>();
    this.#clusters.set(cluster, jobs);
    if (jobs.has(id))
      return void outgoing
        .writeHead(500)
        .end(`ValueError: Job with submission_id ${id} already exists. Please use a different submission_id.`);
    this.taken.push(`${cluster} ${id}`);
    const folder = await mkdtemp(join(tmpdir(), 'merit-ray-stand-in-'));
    if (env.working_dir !== undefined) await this.#around.unpack(id, env.working_dir, folder);
    const child = spawn('/bin/sh', ['-c', entrypoint], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...env.env_vars },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    const job: Job = {
      asked,
      folder,
      child,
      startedMs: Date.now(),
      output,
      status: 'RUNNING',
      message: 'Job is currently running.',
      endedMs: undefined,
      stopping: false,
      over: new Promise((resolve) => child.on('close', () => resolve())),
    };
    child.on('close', (code) => end(job, code));
    jobs.set(id, job);
    reply(outgoing, { job_id: id, submission_id: id });
  }

  /** SIGTERM, the grace that its environment names, SIGKILL. */
  #stop(job: Job): boolean {
    if (job.status !== 'RUNNING') return false;
    if (!job.stopping) void graceful(job);
    job.stopping = true;
    return true;
  }
}

async function graceful(job: Job): Promise<void> {
  kill(job, 'SIGTERM');
  const graceMs = Number(job.asked.runtime_env?.env_vars?.RAY_JOB_STOP_WAIT_TIME_S ?? 3) * 1000;
  const limitMs = performance.now() + graceMs;
  while (job.status === 'RUNNING' && performance.now() < limitMs) await sleep(LOOK_EVERY_MS);
  kill(job, 'SIGKILL');
}

function end(job: Job, code: number | null): void {
  job.endedMs = Date.now();
  const exit = code ?? 137;
  const log = Buffer.concat(job.output).toString('utf8').slice(-MESSAGE_LIMIT);
  const [status, message] = job.stopping
    ? (['STOPPED', 'Job was intentionally stopped.'] as const)
    : exit === 0
      ? (['SUCCEEDED', 'Job finished successfully.'] as const)
      : ([
          'FAILED',
          `Job entrypoint command failed with exit code ${exit}, last available logs (truncated to 20,000 chars):\n${log}`,
        ] as const);
  job.status = status;
  job.message = message;
}

function kill({ child }: Job, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // It has ended.
  }
}

function toldOf(id: string, { asked, status, message, startedMs, endedMs }: Job) {
  return {
    type: 'SUBMISSION',
    job_id: null,
    submission_id: id,
    status,
    message,
    entrypoint: asked.entrypoint,
    metadata: asked.metadata ?? {},
    runtime_env: {},
    start_time: startedMs,
    end_time: endedMs ?? 0,
  };
}

function reply(outgoing: ServerResponse, value: object): void {
  outgoing.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
