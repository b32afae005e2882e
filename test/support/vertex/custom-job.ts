import { RPC } from '../../../providers/vertex/errors.ts';
import type { NewCustomJob } from '../../../providers/vertex/wire.ts';
import { type ContainerState, type LogLine, linesOf, type Run } from '../cloud/container.ts';

/** The chief is node 1. */
export interface ContainerRun extends Run {
  readonly job: NewCustomJob;
}

/** What runs in a job's containers: the simulator runs nothing. */
export type Container = (run: ContainerRun, nowMs: number) => ContainerState;

export interface Delays {
  readonly queueMs: number;
  readonly prepareMs: number;
  readonly stopMs: number;
}

export type State = 'QUEUED' | 'PENDING' | 'RUNNING' | 'CANCELLING' | 'SUCCEEDED' | 'FAILED' | 'CANCELLED';

export interface TaskLog {
  /** `workerpool0-0`. */
  readonly task: string;
  readonly lines: readonly LogLine[];
}

interface Fault {
  readonly code: number;
  readonly message: string;
}

/** Between SIGTERM and SIGKILL: assumed, Google does not say. */
const GRACE_MS = 30_000;
export const STOCKOUT: Fault = {
  code: RPC.resourceExhausted,
  message:
    'Resources are insufficient in region: europe-west4. Please try a different region or use a different accelerator.',
};
export const PREEMPTED: Fault = {
  code: RPC.resourceExhausted,
  message: 'The job failed with STOCKOUT: its spot VMs were preempted.',
};
export const INTERNAL: Fault = { code: RPC.internal, message: 'Internal error occurred for the current attempt.' };

/**
 * A custom job as Vertex AI takes it through its states: QUEUED → PENDING → RUNNING → an end, with a cancel, its time-out, a preemption of spot machines and
 * a want of machines in between. It goes on by the time it is looked at.
 */
export class SimulatedJob {
  readonly id: string;
  readonly request: NewCustomJob;
  readonly createdAtMs: number;
  /** Of its time of creation, so that no two have the same. */
  readonly createdNanos: number;
  readonly visibleAtMs: number;
  readonly #delays: Delays;
  readonly #container: Container;
  state: State = 'QUEUED';
  error: Fault | undefined;
  startedAtMs: number | undefined;
  /** When its containers gave up. */
  #stoppedAtMs: number | undefined;
  endedAtMs: number | undefined;
  #noticeAtMs: number | undefined;
  /** What it is cancelled for. */
  #reason: Fault | undefined;
  /** Of a state that ends by itself. */
  #dueMs: number;

  constructor(
    made: {
      readonly id: string;
      readonly request: NewCustomJob;
      readonly nowMs: number;
      readonly nanos: number;
      readonly hideMs: number;
    },
    delays: Delays,
    container: Container,
  ) {
    this.id = made.id;
    this.request = made.request;
    this.createdAtMs = made.nowMs;
    this.createdNanos = made.nanos;
    this.visibleAtMs = made.nowMs + made.hideMs;
    this.#delays = delays;
    this.#container = container;
    this.#dueMs = made.nowMs + delays.queueMs;
  }

  get isOver(): boolean {
    return this.state === 'SUCCEEDED' || this.state === 'FAILED' || this.state === 'CANCELLED';
  }

  get nodes(): number {
    return this.request.jobSpec.workerPoolSpecs.reduce((all, pool) => all + Number(pool.replicaCount), 0);
  }

  /** Takes all the steps that are due. */
  goOn(nowMs: number): void {
    for (let next = this.#next(nowMs); next !== undefined && next.atMs <= nowMs; next = this.#next(nowMs))
      next.step(next.atMs);
  }

  cancel(nowMs: number): void {
    this.#cancel(nowMs, undefined);
  }

  fail(nowMs: number, fault: Fault): void {
    this.#end(nowMs, 'FAILED', fault);
  }

  /** What a container has written, at its beginning and at its end. */
  logs(nowMs: number): readonly TaskLog[] {
    const { startedAtMs } = this;
    if (startedAtMs === undefined) return [];
    return Array.from({ length: this.nodes }, (_, i) => {
      const begun = { job: this.request, node: i + 1, startedAtMs, noticeAtMs: undefined, killAtMs: undefined };
      const first = this.#container(begun, startedAtMs).output;
      const { output, end, lines } = this.#containerAt(
        i + 1,
        Math.min(nowMs, this.#stoppedAtMs ?? this.endedAtMs ?? nowMs),
      );
      const atMs = end?.atMs ?? nowMs;
      return {
        task: i === 0 ? 'workerpool0-0' : `workerpool1-${i - 1}`,
        lines: lines ?? [...linesOf(first, startedAtMs), ...linesOf(output.subarray(first.length), atMs)],
      };
    });
  }

  #next(nowMs: number): { readonly atMs: number; step(atMs: number): void } | undefined {
    switch (this.state) {
      case 'QUEUED':
        return { atMs: this.#dueMs, step: (atMs) => this.#enter('PENDING', atMs + this.#delays.prepareMs) };
      case 'PENDING':
        return {
          atMs: this.#dueMs,
          step: (atMs) => {
            this.startedAtMs = atMs;
            this.#enter('RUNNING', Number.POSITIVE_INFINITY);
          },
        };
      case 'RUNNING':
        return this.#running(nowMs);
      case 'CANCELLING': {
        const isRunning = this.startedAtMs !== undefined && this.#stoppedAtMs === undefined;
        if (!isRunning) return { atMs: this.#dueMs, step: (atMs) => this.#end(atMs, 'CANCELLED', this.#reason) };
        const exit = this.#exit(nowMs);
        return exit === undefined
          ? undefined
          : {
              atMs: exit.atMs,
              step: (atMs) => {
                this.#stoppedAtMs = atMs;
                this.#dueMs = atMs + this.#delays.stopMs;
              },
            };
      }
      default:
        return undefined;
    }
  }

  #running(nowMs: number): { readonly atMs: number; step(atMs: number): void } {
    const seconds = Number(this.request.jobSpec.scheduling?.timeout?.seconds ?? 7 * 86_400);
    const limitMs = this.startedAtMs! + seconds * 1000;
    const exit = this.#exit(nowMs);
    if (exit === undefined || limitMs < exit.atMs) {
      const fault = { code: RPC.deadlineExceeded, message: `The job exceeded its timeout of ${seconds} s.` };
      return { atMs: limitMs, step: (atMs) => this.#cancel(atMs, fault) };
    }
    return {
      atMs: exit.atMs,
      step: (atMs) => {
        if (exit.exitCode === 0) return void this.#end(atMs, 'SUCCEEDED', undefined);
        const task = exit.node === 1 ? 'workerpool0-0' : `workerpool1-${exit.node - 2}`;
        const message = `The replica ${task} exited with a non-zero status of ${exit.exitCode}. To find out more about why your job exited please check the logs.`;
        this.#end(atMs, 'FAILED', { code: RPC.invalidArgument, message });
      },
    };
  }

  /** When all containers have ended, or the first of them failed. */
  #exit(nowMs: number): { readonly atMs: number; readonly exitCode: number; readonly node: number } | undefined {
    const ends = Array.from({ length: this.nodes }, (_, i) => ({
      node: i + 1,
      end: this.#containerAt(i + 1, nowMs).end,
    }));
    const over = ends.flatMap(({ node, end }) => (end === undefined ? [] : [{ node, ...end }]));
    const failed = over.filter(({ exitCode }) => exitCode !== 0).sort((a, b) => a.atMs - b.atMs)[0];
    return failed ?? (over.length === ends.length ? over.sort((a, b) => b.atMs - a.atMs)[0] : undefined);
  }

  #containerAt(node: number, nowMs: number): ContainerState {
    const noticeAtMs = this.#noticeAtMs;
    const killAtMs = noticeAtMs === undefined ? undefined : noticeAtMs + GRACE_MS;
    return this.#container({ job: this.request, node, startedAtMs: this.startedAtMs!, noticeAtMs, killAtMs }, nowMs);
  }

  #cancel(nowMs: number, reason: Fault | undefined): void {
    if (this.state === 'QUEUED') return void this.#end(nowMs, 'CANCELLED', reason);
    if (this.state === 'CANCELLING') return;
    if (this.state === 'RUNNING') this.#noticeAtMs = nowMs;
    this.#reason = reason;
    this.#enter('CANCELLING', nowMs + this.#delays.stopMs);
  }

  #enter(state: State, dueMs: number): void {
    this.state = state;
    this.#dueMs = dueMs;
  }

  #end(atMs: number, state: State, error: Fault | undefined): void {
    this.state = state;
    this.endedAtMs = atMs;
    this.error = error;
  }
}
