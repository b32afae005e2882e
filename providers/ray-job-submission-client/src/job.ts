import type { JsonValue } from './strict-json.ts';

/** The words Ray 2.60 uses. A job's `status` stays a string: a newer Ray may say more. */
export type RayJobStatus = 'PENDING' | 'RUNNING' | 'STOPPED' | 'SUCCEEDED' | 'FAILED';

export const RAY_JOB_STATUSES: readonly RayJobStatus[] = ['PENDING', 'RUNNING', 'STOPPED', 'SUCCEEDED', 'FAILED'];

/** One entry of Ray's job table. Times are milliseconds since the Unix epoch. */
export interface RayJob {
  readonly type: string;
  /** Undefined for drivers that connected without the Jobs API. */
  readonly submissionId: string | undefined;
  readonly jobId: string | undefined;
  readonly status: string;
  readonly entrypoint: string;
  /** Up to 20,000 characters, much of it the job's own output: not to be trusted, nor shown unclean. */
  readonly message: string;
  readonly errorType: string | undefined;
  /** When it was submitted, not when it began to run. */
  readonly submittedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly exitCode: number | undefined;
  readonly nodeId: string | undefined;
}

export interface SubmitRequest {
  /** A shell runs it: keep it a fixed string and pass values in `env`. */
  readonly entrypoint: string;
  /** [A-Za-z0-9_-]; a second submit of one id is refused with `already_exists`. */
  readonly submissionId: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Ray shows these to whoever holds the token: no secrets. */
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory: `packageUri(name)` of an uploaded package. */
  readonly workingDir?: string | undefined;
  /** Packages whose folders come first where Python looks for modules. */
  readonly pyModules?: readonly string[];
  /** Further members of Ray's runtime_env (pip, uv, conda, image_uri, config). Ray ignores a key that it does not know. */
  readonly runtimeEnv?: Readonly<Record<string, unknown>>;
  readonly numCpus?: number;
  readonly numGpus?: number;
  readonly memoryBytes?: number;
  readonly resources?: Readonly<Record<string, number>>;
  readonly labelSelector?: Readonly<Record<string, string>>;
}

/** The body of POST /api/jobs/. Fields left out are left out, because Ray tells null from absent in places. */
export function submitBody(request: SubmitRequest): string {
  const runtimeEnv = {
    ...request.runtimeEnv,
    ...(request.env === undefined ? {} : { env_vars: request.env }),
    ...(request.workingDir === undefined ? {} : { working_dir: request.workingDir }),
    ...(request.pyModules === undefined ? {} : { py_modules: request.pyModules }),
  };
  return JSON.stringify({
    entrypoint: request.entrypoint,
    submission_id: request.submissionId,
    metadata: request.metadata,
    runtime_env: Object.keys(runtimeEnv).length === 0 ? undefined : runtimeEnv,
    entrypoint_num_cpus: request.numCpus,
    entrypoint_num_gpus: request.numGpus,
    entrypoint_memory: request.memoryBytes,
    entrypoint_resources: request.resources,
    entrypoint_label_selector: request.labelSelector,
  });
}

/** The job in a reply, or what is wrong with it as a string. */
export function jobOfReply(value: JsonValue): RayJob | string {
  if (!isObject(value)) return 'a job is not an object';
  if (typeof value.status !== 'string' || value.status === '') return 'a job has no status';
  const submissionId = value.submission_id ?? undefined;
  if (submissionId !== undefined && typeof submissionId !== 'string') return 'a submission_id is not a string';
  return {
    type: textOf(value.type) ?? '',
    submissionId,
    jobId: textOf(value.job_id),
    status: value.status,
    entrypoint: textOf(value.entrypoint) ?? '',
    message: textOf(value.message) ?? '',
    errorType: textOf(value.error_type),
    submittedAtMs: timeOf(value.start_time),
    endedAtMs: timeOf(value.end_time),
    metadata: metadataOf(value.metadata),
    exitCode: Number.isInteger(value.driver_exit_code) ? (value.driver_exit_code as number) : undefined,
    nodeId: textOf(value.driver_node_id),
  };
}

export function isObject(value: JsonValue | undefined): value is { [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function timeOf(value: JsonValue | undefined): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;
}

function metadataOf(value: JsonValue | undefined): Readonly<Record<string, string>> {
  if (!isObject(value)) return {};
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}
