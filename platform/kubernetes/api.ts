import { readFile, stat } from 'node:fs/promises';
import { Agent, type Dispatcher, request } from 'undici';
import { OperatingError } from '../../core/operating-error.ts';
import { type KubernetesAccess, openKubernetes, overHttp1 } from '../kubernetes.ts';
import { readRetryAfterMs } from '../retry-after.ts';
import { KubernetesRefusal } from './refusal.ts';

/** Of one call; a verb's signal bounds several together. */
const CALL_TIMEOUT_MS = 30_000;
/** A connection, with the certificates it was made with, is used for so long: those on disk may have been replaced by then. */
const CONNECTION_MS = 300_000;
/** Of one answer: a page of 500 pods has 5 MB. */
const ANSWER_LIMIT_BYTES = 64 * 1024 * 1024;
const REFUSAL_LIMIT_BYTES = 64 * 1024;

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** One call: `path` begins with `/api` or `/apis`; names in it are already fit for one. */
export interface KubernetesCall {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  /** Of the body; JSON where absent. */
  readonly contentType?: string;
  /** For whom Kubernetes hands the call on to. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface ServerAccess extends KubernetesAccess {
  /** Its content is the bearer token, read at each call, whatever the kubeconfig says. */
  readonly tokenFile?: string;
}

interface Connection {
  readonly server: string;
  readonly namespace: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly dispatcher: Dispatcher;
  readonly sinceMs: number;
  readonly fileMs: number | undefined;
  /** The server no longer takes its credentials. */
  isRefused: boolean;
}

/**
 * A Kubernetes API server, spoken to in its own JSON. Kubeconfig, credentials and TLS are the client library's, imported by the first call (2 s, 90 MB);
 * its calls are not used: they lose Retry-After, read logs as text, and decode what nobody asks for. Throws KubernetesRefusal for what the
 * server refuses, OperatingError for access that cannot be read, and whatever a connection throws.
 */
export class KubernetesApi {
  readonly #access: ServerAccess;
  #opening: Promise<Connection> | undefined;
  #closed = false;
  readonly #open = new Set<Dispatcher>();

  constructor(access: ServerAccess) {
    this.#access = access;
  }

  /** The kubeconfig's, or the pod's; undefined: neither says one. Asks the server nothing. */
  async namespace(): Promise<string | undefined> {
    return (await this.#connection()).namespace;
  }

  /** The answer, which has to be JSON. */
  async json<T>(call: KubernetesCall): Promise<T> {
    const { body } = await this.#send(call);
    const text = Buffer.from(await whole(body, ANSWER_LIMIT_BYTES)).toString('utf8');
    return JSON.parse(text) as T;
  }

  /** The answer as it came, at most `limitBytes` of it: what follows is not read. */
  async bytes(call: KubernetesCall, limitBytes: number): Promise<Uint8Array> {
    const { body } = await this.#send(call);
    return whole(body, limitBytes, 'cut');
  }

  /** The answer line by line, for as long as the server sends it or until the signal aborts: nothing else ends it. `begun`: the server has taken the call. */
  async *lines(call: KubernetesCall, begun?: () => void): AsyncGenerator<string> {
    const { body } = await this.#send(call, 'endless');
    begun?.();
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of body) {
      rest += decoder.decode(chunk as Buffer, { stream: true });
      if (rest.length > ANSWER_LIMIT_BYTES) throw new Error('a line of the answer is too long');
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield line;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#opening = undefined;
    await Promise.allSettled([...this.#open].map((one) => one.destroy()));
    this.#open.clear();
  }

  async #send(
    {
      method = 'GET',
      path,
      query = {},
      body,
      contentType = 'application/json',
      headers: more = {},
      signal,
    }: KubernetesCall,
    endless?: 'endless',
  ): Promise<Dispatcher.ResponseData> {
    signal.throwIfAborted();
    const connection = await this.#connection();
    const { server, headers, dispatcher } = connection;
    const url = new URL(`${server}${path}`);
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const { tokenFile } = this.#access;
    const sent = {
      accept: 'application/json, */*',
      ...more,
      ...headers,
      ...(tokenFile === undefined ? {} : { authorization: `Bearer ${await tokenIn(tokenFile)}` }),
      ...(body === undefined ? {} : { 'content-type': contentType }),
    };
    const reply = await request(url, {
      method,
      headers: sent,
      dispatcher,
      signal: endless === undefined ? AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT_MS)]) : signal,
      headersTimeout: CALL_TIMEOUT_MS,
      bodyTimeout: endless === undefined ? CALL_TIMEOUT_MS : 0,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (reply.statusCode >= 200 && reply.statusCode < 300) return reply;
    // Whatever it was that is no longer taken is read anew by the next call.
    if (reply.statusCode === 401) connection.isRefused = true;
    const text = Buffer.from(await whole(reply.body, REFUSAL_LIMIT_BYTES, 'cut')).toString('utf8');
    throw new KubernetesRefusal(reply.statusCode, text, readRetryAfterMs(reply.headers['retry-after']));
  }

  async #connection(): Promise<Connection> {
    const found = this.#opening;
    const known = await found?.catch(() => undefined);
    if (known !== undefined && !(await this.#isOld(known))) return known;
    // Of many calls that find it old at once one connects, for all of them.
    if (this.#opening !== undefined && this.#opening !== found) return this.#opening;
    const opening = this.#connect(known);
    this.#opening = opening;
    opening.catch(() => {
      if (this.#opening === opening) this.#opening = undefined;
    });
    return opening;
  }

  async #isOld({ isRefused, sinceMs, fileMs }: Connection): Promise<boolean> {
    return isRefused || performance.now() - sinceMs > CONNECTION_MS || fileMs !== (await changedMs(this.#access));
  }

  async #connect(earlier: Connection | undefined): Promise<Connection> {
    const fileMs = await changedMs(this.#access);
    const { config, namespace } = await openKubernetes(this.#access);
    const { RequestContext, HttpMethod } = await import('@kubernetes/client-node');
    const server = config.getCurrentCluster()?.server.replace(/\/$/, '') ?? '';
    const context = new RequestContext(server, HttpMethod.GET);
    await config.applySecurityAuthentication(context).catch((cause: unknown) => {
      throw new OperatingError('auth', 'never', 'reading the credentials of Kubernetes', {
        cause,
        mend: 'check the user of the kubeconfig, its files, and the command that it names',
      });
    });
    // Never the process' own dispatcher: a proxy of the environment may stand behind it.
    const dispatcher = overHttp1((context.getDispatcher() as Dispatcher | undefined) ?? new Agent());
    if (this.#closed) void dispatcher.destroy();
    this.#open.add(dispatcher);
    if (earlier !== undefined) {
      this.#open.delete(earlier.dispatcher);
      // Ends once what is under way on it has ended.
      void earlier.dispatcher.close().catch(() => {});
    }
    // By one spelling, or a token of ours would stand beside the kubeconfig's.
    const headers = Object.fromEntries(Object.entries(context.getHeaders()).map(([n, v]) => [n.toLowerCase(), v]));
    return { server, namespace, headers, dispatcher, sinceMs: performance.now(), fileMs, isRefused: false };
  }
}

/** The kubelet writes tokens of service accounts so that a pod's group may read them, too: no rule of ours about that. */
async function tokenIn(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').then(
    (read) => read.trim(),
    () => '',
  );
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new OperatingError('auth', 'never', `reading the token of Kubernetes`, {
    cause: `${path} does not hold one line of printable characters`,
    mend: 'write the token alone into it',
  });
}

/** When the kubeconfig was last written; undefined: there is none. */
async function changedMs({ kubeconfig }: ServerAccess): Promise<number | undefined> {
  if (kubeconfig === undefined) return undefined;
  return stat(kubeconfig).then(
    ({ mtimeMs }) => mtimeMs,
    () => undefined,
  );
}

async function whole(body: AsyncIterable<Buffer>, limitBytes: number, more: 'cut' | 'fail' = 'fail') {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes <= limitBytes) continue;
    if (more === 'fail') throw new Error(`the answer has more than ${limitBytes} bytes`);
    break;
  }
  return new Uint8Array(Buffer.concat(chunks).subarray(0, limitBytes));
}
