import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import type { CreateTrainingJobRequest } from '@aws-sdk/client-sagemaker';
import type { SageMakerConfig } from '../../../providers/sagemaker/config.ts';
import { modelProblems } from './service-model.ts';
import { type Container, type Delays, SimulatedJob } from './training-job.ts';

/** What the service answers in place of a result. */
export class ServiceError extends Error {
  readonly status: number;
  readonly type: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(type: string, message: string, status = 400, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.type = type;
    this.status = status;
    this.headers = headers;
  }
}

export interface SimulatorOptions {
  readonly clock: { now(): number };
  readonly container: Container;
  /** Of the file that holds the credentials it takes. */
  readonly stateDir: string;
  readonly delays?: Partial<Delays>;
  /** Instances the account may have at once, by type; of others it may have any. */
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
  word?: string;
  startMs?: number;
  roleRefused?: boolean;
  /** Lists tell no secondary status: its model does not promise it. */
  plainLists?: boolean;
  denied?: string;
}

const DELAYS: Delays = { startMs: 0, downloadMs: 0, uploadMs: 0 };
export const ACCOUNT = '123456789012';
export const REGION = 'eu-central-1';
/** So that a log of some lines has pages. */
const EVENTS_A_PAGE = 3;
const LOGS_PAGE = 50;

type Input = Readonly<Record<string, unknown>>;
type Output = Readonly<Record<string, unknown>>;

/**
 * A simulator of SageMaker's training jobs and of their logs in CloudWatch, which runs nothing: AWS JSON 1.1 over HTTP, so that the real SDK reaches it
 * by its endpoint. It refuses what the service's own model refuses, and its time is the clock it is given.
 */
export class SageMakerSimulator {
  readonly pageSize: number;
  readonly asked: { readonly verb: string; readonly input: Input }[] = [];
  faults: Faults = {};
  skewMs = 0;
  /** Of the reply to the next CreateTrainingJob. */
  nextReply: 'lost' | 'stalled' | 'torn' | undefined;
  readonly jobs = new Map<string, SimulatedJob & { visibleAtMs?: number }>();
  readonly credentialsFile: string;
  url = '';
  readonly #options: SimulatorOptions;
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => request.socket.destroy());
  });
  #keyId = '';
  #port = 0;

  constructor(options: SimulatorOptions) {
    this.#options = options;
    this.pageSize = options.pageSize ?? 5;
    this.credentialsFile = join(options.stateDir, 'credentials.json');
  }

  async start(): Promise<this> {
    await this.renewCredentials();
    await this.listen();
    return this;
  }

  async listen(): Promise<void> {
    if (this.#server.listening) return;
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
    this.url = `http://127.0.0.1:${this.#port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The credentials taken so far are no longer good. */
  expireCredentials(): void {
    this.#keyId = `AKIA${randomBytes(8).toString('hex').toUpperCase()}`;
  }

  async renewCredentials(): Promise<void> {
    if (this.#keyId === '') this.expireCredentials();
    const told = { Version: 1, AccessKeyId: this.#keyId, SecretAccessKey: 'not-checked' };
    await writeFile(this.credentialsFile, JSON.stringify(told));
  }

  /** Of a pool on it. */
  config(fields: Partial<SageMakerConfig> = {}): SageMakerConfig {
    return {
      region: REGION,
      roleArn: `arn:aws:iam::${ACCOUNT}:role/merit-training`,
      image: `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com/train:1`,
      s3: 's3://example-merit/training',
      credentialsFile: this.credentialsFile,
      endpoint: this.url,
      logsEndpoint: this.url,
      flavours: [],
      ...fields,
    };
  }

  job(name: string): SimulatedJob {
    const job = this.jobs.get(name);
    if (job === undefined) throw new Error(`the simulator has no job ${name}`);
    job.goOn(this.#nowMs);
    return job;
  }

  /** A job of somebody else. */
  plant(request: CreateTrainingJobRequest): void {
    this.#add(request);
  }

  get #nowMs(): number {
    return this.#options.clock.now();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const input = (await json(request)) as Input;
    if (this.faults.hangs === true) return;
    const [service = '', verb = ''] = String(request.headers['x-amz-target']).split('.');
    this.asked.push({ verb, input });
    let output: Output;
    try {
      this.#admit(service, verb, request.headers.authorization ?? '', input);
      output = this.#do(verb, input);
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      const { type, message, status, headers } = error;
      const body = JSON.stringify({ __type: type, message });
      return void response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1', ...headers }).end(body);
    }
    const how = verb === 'CreateTrainingJob' ? this.nextReply : undefined;
    if (how !== undefined) this.nextReply = undefined;
    if (how === 'stalled') return;
    if (how === 'lost') return void request.socket.destroy();
    response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
    response.end(how === 'torn' ? '{"TrainingJobArn": "arn:aws:sage' : JSON.stringify(output));
  }

  /** All that is refused before the request itself is looked at. */
  #admit(service: string, verb: string, authorization: string, input: Input): void {
    const { retryAfterMs, refusal, denied } = this.faults;
    if (retryAfterMs !== undefined)
      throw new ServiceError('ThrottlingException', 'Rate exceeded', 400, {
        'retry-after': String(retryAfterMs / 1000),
      });
    const signed = /Credential=([^/]+)\/\d{8}\/([^/]+)\/([^/]+)\/aws4_request/.exec(authorization);
    const name = service === 'SageMaker' ? 'sagemaker' : service === 'Logs_20140328' ? 'logs' : undefined;
    if (name === undefined) throw new ServiceError('UnknownOperationException', service);
    if (signed?.[2] !== REGION || signed[3] !== name)
      throw new ServiceError('InvalidSignatureException', `Credential should be scoped to ${REGION}/${name}`, 403);
    if (signed[1] !== this.#keyId)
      throw new ServiceError('ExpiredTokenException', 'The security token included in the request is expired', 403);
    if (denied === verb)
      throw new ServiceError(
        'AccessDeniedException',
        `User: arn:aws:iam::${ACCOUNT}:user/merit is not authorized to perform: sagemaker:${verb}`,
      );
    if (refusal !== undefined) throw new ServiceError('ValidationException', refusal);
    if (name === 'logs') return;
    const problems = modelProblems(verb, input);
    if (problems.length > 0)
      throw new ServiceError(
        'ValidationException',
        `${problems.length} validation errors detected: ${problems.join('; ')}`,
      );
  }

  #do(verb: string, input: Input): Output {
    for (const job of this.jobs.values()) job.goOn(this.#nowMs);
    switch (verb) {
      case 'CreateTrainingJob':
        return this.#create(input as unknown as CreateTrainingJobRequest);
      case 'DescribeTrainingJob':
        return this.#describe(this.#seen(input.TrainingJobName));
      case 'StopTrainingJob':
        return this.#stop(this.#seen(input.TrainingJobName));
      case 'ListTrainingJobs':
        return this.#list(input);
      case 'DescribeLogStreams':
        return this.#streams(String(input.logStreamNamePrefix), Number(input.nextToken ?? 0));
      case 'GetLogEvents':
        return this.#events(String(input.logStreamName), input.nextToken as string | undefined);
      default:
        throw new ServiceError('UnknownOperationException', verb);
    }
  }

  #create(request: CreateTrainingJobRequest): Output {
    refuseUnlessWhole(request);
    const name = request.TrainingJobName!;
    if (this.jobs.has(name))
      throw new ServiceError(
        'ResourceInUse',
        `Training job names must be unique within an AWS account and region, and a training job with this name already exists (${arnOf(name)})`,
      );
    if (this.faults.roleRefused === true)
      throw new ServiceError(
        'ValidationException',
        `Could not assume role ${request.RoleArn}. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to assume the role.`,
      );
    this.#checkQuota(request);
    this.#add(request);
    return { TrainingJobArn: arnOf(name) };
  }

  #add(request: CreateTrainingJobRequest): void {
    const delays = { ...DELAYS, ...this.#options.delays };
    const { startMs = delays.startMs, hideMs = 0 } = this.faults;
    const job = new SimulatedJob(request, this.#nowMs, { ...delays, startMs }, this.#options.container);
    this.jobs.set(request.TrainingJobName!, Object.assign(job, { visibleAtMs: this.#nowMs + hideMs }));
  }

  #checkQuota({ ResourceConfig: asked, EnableManagedSpotTraining: spot = false }: CreateTrainingJobRequest): void {
    const type = asked?.InstanceType ?? '';
    const used = [...this.jobs.values()]
      .filter(
        (job) =>
          !job.isOver &&
          job.request.ResourceConfig?.InstanceType === type &&
          (job.request.EnableManagedSpotTraining ?? false) === spot,
      )
      .reduce((all, job) => all + job.nodes, 0);
    const limit = this.faults.overQuota === true ? 0 : (this.#options.quotas?.[type] ?? Number.POSITIVE_INFINITY);
    if (used + (asked?.InstanceCount ?? 1) <= limit) return;
    throw new ServiceError(
      'ResourceLimitExceeded',
      `The account-level service limit '${type} for ${spot ? 'spot ' : ''}training job usage' is ${limit} Instances, with current utilization of ${used} Instances and a request delta of ${asked?.InstanceCount} Instances. Please use AWS Service Quotas to request an increase for this quota.`,
    );
  }

  /** Throws what the service says of a name that it does not know, or not yet. */
  #seen(name: unknown): SimulatedJob {
    const job = this.jobs.get(String(name));
    if (job === undefined || (job.visibleAtMs ?? 0) > this.#nowMs)
      throw new ServiceError('ValidationException', 'Requested resource not found.');
    return job;
  }

  #stop(job: SimulatedJob): Output {
    if (job.isOver)
      throw new ServiceError(
        'ValidationException',
        `The request was rejected because the training job is in status ${job.status}.`,
      );
    job.stop(this.#nowMs);
    return {};
  }

  #describe(job: SimulatedJob): Output {
    const { Tags: _kept, ...request } = job.request;
    const [first] = job.runs;
    const seconds = job.seconds();
    const transitions = job.transitions.map(({ status, atMs, message }, i) => ({
      Status: status,
      StartTime: this.#told(atMs),
      EndTime: this.#told(job.transitions[i + 1]?.atMs),
      StatusMessage: message,
    }));
    return {
      ...request,
      TrainingJobArn: arnOf(job.name),
      TrainingJobStatus: this.faults.word ?? job.status,
      SecondaryStatus: job.secondary,
      FailureReason: job.reason?.slice(0, 1024),
      SecondaryStatusTransitions: transitions,
      CreationTime: this.#told(job.createdAtMs),
      LastModifiedTime: this.#told(job.changedAtMs),
      TrainingStartTime: this.#told(first?.startedAtMs),
      TrainingEndTime: job.isOver ? this.#told(job.changedAtMs) : undefined,
      TrainingTimeInSeconds: seconds?.trained,
      BillableTimeInSeconds: seconds?.billed,
      ModelArtifacts: { S3ModelArtifacts: `${request.OutputDataConfig?.S3OutputPath}/${job.name}/output/model.tar.gz` },
    };
  }

  #list({
    NextToken: token,
    MaxResults: most = 10,
    NameContains: part = '',
    StatusEquals: status,
    LastModifiedTimeAfter: since = 0,
  }: Input): Output {
    const from = Number(token ?? 0);
    if (from > 0 && this.faults.tearsList === true) throw new ServiceError('InternalFailure', 'no more pages', 500);
    const found = [...this.jobs.values()].filter(
      (job) =>
        (job.visibleAtMs ?? 0) <= this.#nowMs &&
        job.name.includes(String(part)) &&
        (status === undefined || job.status === status) &&
        this.#told(job.changedAtMs)! > Number(since),
    );
    const to = from + Math.min(Number(most), this.pageSize);
    return {
      TrainingJobSummaries: found.slice(from, to).map((job) => ({
        TrainingJobName: job.name,
        TrainingJobArn: arnOf(job.name),
        CreationTime: this.#told(job.createdAtMs),
        LastModifiedTime: this.#told(job.changedAtMs),
        TrainingJobStatus: this.faults.word ?? job.status,
        ...(this.faults.plainLists === true ? {} : { SecondaryStatus: job.secondary }),
      })),
      ...(to < found.length ? { NextToken: String(to) } : {}),
    };
  }

  #streams(prefix: string, from: number): Output {
    const all = [...this.jobs.values()]
      .flatMap((job) => job.streams(this.#nowMs))
      .filter(({ name }) => name.startsWith(prefix));
    if (this.jobs.size === 0)
      throw new ServiceError('ResourceNotFoundException', 'The specified log group does not exist.');
    const logStreams = all
      .slice(from, from + LOGS_PAGE)
      .map(({ name, createdAtMs }) => ({ logStreamName: name, creationTime: createdAtMs }));
    return { logStreams, ...(from + LOGS_PAGE < all.length ? { nextToken: String(from + LOGS_PAGE) } : {}) };
  }

  #events(name: string, token: string | undefined): Output {
    const stream = [...this.jobs.values()].flatMap((job) => job.streams(this.#nowMs)).find((one) => one.name === name);
    if (stream === undefined)
      throw new ServiceError('ResourceNotFoundException', 'The specified log stream does not exist.');
    const from = Number(token?.slice(2) ?? 0);
    const events = stream.lines
      .slice(from, from + EVENTS_A_PAGE)
      .map(({ atMs, message }) => ({ timestamp: atMs, ingestionTime: atMs, message }));
    return { events, nextForwardToken: `f/${from + events.length}`, nextBackwardToken: `b/${from}` };
  }

  /** Seconds since the epoch, as AWS JSON has times; of this service's own clock. */
  #told(atMs: number | undefined): number | undefined {
    return atMs === undefined ? undefined : (atMs + this.skewMs) / 1000;
  }
}

export function arnOf(name: string): string {
  return `arn:aws:sagemaker:${REGION}:${ACCOUNT}:training-job/${name.toLowerCase()}`;
}

/** What the service refuses beyond its model. */
function refuseUnlessWhole(request: CreateTrainingJobRequest): void {
  const { AlgorithmSpecification: algorithm, ResourceConfig: resources, StoppingCondition: limits } = request;
  const refused = (text: string) => new ServiceError('ValidationException', text);
  if ((algorithm?.TrainingImage === undefined) === (algorithm?.AlgorithmName === undefined))
    throw refused('You must specify either TrainingImage or AlgorithmName.');
  if (resources?.InstanceType === undefined || (resources.InstanceCount ?? 0) < 1)
    throw refused('ResourceConfig needs InstanceType and an InstanceCount of at least 1.');
  const { MaxRuntimeInSeconds: most, MaxWaitTimeInSeconds: wait } = limits ?? {};
  if (most === undefined || most > 28 * 86_400) throw refused('MaxRuntimeInSeconds must be between 1 and 2419200.');
  if (request.EnableManagedSpotTraining === true && (wait === undefined || wait < most))
    throw refused(
      'Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds',
    );
  if (request.EnableManagedSpotTraining !== true && wait !== undefined)
    throw refused('MaxWaitTimeInSeconds is only for managed spot training.');
  const names = (request.InputDataConfig ?? []).map(({ ChannelName }) => ChannelName);
  if (new Set(names).size < names.length) throw refused('Channel names must be unique.');
}
