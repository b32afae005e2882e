import { ProviderError } from '../provider.ts';
import { type Owner, ownerIn } from './ownership.ts';

/** A job as slurmctld tells it. */
export interface SlurmJob {
  readonly id: number;
  readonly name: string;
  readonly user: string;
  readonly owner: Owner | undefined;
  /** As in `RUNNING`; a word with a flag in place of its state (`COMPLETING`) is one too. */
  readonly state: string;
  /** Why it waits, or how it ended: one word of Slurm. */
  readonly reason: string;
  /** The same in a sentence, where Slurm has one. */
  readonly description: string;
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
  readonly exitCode: number | undefined;
  readonly timeLimitMinutes: number | undefined;
  /** Those that it was given; '' before. */
  readonly nodes: string;
  /** How often Slurm put it back into its queue. */
  readonly restarts: number;
}

/** What has ended and holds nothing any more. A word that is none of Slurm's counts as live. */
const OVER: ReadonlySet<string> = new Set([
  'COMPLETED',
  'FAILED',
  'TIMEOUT',
  'CANCELLED',
  'NODE_FAIL',
  'PREEMPTED',
  'BOOT_FAIL',
  'DEADLINE',
  'OUT_OF_MEMORY',
  'REVOKED',
]);
const WAITING: ReadonlySet<string> = new Set([
  'PENDING',
  'CONFIGURING',
  'REQUEUED',
  'REQUEUE_FED',
  'REQUEUE_HOLD',
  'RESV_DEL_HOLD',
  'SPECIAL_EXIT',
]);
const RUNNING: ReadonlySet<string> = new Set([
  'RUNNING',
  'COMPLETING',
  'SUSPENDED',
  'STOPPED',
  'RESIZING',
  'SIGNALING',
  'STAGE_OUT',
]);

export const isOverState = (state: string) => OVER.has(state);
export const isWaitingState = (state: string) => WAITING.has(state);
export const isRunningState = (state: string) => RUNNING.has(state);

/** The jobs of a reply. Throws ProviderError `transient` where it holds what is none: what it lacks would be taken for gone. */
export function jobsIn(body: unknown): readonly SlurmJob[] {
  const { jobs } = (body ?? {}) as { readonly jobs?: unknown };
  if (!Array.isArray(jobs)) throw new ProviderError('transient', 'Slurm’s reply has no list of jobs');
  return jobs.map(jobOf);
}

function jobOf(value: unknown): SlurmJob {
  const job = (value ?? {}) as Readonly<Record<string, unknown>>;
  const { job_id: id, name, user_name: user, job_state: state } = job;
  if (typeof id !== 'number' || typeof state !== 'string')
    throw new ProviderError('transient', 'Slurm’s reply has a job without job_id or job_state');
  return {
    id,
    name: text(name),
    user: text(user),
    owner: ownerIn(text(job.comment)),
    state,
    reason: text(job.state_reason),
    description: text(job.state_description),
    startedAtMs: moment(job.start_time),
    endedAtMs: moment(job.end_time),
    exitCode: exitCodeOf(job.exit_code),
    timeLimitMinutes: typeof job.time_limit === 'number' ? job.time_limit : undefined,
    nodes: text(job.nodes),
    restarts: typeof job.restart_cnt === 'number' ? job.restart_cnt : 0,
  };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Seconds since the epoch; 0 is not yet. */
function moment(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value * 1000 : undefined;
}

/** As wait(2) has it; a signal is told as a shell would. */
function exitCodeOf(status: unknown): number | undefined {
  if (typeof status !== 'number' || status < 0) return undefined;
  const signal = status & 0x7f;
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}
