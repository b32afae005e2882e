import { readFile } from 'node:fs/promises';
import type { ConnectionOptions } from 'node:tls';
import type { Json } from '../../core/canonical.ts';
import { parseJson } from '../../core/json.ts';
import { type HttpClient, type HttpReply, openHttpClient } from '../../platform/http-client.ts';
import { readRetryAfterMs } from '../../platform/retry-after.ts';
import { ProviderError } from '../provider.ts';
import { DEFAULT_API_VERSION, type SlurmConfig } from './config.ts';
import { connectionError, faultsIn, numberOf, type Refused, refusalError } from './errors.ts';

/** slurmrestd waits up to MessageTimeout (10 s, where nobody set another) for slurmctld. The verb's signal bounds all calls together. */
const CALL_TIMEOUT_MS = 30_000;
/** 4.5 KB a job: some 14,000 of them. */
const REPLY_LIMIT_BYTES = 64 * 1024 * 1024;
const ERROR_TEXT_LIMIT = 8 * 1024;
/** slurmrestd answers each connection once, and with few threads. */
const CONNECTIONS = 4;

/** What is done, for whom it fails, and whether it changes anything. */
export interface Call {
  readonly doing: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below `/slurm/VERSION/`. */
  readonly path: string;
  readonly body?: Json;
  readonly signal: AbortSignal;
  /** Numbers of Slurm that are an answer here: then the body is returned. */
  readonly silent?: (numbers: readonly (number | undefined)[], body: Json | undefined) => boolean;
}

/** slurmrestd. Every failure is a ProviderError. */
export class RestClient {
  readonly #config: SlurmConfig;
  #http: Promise<HttpClient> | undefined;

  constructor(config: SlurmConfig) {
    this.#config = config;
  }

  async ask(call: Call): Promise<Json | undefined> {
    const { doing, method, path, body, signal } = call;
    const changes = method !== 'GET';
    if (signal.aborted) throw new ProviderError('transient', `stopped before ${doing}`);
    const headers = { accept: 'application/json', ...(await this.#identity()) };
    let reply: HttpReply;
    try {
      const http = await this.#open();
      reply = await http.send({
        method,
        path: `/slurm/${this.#config.version ?? DEFAULT_API_VERSION}/${path}`,
        headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
        body: body === undefined ? undefined : Buffer.from(JSON.stringify(body)),
        timeoutMs: CALL_TIMEOUT_MS,
        maxReplyBytes: REPLY_LIMIT_BYTES,
        signal,
      });
    } catch (error) {
      throw connectionError(error, doing, changes);
    }
    return answered(reply, call);
  }

  async close(): Promise<void> {
    await (await this.#http?.catch(() => undefined))?.close();
  }

  /** Read anew each time, so that a token which was renewed needs no restart. */
  async #identity(): Promise<Readonly<Record<string, string>>> {
    const { user, tokenFile } = this.#config;
    if (tokenFile === undefined) return {};
    const token = (await readFile(tokenFile, 'utf8').catch(() => '')).trim().replace(/^SLURM_JWT=/, '');
    if (!/^[\x21-\x7e]+$/.test(token))
      throw new ProviderError('auth', `${tokenFile} does not hold a token: scontrol token username=${user} makes one`);
    return { 'x-slurm-user-name': user, 'x-slurm-user-token': token };
  }

  #open(): Promise<HttpClient> {
    this.#http ??= openClient(this.#config).catch((error: unknown) => {
      this.#http = undefined;
      throw error;
    });
    return this.#http;
  }
}

async function openClient({ url, socket, caFile }: SlurmConfig): Promise<HttpClient> {
  const ca = caFile === undefined ? undefined : await readFile(caFile, 'utf8');
  const tls = { ...(ca === undefined ? {} : { ca }), ...(socket === undefined ? {} : { socketPath: socket }) };
  return openHttpClient({
    origin: url ?? 'http://localhost',
    tls: tls as ConnectionOptions,
    maxConnections: CONNECTIONS,
  });
}

/** The body of a reply that is one. Throws ProviderError; a reply that is none to something that changes has an unknown effect. */
function answered(reply: HttpReply, { doing, method, silent }: Call): Json | undefined {
  const changes = method !== 'GET';
  const isOk = reply.status >= 200 && reply.status < 300;
  const reading = parseJson(reply.body);
  const body = reading.ok ? reading.value : undefined;
  const faults = faultsIn(body);
  if (silent?.(faults.map(numberOf), body) === true) return body;
  if (!isOk || faults.length > 0) {
    const text = Buffer.from(reply.body).toString('utf8').slice(0, ERROR_TEXT_LIMIT);
    const refused: Refused = {
      status: reply.status,
      faults,
      text,
      retryAfterMs: readRetryAfterMs(reply.headers['retry-after']),
    };
    throw refusalError(refused, doing, changes);
  }
  if (!reading.ok && reply.body.byteLength > 0)
    throw new ProviderError('transient', `${doing}: the reply ${reading.reason}`, {
      effect: changes ? 'unknown' : 'none',
    });
  return body;
}
