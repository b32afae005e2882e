import { type Static, Type } from './schema.ts';

/** The job file: SkyPilot's field names where they exist. What is accepted is what is carried out; an unknown field is refused, never ignored. */
const Name = Type.String({ maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' });
/** Nodes of one gang. */
export const MAX_NODES = 1024;
/** Jobs of one array; they are booked in one transaction. */
export const MAX_ARRAY = 1000;
const Slug = Type.String({ maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' });

export const JobFile = Type.Object(
  {
    name: Name,
    division: Slug,
    model: Type.Optional(Name),
    workdir: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
    resources: Type.Object(
      {
        /** Whole GPUs of any type, on each node; the flavour says which. */
        gpus: Type.Optional(Type.Integer({ minimum: 0, maximum: 1024 })),
        /** GPUs of one type, on each node: `H100:2`, or `H100` for one. */
        accelerators: Type.Optional(
          Type.String({ maxLength: 80, pattern: '^[A-Za-z0-9._-]{1,63}(:[1-9][0-9]{0,3})?$' }),
        ),
        cpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
        /** GiB. */
        memory: Type.Optional(Type.Integer({ minimum: 1, maximum: 65536 })),
        /** true: spot flavours only; false: none. Absent: any, and a retrain takes spot first. */
        use_spot: Type.Optional(Type.Boolean()),
      },
      { additionalProperties: false },
    ),
    /** In the order to try. */
    pools: Type.Array(Slug, { minItems: 1, maxItems: 16 }),
    /** Max run time: `30m`, `2h`, `1d`. The booking's money is held for all of it. */
    lease: Type.Optional(Type.String({ maxLength: 16 })),
    /** A number, or the name of a priority class. */
    priority: Type.Optional(Type.Union([Type.Integer({ minimum: -1000, maximum: 1000 }), Slug])),
    /** All of them start together, or none (a gang). */
    num_nodes: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_NODES })),
    /** An elastic job: it may start with as few as this. */
    min_nodes: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_NODES })),
    /** Ids of jobs that must have ended well before this one may start. */
    depends_on: Type.Optional(Type.Array(Type.String({ pattern: '^[0-9a-hjkmnp-tv-z]{26}$' }), { maxItems: 64 })),
    /** As many jobs of this file, told apart by MERIT_ARRAY_INDEX from 0. */
    array: Type.Optional(
      Type.Object(
        {
          count: Type.Integer({ minimum: 1, maximum: MAX_ARRAY }),
          max_parallel: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_ARRAY })),
        },
        { additionalProperties: false },
      ),
    ),
    /** Whose job it is within the division, for the limits of one user; absent: the requester's. */
    user: Type.Optional(Name),
    schedule: Type.Optional(
      Type.Object(
        {
          /** off-peak: it starts only while a window of one of its pools is open, and at any time where none has any. A retrain's default. */
          window: Type.Optional(Type.Enum(['off-peak', 'any'])),
          /** A job that has not started by then has expired (RFC 3339). */
          deadline: Type.Optional(Type.String({ maxLength: 40 })),
        },
        { additionalProperties: false },
      ),
    ),
    recovery: Type.Optional(
      Type.Object(
        {
          /** Preempted more often than this it ends as failed. */
          max_preemptions: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000 })),
          /** A file or folder under its outputs that holds its newest checkpoint; the next attempt finds it in MERIT_CHECKPOINT. */
          checkpoint: Type.Optional(
            Type.String({ maxLength: 255, pattern: '^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$' }),
          ),
          /** Between notice and end, when it is preempted, drained, or past its lease. */
          grace: Type.Optional(Type.String({ maxLength: 16 })),
        },
        { additionalProperties: false },
      ),
    ),
    /** Between two attempts: doubles from the first to the second. */
    retry: Type.Optional(
      Type.Object(
        {
          backoff: Type.Optional(Type.String({ maxLength: 16 })),
          max_backoff: Type.Optional(Type.String({ maxLength: 16 })),
        },
        { additionalProperties: false },
      ),
    ),
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
    /** What only one kind of provider knows, by its kind: `ray: {runtime_env: {pip: [torch]}, labels: {zone: a}, spread: strict}`. */
    options: Type.Optional(Type.Record(Slug, Type.Record(Type.String({ maxLength: 64 }), Type.Unknown()))),
    /** A command line for a shell; parameters are never spliced into it. */
    run: Type.String({ minLength: 1, maxLength: 4096 }),
    /** Where the job writes its files: `file:///…` or `s3://…`. Absent: a folder of Merit's own for this attempt. */
    outputs: Type.Optional(Type.String({ maxLength: 1024, pattern: '^(file:///|s3://)' })),
  },
  { additionalProperties: false, $id: 'https://merit.local/schemas/job.json', title: 'Merit job' },
);

export type JobFile = Static<typeof JobFile>;
