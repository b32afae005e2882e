import { Caller, type Request } from './caller.ts';
import { RayJobError } from './errors.ts';
import { isObject, jobOfReply, type RayJob, type SubmitRequest, submitBody } from './job.ts';
import * as limits from './limits.ts';
import { LogText } from './log-text.ts';
import { labelsOfReply, nodesOfReply, type RayNode } from './node-resources.ts';
import { type RayWorker, workersOfReply } from './node-workers.ts';
import { tailLog } from './tail.ts';
import { type Token, TokenSource } from './token.ts';
import { badReply, type TlsFiles, Transport } from './transport.ts';

export interface RayJobClientOptions {
  /** `http://host:8265` or https; a path prefix is kept. */
  readonly address: string;
  readonly token?: Token | undefined;
  /** PEM of the authority that signed the server's certificate, where it is a private one. */
  readonly ca?: string | undefined;
  /** PEM of a client certificate and its key, where a proxy in front of Ray asks for one. Both or neither. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly timeoutMs?: number | undefined;
  readonly submitTimeoutMs?: number | undefined;
  /** How often a read is tried (at least 1). Writes are never repeated: their outcome may be unknown. */
  readonly getAttempts?: number | undefined;
  /** A read that the server asks to wait longer for is not repeated but thrown, with `retryAfterMs`. */
  readonly longestWaitMs?: number | undefined;
  /** For jitter; in [0, 1). */
  readonly random?: (() => number) | undefined;
}

export interface RayVersion {
  /** Of the Jobs API. */
  readonly version: string;
  readonly rayVersion: string;
  /** Another one after each start of the cluster. */
  readonly sessionName: string;
}

const ID = /^[A-Za-z0-9_-]{1,256}$/;
const PACKAGE_NAME = /^[A-Za-z0-9_-]{1,128}\.zip$/;

/** The `working_dir` of an uploaded package. */
export function packageUri(name: string): string {
  return `gcs://${checkedPackage(name)}`;
}

/**
 * Ray's Jobs REST API as Ray 2.60 really behaves. Each method takes an optional AbortSignal (then throws its reason) and throws
 * RayJobError otherwise. Reads are repeated up to three times where that can help; nothing else ever is, save once after 401 or 403 with a
 * token read anew.
 */
export class RayJobClient {
  readonly #address: URL;
  readonly #tls: TlsFiles;
  readonly #transport: Transport;
  readonly #token: TokenSource;
  readonly #timeoutMs: number;
  readonly #submitTimeoutMs: number;
  readonly #caller: Caller;

  constructor(options: RayJobClientOptions) {
    this.#address = parseAddress(options.address);
    this.#tls = tlsOf(options);
    this.#transport = new Transport(this.#address, this.#tls);
    this.#token = new TokenSource(options.token);
    this.#timeoutMs = options.timeoutMs ?? limits.CALL_TIMEOUT_MS;
    this.#submitTimeoutMs = options.submitTimeoutMs ?? limits.SUBMIT_TIMEOUT_MS;
    this.#caller = new Caller({
      transport: this.#transport,
      token: this.#token,
      getAttempts: Math.max(1, options.getAttempts ?? limits.GET_ATTEMPTS),
      longestWaitMs: options.longestWaitMs ?? limits.RETRY_AFTER_LIMIT_MS,
      random: options.random ?? Math.random,
    });
  }

  /** Frees idle connections; calls in progress go on. */
  close(): void {
    this.#transport.close();
  }

  async version(signal?: AbortSignal): Promise<RayVersion> {
    const request = this.#get('/api/version', 'asking for its version', signal);
    const value = await this.#caller.json(request, limits.REPLY_LIMIT_BYTES);
    if (!isObject(value) || typeof value.ray_version !== 'string')
      throw badReply(request, 'the reply has no ray_version');
    return {
      version: String(value.version),
      rayVersion: value.ray_version,
      sessionName: String(value.session_name ?? ''),
    };
  }

  /**
   * The HTTP status that a caller without any token gets: 401 or 403 where Ray asks for one. Sends no token, so that it is safe to ask
   * before one is trusted to the address.
   */
  async statusWithoutToken(signal?: AbortSignal): Promise<number> {
    const request = this.#get('/api/version', 'asking without a token', signal);
    const reply = await this.#transport.send({ ...request, headers: {} });
    reply.discard();
    return reply.status;
  }

  /** Throws `already_exists` for an id used before; `outcomeUnknown` says when to look with `get` before trying again. */
  async submit(submission: SubmitRequest, signal?: AbortSignal): Promise<{ readonly submissionId: string }> {
    checkedId(submission.submissionId);
    const value = await this.#caller.json(
      this.#submission(submitBody(submission), 'submitting a job', signal),
      limits.REPLY_LIMIT_BYTES,
    );
    const submissionId = isObject(value) ? (value.submission_id ?? value.job_id) : undefined;
    if (typeof submissionId !== 'string') throw unknownOutcome('the reply to a submit has no submission_id');
    if (submissionId !== submission.submissionId) {
      throw unknownOutcome(
        `submitted ${submission.submissionId}, but the reply names ${JSON.stringify(submissionId.slice(0, 80))}`,
      );
    }
    return { submissionId };
  }

  /**
   * Waits until jobs can be submitted, by asking for one that Ray must refuse: only the job agent checks a label selector, before it
   * stores anything. Without this, the first submit to a fresh cluster pays for the agent's start (3–6 s measured) and may time out.
   */
  async waitForAgent(signal?: AbortSignal): Promise<void> {
    const body = JSON.stringify({ entrypoint: 'true', entrypoint_label_selector: { 'agent-probe': '***' } });
    try {
      await this.#caller.json(this.#submission(body, 'waiting for the job agent', signal), limits.REPLY_LIMIT_BYTES);
    } catch (error) {
      if (error instanceof RayJobError && error.code === 'invalid' && error.detail.includes('label selector')) return;
      throw error;
    }
    throw new RayJobError('bad_reply', 'Ray took a job with a malformed label selector; is this Ray older than 2.50?');
  }

  /** Throws `not_found`. */
  async get(submissionId: string, signal?: AbortSignal): Promise<RayJob> {
    const request = this.#get(`/api/jobs/${checkedId(submissionId)}`, `asking for job ${submissionId}`, signal);
    const job = jobOfReply(await this.#caller.json(request, limits.REPLY_LIMIT_BYTES));
    if (typeof job === 'string') throw badReply(request, job);
    if (job.submissionId !== submissionId) throw badReply(request, 'the reply is about another job');
    return job;
  }

  /** Every job that Ray remembers, ended ones and drivers too: it knows no pages, limits or filters. */
  async list(signal?: AbortSignal): Promise<readonly RayJob[]> {
    const request = this.#get('/api/jobs/', 'listing jobs', signal);
    const value = await this.#caller.json(request, limits.LIST_LIMIT_BYTES);
    if (!Array.isArray(value)) throw badReply(request, 'the list is not an array');
    return value.map((entry) => {
      const job = jobOfReply(entry);
      if (typeof job === 'string') throw badReply(request, job);
      return job;
    });
  }

  /**
   * At most `maxBytes` of the log's UTF-8 from byte `fromByte`; empty at its end. Ray sends the whole log on each call and this drops the
   * rest, so follow a long log with `tail`. `server` once the job's node is gone, `too_large` beyond 256 MiB.
   */
  async logs(
    submissionId: string,
    range: { readonly fromByte?: number; readonly maxBytes?: number } = {},
    signal?: AbortSignal,
  ): Promise<Buffer> {
    const path = `/api/jobs/${checkedId(submissionId)}/logs`;
    const request = {
      ...this.#get(path, `reading the log of ${submissionId}`, signal),
      timeoutMs: limits.LOGS_TIMEOUT_MS,
    };
    const reply = await this.#caller.ok(request);
    const text = new LogText(range.fromByte ?? 0, range.maxBytes ?? limits.LOG_DEFAULT_BYTES);
    let wire = 0;
    for await (const chunk of reply.chunks()) {
      wire += chunk.length;
      if (wire > limits.LOG_WIRE_LIMIT_BYTES) {
        throw new RayJobError('too_large', `the log of ${submissionId} is beyond ${limits.LOG_WIRE_LIMIT_BYTES} bytes`);
      }
      text.push(chunk);
      if (text.done || text.problem !== undefined) break;
    }
    const bytes = text.result();
    if (text.problem !== undefined) throw badReply(request, text.problem);
    return bytes;
  }

  /** The log as it grows, from byte `fromByte`, until the job has ended. A torn connection throws `unreachable`: begin again where you were. */
  async *tail(
    submissionId: string,
    range: { readonly fromByte?: number } = {},
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const url = new URL(`${this.#address.href.replace(/\/$/, '')}/api/jobs/${checkedId(submissionId)}/logs/tail`);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const authorization = await this.#token.header();
    const request = {
      url: url.href,
      tls: this.#tls,
      fromByte: range.fromByte ?? 0,
      connectTimeoutMs: this.#timeoutMs,
      signal,
    };
    try {
      yield* tailLog({ ...request, authorization });
      return;
    } catch (error) {
      // Ray refuses a token before the first byte, so nothing is delivered twice.
      if (!(error instanceof RayJobError && error.code === 'auth')) throw error;
      const renewed = await this.#token.renewed(authorization);
      if (renewed === undefined) throw error;
      yield* tailLog({ ...request, authorization: renewed });
    }
  }

  /**
   * Asks a job to stop (SIGTERM, then SIGKILL after RAY_JOB_STOP_WAIT_TIME_S, 3 by default) and returns at once. False: it was not alive any
   * more, or not yet. A PENDING job answers true and stays PENDING until Ray starts it, ends it, or gives up after 900 s.
   */
  async stop(submissionId: string, signal?: AbortSignal): Promise<boolean> {
    return this.#change(
      'POST',
      `/api/jobs/${checkedId(submissionId)}/stop`,
      'stopped',
      `stopping job ${submissionId}`,
      signal,
    );
  }

  /** Makes Ray forget an ended job; `invalid` for one that has not ended. */
  async delete(submissionId: string, signal?: AbortSignal): Promise<boolean> {
    return this.#change(
      'DELETE',
      `/api/jobs/${checkedId(submissionId)}`,
      'deleted',
      `deleting job ${submissionId}`,
      signal,
    );
  }

  /** Asking also keeps an unused package from being dropped for 10 minutes. */
  async packageExists(name: string, signal?: AbortSignal): Promise<boolean> {
    try {
      const reply = await this.#caller.ok(
        this.#get(`/api/packages/gcs/${checkedPackage(name)}`, 'looking for a package', signal),
      );
      reply.discard();
      return true;
    } catch (error) {
      if (error instanceof RayJobError && error.code === 'not_found') return false;
      throw error;
    }
  }

  /** Stores a zip of at most 100 MiB under `name`; the same name again replaces it. */
  async uploadPackage(name: string, zip: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (zip.byteLength > limits.PACKAGE_LIMIT_BYTES) {
      throw new RayJobError(
        'too_large',
        `the package has ${zip.byteLength} bytes, Ray takes ${limits.PACKAGE_LIMIT_BYTES}`,
      );
    }
    const request: Request = {
      method: 'PUT',
      path: `/api/packages/gcs/${checkedPackage(name)}`,
      body: zip,
      contentType: 'application/zip',
      timeoutMs: limits.UPLOAD_TIMEOUT_MS,
      signal,
      doing: 'uploading a package',
    };
    (await this.#caller.ok(request)).discard();
  }

  /** The live nodes and what of them is in use. Up to 5 s late, and empty in a fresh cluster's first seconds. */
  async nodes(signal?: AbortSignal): Promise<readonly RayNode[]> {
    const request = this.#get('/nodes?view=summary', 'asking for the nodes', signal);
    const nodes = nodesOfReply(await this.#caller.json(request, limits.LIST_LIMIT_BYTES));
    if (typeof nodes === 'string') throw badReply(request, nodes);
    return nodes;
  }

  /** The processes that Ray runs on a node, its own among them; what they use is some seconds old. Unknown node: `bad_reply`. */
  async workers(nodeId: string, signal?: AbortSignal): Promise<readonly RayWorker[]> {
    const path = `/nodes/${encodeURIComponent(nodeId)}`;
    const request = this.#get(path, 'asking for the workers of a node', signal);
    const workers = workersOfReply(await this.#caller.json(request, limits.LIST_LIMIT_BYTES));
    if (typeof workers === 'string') throw badReply(request, workers);
    return workers;
  }

  /** The labels of the live nodes by node id, as the state API has them: known as soon as a node is, unlike what of it is in use. */
  async labels(signal?: AbortSignal): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> {
    const path = `/api/v0/nodes?limit=${limits.NODES_LIMIT}`;
    const request = this.#get(path, 'asking for the labels of the nodes', signal);
    const labels = labelsOfReply(await this.#caller.json(request, limits.LIST_LIMIT_BYTES));
    if (typeof labels === 'string') throw badReply(request, labels);
    return labels;
  }

  async #change(
    method: 'POST' | 'DELETE',
    path: string,
    field: string,
    doing: string,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const request: Request = { method, path, timeoutMs: this.#submitTimeoutMs, signal, doing };
    const value = await this.#caller.json(request, limits.REPLY_LIMIT_BYTES);
    const done = isObject(value) ? value[field] : undefined;
    if (typeof done !== 'boolean') throw badReply(request, `the reply has no ${field}`);
    return done;
  }

  #get(path: string, doing: string, signal: AbortSignal | undefined): Request & { readonly method: 'GET' } {
    return { method: 'GET', path, timeoutMs: this.#timeoutMs, signal, doing };
  }

  #submission(body: string, doing: string, signal: AbortSignal | undefined): Request {
    return {
      method: 'POST',
      path: '/api/jobs/',
      body: Buffer.from(body, 'utf8'),
      contentType: 'application/json',
      timeoutMs: this.#submitTimeoutMs,
      signal,
      doing,
    };
  }
}

function tlsOf({ ca, cert, key }: RayJobClientOptions): TlsFiles {
  if ((cert === undefined) !== (key === undefined))
    throw new RayJobError('invalid', 'a client certificate and its key are given together, or neither');
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function unknownOutcome(problem: string): RayJobError {
  return new RayJobError('bad_reply', problem, { outcomeUnknown: true });
}

function parseAddress(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const plain = url !== undefined && url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (plain && (url.protocol === 'http:' || url.protocol === 'https:')) return url;
  throw new RayJobError(
    'invalid',
    'the address must be http://host:port or https://host:port, without user, query or fragment',
  );
}

function checkedId(id: string): string {
  if (ID.test(id)) return id;
  throw new RayJobError('invalid', 'a submission id is 1 to 256 characters of A-Z a-z 0-9 _ -');
}

function checkedPackage(name: string): string {
  if (PACKAGE_NAME.test(name)) return name;
  throw new RayJobError('invalid', 'a package name is 1 to 128 characters of A-Z a-z 0-9 _ - and then .zip');
}
