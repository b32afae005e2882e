import { createRequire } from 'node:module';
import { type HttpClient, type HttpReply, openHttpClient } from '../../platform/http-client.ts';
import { untilAborted } from '../cloud/until-aborted.ts';
import { ProviderError } from '../provider.ts';
import type { VertexConfig } from './config.ts';
import { Credentials } from './credentials.ts';
import { providerErrorOf, RPC, rpcCode, unansweredError } from './errors.ts';
import { keepOnlyJobs, type ProtoNode } from './job-protos.ts';
import type { CallOptions, JobServiceClient } from './wire.ts';

/** One answer may take so long; the verb's signal bounds all of a verb together. */
const REQUEST_TIMEOUT_MS = 25_000;
/** An upload of 100 MiB at 1 MiB/s. */
const UPLOAD_TIMEOUT_MS = 120_000;
/** A page of logs: 500 entries of 64 KiB. */
const REPLY_LIMIT_BYTES = 32 * 1024 * 1024;
const JOB_CLIENT = '@google-cloud/aiplatform/build/src/v1/job_service_client.js';
const PROTOS = '@google-cloud/aiplatform/build/protos/protos.json';
const STORAGE = 'https://storage.googleapis.com';
const LOGGING = 'https://logging.googleapis.com';

/** What is done, for whom it fails, and whether it changes anything. */
export interface Call {
  readonly doing: string;
  readonly changes?: boolean;
  readonly signal: AbortSignal;
}

export interface HttpCall extends Call {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly type?: string;
  readonly body?: Uint8Array;
}

/**
 * Google's services under one identity. The SDK of the jobs costs 60 MB and most of a second: it is loaded by the first call of a pool, not by its being there,
 * and only the client of jobs of it. Storage and Logging are plain HTTPS. Every failure is a ProviderError, unless `silent` takes it.
 */
export class Clients {
  readonly #config: VertexConfig;
  readonly #credentials: Credentials;
  #jobs: Dialled | undefined;
  readonly #http = new Map<string, HttpClient>();

  constructor(config: VertexConfig) {
    this.#config = config;
    this.#credentials = new Credentials(config.credentialsFile);
  }

  /** `silent`: an error that is an answer here; then undefined. */
  async ask<T>(
    { doing, changes = false, signal }: Call,
    work: (client: JobServiceClient, options: CallOptions) => Promise<T>,
    silent: (error: unknown) => boolean = () => false,
  ): Promise<T | undefined> {
    const headers = await this.#headers(doing, signal);
    this.#jobs ??= { client: openJobs(this.#config), calls: 0 };
    const dialled = this.#jobs;
    dialled.calls++;
    try {
      const client = await dialled.client;
      if (signal.aborted) throw new ProviderError('transient', `stopped before ${doing}`);
      return await work(client, { signal, timeout: REQUEST_TIMEOUT_MS, otherArgs: { headers } });
    } catch (error) {
      if (rpcCode(error) === RPC.unauthenticated) this.#credentials.forget();
      // gRPC waits longer and longer before it dials again, and fails all calls meanwhile: Merit has its own pace.
      if (rpcCode(error) === RPC.unavailable && this.#jobs === dialled) this.#jobs = undefined;
      if (silent(error)) return undefined;
      throw providerErrorOf(error, doing, changes);
    } finally {
      if (--dialled.calls === 0 && this.#jobs !== dialled) await hungUp(dialled);
    }
  }

  storage(call: HttpCall): Promise<HttpReply> {
    return this.#send(this.#config.storageEndpoint ?? STORAGE, call, UPLOAD_TIMEOUT_MS);
  }

  logging(call: HttpCall): Promise<HttpReply> {
    return this.#send(this.#config.loggingEndpoint ?? LOGGING, call, REQUEST_TIMEOUT_MS);
  }

  async close(): Promise<void> {
    const jobs = this.#jobs;
    this.#jobs = undefined;
    await Promise.all([
      jobs === undefined ? undefined : hungUp(jobs),
      ...[...this.#http.values()].map((one) => one.close()),
    ]);
  }

  async #send(origin: string, call: HttpCall, timeoutMs: number): Promise<HttpReply> {
    const { doing, signal, method, path, type, body } = call;
    const headers = await this.#headers(doing, signal);
    let client = this.#http.get(origin);
    if (client === undefined) {
      client = openHttpClient({ origin });
      this.#http.set(origin, client);
    }
    const sent = { ...headers, ...(type === undefined ? {} : { 'content-type': type }) };
    const request = { method, path, headers: sent, body, signal, timeoutMs, maxReplyBytes: REPLY_LIMIT_BYTES };
    const reply = await client.send(request).catch((error: unknown) => {
      throw unansweredError(error, doing);
    });
    if (reply.status === 401) this.#credentials.forget();
    return reply;
  }

  /** The library that gets tokens has no signal of its own; what it gets after this is kept for the next call. */
  async #headers(doing: string, signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    if (signal.aborted) throw new ProviderError('transient', `stopped before ${doing}`);
    return untilAborted(this.#credentials.headers(), signal, doing);
  }
}

interface Dialled {
  readonly client: Promise<JobServiceClient>;
  /** Under way. */
  calls: number;
}

async function hungUp({ client }: Dialled): Promise<void> {
  await client.then((one) => one.close()).catch(() => {});
}

/** Tokens go with each call, by our own hand, so that the same identity serves all three services and a key that was renewed is used at once. */
async function openJobs({ endpoint, region }: VertexConfig): Promise<JobServiceClient> {
  const [{ credentials }, { GoogleAuth, PassThroughClient }] = await Promise.all([
    import('@grpc/grpc-js'),
    import('google-auth-library'),
  ]);
  // By require: it is CommonJS, and its types are 20 MB (wire.ts).
  const require = createRequire(import.meta.url);
  keepOnlyJobs(require(PROTOS) as ProtoNode);
  const { JobServiceClient: Client } = require(JOB_CLIENT) as {
    readonly JobServiceClient: new (options: object) => JobServiceClient;
  };
  const url = new URL(endpoint ?? `https://${region}-aiplatform.googleapis.com`);
  const isPlain = url.protocol === 'http:';
  return new Client({
    apiEndpoint: url.hostname,
    port: Number(url.port) || (isPlain ? 80 : 443),
    sslCreds: isPlain ? credentials.createInsecure() : credentials.createSsl(),
    auth: new GoogleAuth({ authClient: new PassThroughClient() }),
    fallback: false,
  });
}
