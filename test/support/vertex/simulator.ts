import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { VertexConfig } from '../../../providers/vertex/config.ts';
import { RPC } from '../../../providers/vertex/errors.ts';
import type { NewCustomJob, WireTime } from '../../../providers/vertex/wire.ts';
import { type Container, type Delays, SimulatedJob } from './custom-job.ts';
import { GoogleHttp } from './google-http.ts';
import { type Answer, GrpcDoor, type Reply, type Request } from './grpc-door.ts';
import { listFilter } from './list-filter.ts';
import { badRequest, RpcError, retryInfo } from './rpc-error.ts';
import { jobProblems } from './service-rules.ts';

export interface SimulatorOptions {
  readonly clock: { now(): number };
  readonly container: Container;
  /** Of the files that hold the credentials it takes. */
  readonly stateDir: string;
  readonly delays?: Partial<Delays>;
  /** Machines the project may have at once, by machine type; of others it may have any. */
  readonly quotas?: Readonly<Record<string, number>>;
  readonly pageSize?: number;
}

export interface Faults {
  hangs?: boolean;
  refusal?: string;
  retryAfterMs?: number;
  hideMs?: number;
  overQuota?: boolean;
  tearsList?: boolean;
  queueMs?: number;
  /** A state that the SDK's description does not have. */
  stateNumber?: number;
  denied?: string;
}

export const PROJECT = 'example-merit';
const NUMBER = '123456789012';
export const REGION = 'europe-west4';
const DELAYS: Delays = { queueMs: 0, prepareMs: 0, stopMs: 0 };

/**
 * A simulator of Vertex AI's JobService, of which it has custom jobs, and of what a pool needs of Google besides; it runs nothing. gRPC on loopback, by the
 * protos of the SDK, so that the real SDK reaches it by its endpoint. It refuses what the service refuses as far as the API's description and public lists
 * say it, and its time is the clock it is given.
 */
export class VertexSimulator {
  readonly pageSize: number;
  readonly asked: { readonly verb: string; readonly request: Request }[] = [];
  readonly jobs: SimulatedJob[] = [];
  readonly http: GoogleHttp;
  readonly credentialsFile: string;
  faults: Faults = {};
  skewMs = 0;
  /** Of the reply to the next CreateCustomJob. */
  nextReply: 'lost' | 'stalled' | 'torn' | undefined;
  /** Run before the next CreateCustomJob takes effect. */
  beforeCreate: (() => Promise<void>) | undefined;
  readonly #options: SimulatorOptions;
  readonly #door = new GrpcDoor((verb, request, authorization) => this.#answer(verb, request, authorization));
  #made = 0;
  #subject = '';
  #token = '';

  constructor(options: SimulatorOptions) {
    this.#options = options;
    this.pageSize = options.pageSize ?? 5;
    this.credentialsFile = join(options.stateDir, 'credentials.json');
    this.http = new GoogleHttp({
      exchange: (subject) => (subject === this.#subject ? this.#token : undefined),
      isToken: (bearer) => bearer === this.#token,
      entries: () => this.#entries(),
    });
  }

  async start(): Promise<this> {
    await this.http.start();
    await this.renewCredentials();
    await this.#door.start();
    return this;
  }

  listen(): Promise<void> {
    return this.#door.listen();
  }

  /** Nothing listens any more. */
  goAway(): Promise<void> {
    return this.#door.goAway();
  }

  async close(): Promise<void> {
    await this.#door.close();
    await this.http.close();
  }

  /** The tokens taken so far are no longer good, nor is what they were got for. */
  expireCredentials(): void {
    this.#token = randomBytes(12).toString('hex');
    this.#subject = randomBytes(12).toString('hex');
  }

  /** Workload identity federation: a file that says where to exchange what another file holds. */
  async renewCredentials(): Promise<void> {
    if (this.#token === '') this.expireCredentials();
    const file = join(this.#options.stateDir, 'subject-token');
    await writeFile(file, this.#subject);
    const told = {
      type: 'external_account',
      audience: `//iam.googleapis.com/projects/${NUMBER}/locations/global/workloadIdentityPools/merit/providers/merit`,
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: `${this.http.url}/token`,
      credential_source: { file },
    };
    await writeFile(this.credentialsFile, JSON.stringify(told));
  }

  /** Of a pool on it. */
  config(fields: Partial<VertexConfig> = {}): VertexConfig {
    return {
      project: PROJECT,
      region: REGION,
      image: 'europe-docker.pkg.dev/example-merit/train/train:1',
      gcs: 'gs://example-merit/training',
      credentialsFile: this.credentialsFile,
      endpoint: this.#door.url,
      storageEndpoint: this.http.url,
      loggingEndpoint: this.http.url,
      flavours: [],
      ...fields,
    };
  }

  /** Those of this key, oldest first. */
  of(key: string): readonly SimulatedJob[] {
    for (const job of this.jobs) job.goOn(this.#nowMs);
    return this.jobs.filter((job) => job.request.displayName === key);
  }

  job(key: string): SimulatedJob {
    const [job] = this.of(key);
    if (job === undefined) throw new Error(`the simulator has no job ${key}`);
    return job;
  }

  /** A job of somebody else, or of a submit that nobody here made. */
  plant(request: NewCustomJob): SimulatedJob {
    const { queueMs, hideMs = 0 } = this.faults;
    const delays = { ...DELAYS, ...this.#options.delays, ...(queueMs === undefined ? {} : { queueMs }) };
    const nanos = ++this.#made;
    const made = { id: String(7_000_000_000 + nanos * 7919), request, nowMs: this.#nowMs, nanos, hideMs };
    const job = new SimulatedJob(made, delays, this.#options.container);
    this.jobs.push(job);
    return job;
  }

  forget(key: string): void {
    for (const job of this.of(key)) this.jobs.splice(this.jobs.indexOf(job), 1);
  }

  get #nowMs(): number {
    return this.#options.clock.now();
  }

  async #answer(verb: string, request: Request, authorization: string): Promise<Answer> {
    if (this.faults.hangs === true) return 'none';
    this.asked.push({ verb, request });
    if (verb === 'CreateCustomJob') await this.#letOthersFirst();
    this.#admit(verb, authorization);
    const value = this.#do(verb, request);
    const how = verb === 'CreateCustomJob' ? this.nextReply : undefined;
    if (how !== undefined) this.nextReply = undefined;
    switch (how) {
      case 'stalled':
        return 'none';
      case 'lost':
        return 'cut';
      case 'torn':
        return 'torn';
      default:
        return value;
    }
  }

  async #letOthersFirst(): Promise<void> {
    const before = this.beforeCreate;
    this.beforeCreate = undefined;
    await before?.();
  }

  /** All that is refused before the request itself is looked at. */
  #admit(verb: string, authorization: string): void {
    const { retryAfterMs, refusal, denied } = this.faults;
    if (retryAfterMs !== undefined)
      throw new RpcError(
        RPC.resourceExhausted,
        `Quota exceeded for quota metric 'Resource management (CRUD) requests' and limit 'Requests per minute per region' of service 'aiplatform.googleapis.com' for consumer 'project_number:${NUMBER}'.`,
        [retryInfo(retryAfterMs)],
      );
    if (authorization !== `Bearer ${this.#token}`)
      throw new RpcError(RPC.unauthenticated, 'Request had invalid authentication credentials.');
    if (denied === verb)
      throw new RpcError(
        RPC.permissionDenied,
        `Permission 'aiplatform.customJobs.${verb.replace('CustomJob', '').toLowerCase()}' denied on resource.`,
      );
    if (refusal !== undefined) throw new RpcError(RPC.invalidArgument, refusal);
  }

  #do(verb: string, request: Request): Reply {
    for (const job of this.jobs) job.goOn(this.#nowMs);
    switch (verb) {
      case 'CreateCustomJob':
        return this.#create(request.parent!, request.customJob!);
      case 'GetCustomJob':
        return this.#told(this.#seen(request.name!));
      case 'CancelCustomJob': {
        const job = this.#seen(request.name!);
        if (job.isOver) throw new RpcError(RPC.failedPrecondition, `The job is in state JOB_STATE_${job.state}.`);
        job.cancel(this.#nowMs);
        return {};
      }
      case 'DeleteCustomJob': {
        const job = this.#seen(request.name!);
        if (!job.isOver) throw new RpcError(RPC.failedPrecondition, 'The job has not ended.');
        this.jobs.splice(this.jobs.indexOf(job), 1);
        return { name: `${request.name!}/operations/1`, done: true };
      }
      default:
        return this.#list(request);
    }
  }

  #create(parent: string, request: NewCustomJob): Reply {
    this.#checkParent(parent);
    const problems = jobProblems(request);
    if (problems.length > 0)
      throw new RpcError(RPC.invalidArgument, 'List of found errors: see the details.', [badRequest(problems)]);
    this.#checkQuota(request);
    return this.#told(this.plant(request));
  }

  #checkParent(parent: string): void {
    if (parent !== `projects/${PROJECT}/locations/${REGION}`)
      throw new RpcError(RPC.permissionDenied, `Permission denied on ${parent}, or it may not exist.`);
  }

  #checkQuota({ jobSpec }: NewCustomJob): void {
    for (const { machineSpec, replicaCount } of jobSpec.workerPoolSpecs) {
      const { machineType, acceleratorType } = machineSpec;
      const used = this.jobs
        .filter((job) => !job.isOver)
        .flatMap((job) => job.request.jobSpec.workerPoolSpecs)
        .filter((pool) => pool.machineSpec.machineType === machineType)
        .reduce((all, pool) => all + Number(pool.replicaCount), 0);
      const limit =
        this.faults.overQuota === true ? 0 : (this.#options.quotas?.[machineType] ?? Number.POSITIVE_INFINITY);
      if (used + Number(replicaCount) <= limit) continue;
      const what = acceleratorType?.startsWith('NVIDIA') ? `${acceleratorType.toLowerCase()}_gpus` : 'cpus';
      throw new RpcError(
        RPC.resourceExhausted,
        `The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_${what}`,
      );
    }
  }

  #seen(name: string): SimulatedJob {
    const job = this.jobs.find(({ id }) => name.endsWith(`/customJobs/${id}`));
    if (job === undefined || job.visibleAtMs > this.#nowMs)
      throw new RpcError(RPC.notFound, `The CustomJob does not exist: ${name}`);
    return job;
  }

  #list(request: Request): Reply {
    const { parent, filter = '', pageSize = 0, pageToken = '' } = request as never as ListRequest;
    this.#checkParent(parent);
    const from = Number(pageToken);
    if (from > 0 && this.faults.tearsList === true) throw new RpcError(RPC.internal, 'no more pages');
    const matches = listFilter(filter);
    const found = this.jobs.filter(
      (job) =>
        job.visibleAtMs <= this.#nowMs &&
        matches({
          displayName: job.request.displayName,
          state: `JOB_STATE_${job.state}`,
          createdAtMs: job.createdAtMs + this.skewMs,
          labels: job.request.labels ?? {},
        }),
    );
    const to = from + Math.min(pageSize === 0 ? this.pageSize : pageSize, this.pageSize);
    return {
      // Newest first, as the service lists them.
      customJobs: found
        .toReversed()
        .slice(from, to)
        .map((job) => this.#told(job)),
      nextPageToken: to < found.length ? String(to) : '',
    };
  }

  #told(job: SimulatedJob): Reply {
    return {
      ...job.request,
      name: nameOf(job),
      state: this.faults.stateNumber ?? `JOB_STATE_${job.state}`,
      createTime: { ...this.#time(job.createdAtMs), nanos: (job.createdAtMs % 1000) * 1e6 + job.createdNanos },
      startTime: this.#time(job.startedAtMs),
      endTime: this.#time(job.endedAtMs),
      error: job.error,
    };
  }

  /** Of this service's own clock. */
  #time(atMs: number | undefined): WireTime | undefined {
    if (atMs === undefined) return undefined;
    const told = atMs + this.skewMs;
    return { seconds: Math.floor(told / 1000), nanos: (told % 1000) * 1e6 };
  }

  #entries() {
    return this.jobs.flatMap((job) => {
      job.goOn(this.#nowMs);
      return job
        .logs(this.#nowMs)
        .flatMap(({ task, lines }) =>
          lines.map(({ atMs, message }, i) => ({ jobId: job.id, task, atMs, id: `${job.id}-${task}-${i}`, message })),
        );
    });
  }
}

interface ListRequest {
  readonly parent: string;
  readonly filter?: string;
  readonly pageSize?: number;
  readonly pageToken?: string;
}

export function nameOf({ id }: SimulatedJob): string {
  return `projects/${NUMBER}/locations/${REGION}/customJobs/${id}`;
}
