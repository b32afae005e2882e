import { contentHash } from './canonical.ts';
import { durationMs } from './duration.ts';
import { JobFile } from './job-file.ts';
import type { MoneyAsk } from './money-request.ts';
import { type Refusal, RefusedInput, refuse } from './refusal.ts';
import { parseRfc3339 } from './rfc3339.ts';
import { check } from './schema.ts';

/** A job as booked: defaults filled in, quantities as integers. This is what is hashed, asked about, and shown in the receipt. */
export interface JobSpec {
  readonly name: string;
  readonly division: string;
  readonly model: string | null;
  readonly workdir: string | null;
  readonly gpuMilli: number;
  readonly cpuMilli: number;
  readonly memoryMib: number;
  readonly pools: readonly string[];
  readonly leaseMs: number;
  readonly priority: number;
  /** Cents of the pool's currency; null: no bound but the division's budget. */
  readonly maxCostCents: number | null;
  readonly maxRestarts: number;
  readonly envs: Readonly<Record<string, string>>;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly run: string;
  readonly outputs: string | null;
  // What follows exists only where the file says it, so that a spec keeps its hash.
  readonly gpuType?: string;
  readonly useSpot?: boolean;
  /** Spot flavours first, others where they are full: what a retrain does by itself. */
  readonly prefersSpot?: true;
  /** `gpuMilli`, `cpuMilli` and `memoryMib` are of one node. Absent: 1. */
  readonly nodes?: number;
  readonly minNodes?: number;
  /** The class that gave `priority` its number. */
  readonly priorityClass?: string;
  readonly dependsOn?: readonly string[];
  readonly array?: ArrayTask;
  readonly user?: string;
  readonly offPeak?: true;
  readonly deadlineMs?: number;
  readonly maxPreemptions?: number;
  readonly checkpoint?: string;
  readonly graceMs?: number;
  readonly backoffMs?: number;
  readonly maxBackoffMs?: number;
  /** It is money alone that is asked for: there is no job. */
  readonly money?: MoneyAsk;
  /** By the kind of provider, which checks them. */
  readonly options?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** One job of an array. `id` is the booking of its first. */
export interface ArrayTask {
  readonly count: number;
  readonly maxParallel?: number;
  readonly index?: number;
  readonly id?: string;
}

export const DEFAULT_LEASE_MS = 3_600_000;
export const MAX_LEASE_MS = 30 * 86_400_000;
const MIN_LEASE_MS = 10_000;
/** Longest notice that a job may ask for. */
const MAX_GRACE_MS = 10 * 60_000;
const MAX_BACKOFF_MS = 86_400_000;

/** Reserved for Merit in a job's environment. */
const RESERVED_ENV = /^MERIT_/;

/** The spec of a job file; throws RefusedInput with every problem at once. */
export function jobSpec(file: unknown): JobSpec {
  const refusals: Refusal[] = check(JobFile, file).map(asMoneyRefusal);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const job = file as JobFile;
  const leaseMs = job.lease === undefined ? DEFAULT_LEASE_MS : durationMs(job.lease);
  if (leaseMs === undefined) refusals.push(refuse('duration', 'lease', 'is not a duration', 'write 30m, 2h or 1d'));
  else if (leaseMs < MIN_LEASE_MS || leaseMs > MAX_LEASE_MS)
    refusals.push(refuse('range', 'lease', 'must be between 10s and 30d', 'change it'));
  for (const name of Object.keys(job.envs ?? {})) {
    if (RESERVED_ENV.test(name))
      refusals.push(refuse('reserved', `envs.${name}`, 'names starting MERIT_ are Merit’s own', 'rename it'));
  }
  if (new Set(job.pools).size !== job.pools.length)
    refusals.push(refuse('duplicate', 'pools', 'names a pool twice', 'remove one'));
  const maxCostCents = job.budget === undefined ? null : decimalCents(job.budget.max_cost);
  if (maxCostCents === 'scale')
    refusals.push(refuse('scale', 'budget.max_cost', 'has more than 2 decimals', 'write 12.50'));
  if (maxCostCents === 'range') refusals.push(refuse('range', 'budget.max_cost', 'is past 2^53 cents', 'write less'));
  const gpus = gpusOf(job, refusals);
  const further = furtherSpec(job, refusals);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return {
    name: job.name,
    division: job.division,
    model: job.model ?? null,
    workdir: job.workdir ?? null,
    gpuMilli: gpus.count * 1000,
    cpuMilli: (job.resources.cpus ?? 1) * 1000,
    memoryMib: (job.resources.memory ?? 0) * 1024,
    pools: job.pools,
    leaseMs: leaseMs as number,
    priority: typeof job.priority === 'number' ? job.priority : 0,
    maxCostCents: maxCostCents as number | null,
    maxRestarts: job.max_restarts ?? 0,
    envs: job.envs ?? {},
    parameters: job.parameters ?? {},
    run: job.run,
    outputs: job.outputs ?? null,
    ...(gpus.type === undefined ? {} : { gpuType: gpus.type }),
    ...(typeof job.priority === 'string' ? { priorityClass: job.priority } : {}),
    ...further,
  };
}

function gpusOf(job: JobFile, refusals: Refusal[]): { readonly count: number; readonly type?: string } {
  const { gpus, accelerators, cpus } = job.resources;
  if (accelerators !== undefined) {
    const [type = '', count = '1'] = accelerators.split(':');
    if (gpus !== undefined)
      refusals.push(refuse('conflict', 'resources.gpus', 'stands beside accelerators', 'keep one of them'));
    if (Number(count) > 1024)
      refusals.push(refuse('range', 'resources.accelerators', 'is more than 1024', 'write less'));
    return { count: Number(count), type };
  }
  if (gpus === 0 && cpus === undefined) {
    const mend = 'write gpus: 1, or add cpus: 1';
    refusals.push(refuse('range', 'resources.gpus', 'is 0, and no cpus are asked for', mend));
  } else if (gpus === undefined && cpus === undefined) {
    refusals.push(refuse('required', 'resources', 'asks for neither gpus nor cpus', 'add gpus: 1 or cpus: 1'));
  }
  return { count: gpus ?? 0 };
}

/** Of a job's options together: they go with every request for it. */
const MAX_OPTIONS_CHARACTERS = 32 * 1024;

/** The members that a spec has only where its file gives them. */
function furtherSpec(job: JobFile, refusals: Refusal[]): Partial<JobSpec> {
  const nodes = job.num_nodes ?? 1;
  if (job.min_nodes !== undefined && job.min_nodes > nodes)
    refusals.push(refuse('range', 'min_nodes', `is more than num_nodes, ${nodes}`, 'lower it, or raise num_nodes'));
  if (job.depends_on !== undefined && new Set(job.depends_on).size !== job.depends_on.length)
    refusals.push(refuse('duplicate', 'depends_on', 'names a job twice', 'remove one'));
  const deadline = job.schedule?.deadline;
  const deadlineMs = deadline === undefined ? undefined : parseRfc3339(deadline);
  if (deadline !== undefined && deadlineMs === undefined)
    refusals.push(
      refuse('time_format', 'schedule.deadline', 'is no RFC 3339 time with a zone', 'write 2026-12-01T06:00:00Z'),
    );
  if (job.options !== undefined && JSON.stringify(job.options).length > MAX_OPTIONS_CHARACTERS)
    refusals.push(
      refuse(
        'range',
        'options',
        `are more than ${MAX_OPTIONS_CHARACTERS} characters`,
        'put what is long into a file of the workdir',
      ),
    );
  const graceMs = bounded(refusals, 'recovery.grace', job.recovery?.grace, 0, MAX_GRACE_MS, '10m');
  const backoffMs = bounded(refusals, 'retry.backoff', job.retry?.backoff, 100, MAX_BACKOFF_MS, '1d');
  const maxBackoffMs = bounded(refusals, 'retry.max_backoff', job.retry?.max_backoff, 100, MAX_BACKOFF_MS, '1d');
  return {
    ...(job.resources.use_spot === undefined ? {} : { useSpot: job.resources.use_spot }),
    ...(nodes === 1 ? {} : { nodes }),
    ...(job.min_nodes === undefined || job.min_nodes === nodes ? {} : { minNodes: job.min_nodes }),
    ...(job.depends_on === undefined || job.depends_on.length === 0 ? {} : { dependsOn: job.depends_on }),
    ...(job.array === undefined ? {} : { array: arrayOf(job.array) }),
    ...(job.user === undefined ? {} : { user: job.user }),
    ...(job.schedule?.window === 'off-peak' ? { offPeak: true } : {}),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(job.recovery?.max_preemptions === undefined ? {} : { maxPreemptions: job.recovery.max_preemptions }),
    ...(job.recovery?.checkpoint === undefined ? {} : { checkpoint: job.recovery.checkpoint }),
    ...(graceMs === undefined ? {} : { graceMs }),
    ...(backoffMs === undefined ? {} : { backoffMs }),
    ...(maxBackoffMs === undefined ? {} : { maxBackoffMs }),
    ...(job.options === undefined || Object.keys(job.options).length === 0 ? {} : { options: job.options }),
  };
}

function arrayOf(array: NonNullable<JobFile['array']>): ArrayTask {
  return { count: array.count, ...(array.max_parallel === undefined ? {} : { maxParallel: array.max_parallel }) };
}

/** A duration of a job file in milliseconds; undefined where it is absent, or refused. */
function bounded(
  refusals: Refusal[],
  field: string,
  text: string | undefined,
  leastMs: number,
  mostMs: number,
  most: string,
): number | undefined {
  if (text === undefined) return undefined;
  const ms = durationMs(text);
  if (ms === undefined) refusals.push(refuse('duration', field, 'is not a duration', 'write 30s, 5m or 1h'));
  else if (ms < leastMs || ms > mostMs) refusals.push(refuse('range', field, `must be at most ${most}`, 'change it'));
  return ms;
}

/** An amount that is no plain decimal has a code of its own: `1,000.00`, `0x10`, `1e3`, `-0`. */
function asMoneyRefusal(refusal: Refusal): Refusal {
  if (refusal.field !== 'budget.max_cost' || refusal.code !== 'charset') return refusal;
  return refuse('decimal_format', refusal.field, 'is not a plain decimal', 'write 12.50');
}

/** `12.5` → 1250, or the code of what is wrong with it. */
function decimalCents(text: string): number | 'scale' | 'range' {
  const [whole = '', fraction = ''] = text.split('.');
  if (fraction.length > 2) return 'scale';
  const cents = Number(whole) * 100 + Number(fraction.padEnd(2, '0'));
  return Number.isSafeInteger(cents) ? cents : 'range';
}

/** SHA-256 of the spec's RFC 8785 form. */
export function specHash(spec: JobSpec): string {
  return contentHash(spec);
}
