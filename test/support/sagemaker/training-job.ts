import type { CreateTrainingJobRequest } from '@aws-sdk/client-sagemaker';
import { type ContainerState, type LogLine, linesOf, type Run } from '../cloud/container.ts';

export interface ContainerRun extends Run {
  readonly request: CreateTrainingJobRequest;
}

/** What runs in a job's containers: the simulator runs nothing. */
export type Container = (run: ContainerRun, nowMs: number) => ContainerState;

export interface Delays {
  readonly startMs: number;
  readonly downloadMs: number;
  readonly uploadMs: number;
}

interface Transition {
  readonly status: string;
  readonly atMs: number;
  readonly message: string;
}

export interface LogStream {
  readonly name: string;
  readonly createdAtMs: number;
  readonly lines: readonly LogLine[];
}

type Status = 'InProgress' | 'Stopping' | 'Completed' | 'Failed' | 'Stopped';
type End = { readonly status: Status; readonly secondary: string; readonly reason?: string };

/** Between SIGTERM and SIGKILL, as SageMaker's documentation has it. */
const GRACE_MS = 120_000;
/** Before anything runs, a stop takes so long. */
const STOP_MS = 2_000;
/** Of a spot job's seconds AWS bills about so many. */
const SPOT_SHARE = 0.3;
const MESSAGES: Readonly<Record<string, string>> = {
  Starting: 'Preparing the instances for training',
  Downloading: 'Downloading input data',
  Training: 'Training image download completed. Training in progress.',
  Uploading: 'Uploading generated training model',
  Interrupted: 'Spot instances were interrupted',
};
export const CAPACITY_REASON =
  'CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type.';
export const INTERNAL_REASON = 'InternalServerError: We encountered an internal error. Please try again.';

/**
 * A training job as SageMaker takes it through its states: Starting → Downloading → Training → Uploading → an end, with a stop, its own time limits, an
 * interruption of spot machines and a want of machines in between. It goes on by the time it is looked at.
 */
export class SimulatedJob {
  readonly request: CreateTrainingJobRequest;
  readonly createdAtMs: number;
  readonly #container: Container;
  readonly #delays: Delays;
  readonly transitions: Transition[] = [];
  status: Status = 'InProgress';
  reason: string | undefined;
  /** When each set of machines began and gave up its training. */
  readonly runs: { readonly startedAtMs: number; endedAtMs: number | undefined }[] = [];
  #noticeAtMs: number | undefined;
  #ending: End | undefined;
  /** Of a phase that ends by itself. */
  #dueMs: number;

  constructor(request: CreateTrainingJobRequest, nowMs: number, delays: Delays, container: Container) {
    this.request = request;
    this.createdAtMs = nowMs;
    this.#delays = delays;
    this.#container = container;
    this.#enter('Starting', nowMs);
    this.#dueMs = nowMs + delays.startMs;
  }

  get name(): string {
    return this.request.TrainingJobName!;
  }

  get isOver(): boolean {
    return this.status !== 'InProgress' && this.status !== 'Stopping';
  }

  get secondary(): string {
    return this.transitions.at(-1)!.status;
  }

  get changedAtMs(): number {
    return this.transitions.at(-1)!.atMs;
  }

  get nodes(): number {
    return this.request.ResourceConfig?.InstanceCount ?? 1;
  }

  /** Takes all the steps that are due. */
  goOn(nowMs: number): void {
    while (!this.isOver) {
      const next = this.#next(nowMs);
      if (next === undefined || next.atMs > nowMs) return;
      next.step(next.atMs);
    }
  }

  stop(nowMs: number): void {
    this.#stop(nowMs, { status: 'Stopped', secondary: 'Stopped' });
  }

  /** The machines of a spot job are taken back; `backMs` later there are others, or never. */
  interrupt(nowMs: number, backMs = Number.POSITIVE_INFINITY): void {
    if (this.secondary !== 'Training') throw new Error(`${this.name} does not train`);
    this.#run.endedAtMs = nowMs;
    this.#enter('Interrupted', nowMs);
    this.#dueMs = nowMs + backMs;
  }

  fail(nowMs: number, reason: string): void {
    if (this.runs.length > 0) this.#run.endedAtMs ??= nowMs;
    this.#finish(nowMs, { status: 'Failed', secondary: 'Failed', reason });
  }

  /** Seconds on machines, and what of them is billed; undefined before anything was. */
  seconds(): { readonly trained: number; readonly billed: number } | undefined {
    if (!this.isOver || this.runs.length === 0) return undefined;
    const ms = this.runs.reduce((all, run) => all + ((run.endedAtMs ?? this.changedAtMs) - run.startedAtMs), 0);
    const trained = Math.ceil(ms / 1000);
    return { trained, billed: this.#isSpot ? Math.ceil(trained * SPOT_SHARE) : trained };
  }

  /** A stream for each node and set of machines; what a container has written, at its beginning and at its end. */
  streams(nowMs: number): readonly LogStream[] {
    return this.runs.flatMap((run) =>
      Array.from({ length: this.nodes }, (_, i) => {
        const node = i + 1;
        const begun = { request: this.request, node, startedAtMs: run.startedAtMs };
        const first = this.#container({ ...begun, noticeAtMs: undefined, killAtMs: undefined }, run.startedAtMs).output;
        const { output, end, lines: told } = this.#state(Math.min(nowMs, run.endedAtMs ?? nowMs), node, run);
        const lines = told ?? [
          ...linesOf(first, run.startedAtMs),
          ...linesOf(output.subarray(first.length), end?.atMs ?? nowMs),
        ];
        const name = `${this.name}/algo-${node}-${Math.floor(run.startedAtMs / 1000)}`;
        return { name, createdAtMs: run.startedAtMs, lines };
      }).filter(({ lines }) => lines.length > 0),
    );
  }

  get #isSpot(): boolean {
    return this.request.EnableManagedSpotTraining === true;
  }

  get #run() {
    return this.runs.at(-1)!;
  }

  /** What happens next, and when. */
  #next(nowMs: number): { readonly atMs: number; step(atMs: number): void } | undefined {
    const steps = [this.#limit(), this.#phase(nowMs)].filter((one) => one !== undefined);
    return steps.sort((a, b) => a.atMs - b.atMs)[0];
  }

  /** Its own time limits. */
  #limit(): { readonly atMs: number; step(atMs: number): void } | undefined {
    if (this.status === 'Stopping') return undefined;
    const { MaxRuntimeInSeconds: most = 86_400, MaxWaitTimeInSeconds: wait } = this.request.StoppingCondition ?? {};
    const isTraining = this.secondary === 'Training';
    const runsOut = isTraining ? this.#run.startedAtMs + most * 1000 : Number.POSITIVE_INFINITY;
    const waitsOut = this.#isSpot && wait !== undefined ? this.createdAtMs + wait * 1000 : Number.POSITIVE_INFINITY;
    if (runsOut === Number.POSITIVE_INFINITY && waitsOut === Number.POSITIVE_INFINITY) return undefined;
    const secondary = waitsOut < runsOut ? 'MaxWaitTimeExceeded' : 'MaxRuntimeExceeded';
    return { atMs: Math.min(runsOut, waitsOut), step: (atMs) => this.#stop(atMs, { status: 'Stopped', secondary }) };
  }

  #phase(nowMs: number): { readonly atMs: number; step(atMs: number): void } | undefined {
    const { downloadMs, uploadMs } = this.#delays;
    switch (this.secondary) {
      case 'Interrupted':
      case 'Starting':
        return { atMs: this.#dueMs, step: (atMs) => this.#then('Downloading', atMs, downloadMs) };
      case 'Downloading':
        return {
          atMs: this.#dueMs,
          step: (atMs) => {
            this.runs.push({ startedAtMs: atMs, endedAtMs: undefined });
            this.#enter('Training', atMs);
          },
        };
      case 'Stopping':
        if (this.runs.length === 0 || this.#run.endedAtMs !== undefined)
          return { atMs: this.#dueMs, step: (atMs) => this.#finish(atMs, this.#ending!) };
        return this.#exit(nowMs, (atMs) => {
          this.#run.endedAtMs = atMs;
          this.#dueMs = atMs + uploadMs;
        });
      case 'Training':
        return this.#exit(nowMs, (atMs, exitCode) => {
          this.#run.endedAtMs = atMs;
          this.#ending =
            exitCode === 0
              ? { status: 'Completed', secondary: 'Completed' }
              : { status: 'Failed', secondary: 'Failed', reason: `AlgorithmError: , exit code: ${exitCode}` };
          this.#then('Uploading', atMs, uploadMs);
        });
      default:
        return { atMs: this.#dueMs, step: (atMs) => this.#finish(atMs, this.#ending!) };
    }
  }

  /** When all containers have ended, or the first of them failed. */
  #exit(nowMs: number, step: (atMs: number, exitCode: number) => void) {
    const ends = Array.from({ length: this.nodes }, (_, i) => this.#state(nowMs, i + 1, this.#run).end);
    const failed = ends.filter((end) => end !== undefined && end.exitCode !== 0).sort((a, b) => a!.atMs - b!.atMs)[0];
    const last =
      failed ?? (ends.every((end) => end !== undefined) ? ends.sort((a, b) => b!.atMs - a!.atMs)[0] : undefined);
    return last === undefined ? undefined : { atMs: last.atMs, step: (atMs: number) => step(atMs, last.exitCode) };
  }

  #state(nowMs: number, node: number, run: { readonly startedAtMs: number }): ContainerState {
    const isLast = run === this.runs.at(-1);
    const noticeAtMs = isLast ? this.#noticeAtMs : undefined;
    const killAtMs = noticeAtMs === undefined ? undefined : noticeAtMs + GRACE_MS;
    return this.#container({ request: this.request, node, startedAtMs: run.startedAtMs, noticeAtMs, killAtMs }, nowMs);
  }

  #stop(nowMs: number, ending: End): void {
    if (this.status !== 'InProgress') return;
    const trains = this.secondary === 'Training';
    this.status = 'Stopping';
    this.#ending = ending;
    this.#enter('Stopping', nowMs);
    if (trains) this.#noticeAtMs = nowMs;
    else this.#dueMs = nowMs + STOP_MS;
  }

  #then(secondary: string, atMs: number, forMs: number): void {
    this.#enter(secondary, atMs);
    this.#dueMs = atMs + forMs;
  }

  #enter(status: string, atMs: number): void {
    this.transitions.push({ status, atMs, message: MESSAGES[status] ?? status });
  }

  #finish(atMs: number, { status, secondary, reason }: End): void {
    this.status = status;
    this.reason = reason;
    this.#enter(secondary, atMs);
  }
}
