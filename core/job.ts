import { contentHash } from './canonical.ts';
import { durationMs } from './duration.ts';
import { type Refusal, RefusedInput, refuse } from './refusal.ts';
import { check, type Static, Type } from './schema.ts';

/**
 * The job file: SkyPilot's field names where they exist. What is accepted is what is carried out; a field of a later
 * issue (gangs, arrays, schedules) is refused as unknown until then, never ignored.
 */
const Name = Type.String({ maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' });
const Slug = Type.String({ maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' });

export const JobFile = Type.Object(
  {
    name: Name,
    division: Slug,
    model: Type.Optional(Name),
    workdir: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
    resources: Type.Object(
      {
        /** Whole GPUs of any type; the flavour says which. */
        gpus: Type.Optional(Type.Integer({ minimum: 0, maximum: 1024 })),
        cpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
        /** GiB. */
        memory: Type.Optional(Type.Integer({ minimum: 1, maximum: 65536 })),
      },
      { additionalProperties: false },
    ),
    /** In the order to try. */
    pools: Type.Array(Slug, { minItems: 1, maxItems: 16 }),
    /** Max run time: `30m`, `2h`, `1d`. The booking's money is held for all of it. */
    lease: Type.Optional(Type.String({ maxLength: 16 })),
    priority: Type.Optional(Type.Integer({ minimum: -1000, maximum: 1000 })),
    budget: Type.Optional(
      Type.Object(
        { max_cost: Type.String({ maxLength: 24, pattern: '^(0|[1-9][0-9]*)(\\.[0-9]+)?$' }) },
        { additionalProperties: false },
      ),
    ),
    max_restarts: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })),
    envs: Type.Optional(
      Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,127}$' }), Type.String({ maxLength: 32768 })),
    ),
    /** Handed to the job as JSON in MERIT_PARAMETERS. */
    parameters: Type.Optional(Type.Record(Type.String({ maxLength: 64 }), Type.Unknown())),
    /** A command line for a shell; parameters are never spliced into it. */
    run: Type.String({ minLength: 1, maxLength: 4096 }),
    /** Where the job writes its files: `file:///…` or `s3://…`. Absent: a folder of Merit's own for this attempt. */
    outputs: Type.Optional(Type.String({ maxLength: 1024, pattern: '^(file:///|s3://)' })),
  },
  { additionalProperties: false, $id: 'https://merit.local/schemas/job.json', title: 'Merit job' },
);

export type JobFile = Static<typeof JobFile>;

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
}

export const DEFAULT_LEASE_MS = 3_600_000;
export const MAX_LEASE_MS = 30 * 86_400_000;
const MIN_LEASE_MS = 10_000;

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
  if (job.resources.gpus === 0 && job.resources.cpus === undefined) {
    refusals.push(
      refuse('range', 'resources.gpus', 'is 0, and no cpus are asked for', 'write gpus: 1, or add cpus: 1'),
    );
  } else if (job.resources.gpus === undefined && job.resources.cpus === undefined) {
    refusals.push(refuse('required', 'resources', 'asks for neither gpus nor cpus', 'add gpus: 1 or cpus: 1'));
  }
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return {
    name: job.name,
    division: job.division,
    model: job.model ?? null,
    workdir: job.workdir ?? null,
    gpuMilli: (job.resources.gpus ?? 0) * 1000,
    cpuMilli: (job.resources.cpus ?? 1) * 1000,
    memoryMib: (job.resources.memory ?? 0) * 1024,
    pools: job.pools,
    leaseMs: leaseMs as number,
    priority: job.priority ?? 0,
    maxCostCents: maxCostCents as number | null,
    maxRestarts: job.max_restarts ?? 0,
    envs: job.envs ?? {},
    parameters: job.parameters ?? {},
    run: job.run,
    outputs: job.outputs ?? null,
  };
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
