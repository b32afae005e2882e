import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { RayJobError } from './errors.ts';
import { CONNECTIONS_LIMIT, ERROR_TEXT_LIMIT_BYTES, HEADER_LIMIT_BYTES } from './limits.ts';

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly body?: Uint8Array | undefined;
  /** The whole exchange, body included. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Completes "while …" in errors. */
  readonly doing: string;
}

export interface Reply {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** The whole body, or RayJobError `bad_reply` when it is larger. */
  read(maxBytes: number): Promise<Buffer>;
  /** At most the first 256 KiB of the body; what follows is not read. */
  readErrorText(): Promise<string>;
  /** Piece by piece; stopping early closes the connection. */
  chunks(): AsyncGenerator<Buffer>;
  discard(): void;
}

/** PEM texts. */
export interface TlsFiles {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/**
 * Plain node:http on purpose: it follows no redirect, expands no compressed body, and bounds the headers.
 * Reads share kept-alive connections. Everything else gets its own, because a kept-alive one that the server just closed
 * fails in a way that cannot be told from a lost reply.
 */
export class Transport {
  readonly #base: URL;
  readonly #tls: TlsFiles;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor(base: URL, tls: TlsFiles) {
    this.#base = base;
    this.#tls = tls;
    const keep = { keepAlive: true, maxSockets: CONNECTIONS_LIMIT, maxFreeSockets: 2, timeout: 60_000 };
    this.#agent = base.protocol === 'https:' ? new HttpsAgent({ ...keep, ...this.#tls }) : new HttpAgent(keep);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Resolves at the reply's headers. Throws RayJobError, or the caller's abort reason. */
  send(call: Call): Promise<Reply> {
    call.signal?.throwIfAborted();
    return new Promise<Reply>((resolve, reject) => {
      const limits = new CallLimits(call);
      const request = (this.#base.protocol === 'https:' ? httpsRequest : httpRequest)(
        this.#options(call),
        (incoming) => {
          const encoding = incoming.headers['content-encoding'];
          if (encoding !== undefined && encoding !== 'identity') {
            incoming.destroy();
            limits.end();
            reject(badReply(call, `the reply is compressed (${encoding.slice(0, 40)}) although that was not offered`));
            return;
          }
          resolve(new NodeReply(call, incoming, limits));
        },
      );
      limits.onStop = (why) => request.destroy(why instanceof Error ? why : new Error('aborted'));
      request.on('error', (error) => {
        limits.end();
        reject(limits.stopped ? limits.reason() : errorOfSocket(call, error));
      });
      request.end(call.body);
    });
  }

  #options(call: Call): RequestOptions {
    return {
      protocol: this.#base.protocol,
      hostname: this.#base.hostname.replace(/^\[|\]$/g, ''),
      port: this.#base.port === '' ? undefined : this.#base.port,
      path: `${this.#base.pathname.replace(/\/$/, '')}${call.path}`,
      method: call.method,
      headers: {
        // Ray takes browsers' user agents for an attack (405), and "identity" spares us from compressed bodies.
        'user-agent': 'ray-job-submission-client',
        'accept-encoding': 'identity',
        ...(call.body === undefined ? {} : { 'content-length': call.body.byteLength }),
        ...call.headers,
      },
      agent: call.method === 'GET' ? this.#agent : false,
      maxHeaderSize: HEADER_LIMIT_BYTES,
      ...this.#tls,
    };
  }
}

/** The call's time limit and the caller's signal, whichever comes first; it lasts until `end`. */
class CallLimits {
  stopped = false;
  onStop: (why: unknown) => void = () => {};
  #timedOut = false;
  readonly #call: Call;
  readonly #timer: NodeJS.Timeout;
  readonly #onAbort = () => this.#stop(this.#call.signal?.reason);

  constructor(call: Call) {
    this.#call = call;
    this.#timer = setTimeout(() => {
      this.#timedOut = true;
      this.#stop(undefined);
    }, call.timeoutMs);
    call.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  #stop(why: unknown): void {
    this.stopped = true;
    this.end();
    this.onStop(why);
  }

  /** What a stopped call throws: our time-out, or the caller's own reason. */
  reason(): unknown {
    if (!this.#timedOut) return this.#call.signal?.reason;
    const text = `Ray did not answer within ${this.#call.timeoutMs} ms while ${this.#call.doing}`;
    return new RayJobError('timeout', text, { outcomeUnknown: this.#call.method !== 'GET' });
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#call.signal?.removeEventListener('abort', this.#onAbort);
  }
}

class NodeReply implements Reply {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly #call: Call;
  readonly #incoming: IncomingMessage;
  readonly #limits: CallLimits;

  constructor(call: Call, incoming: IncomingMessage, limits: CallLimits) {
    this.status = incoming.statusCode ?? 0;
    this.retryAfter = incoming.headers['retry-after'];
    this.#call = call;
    this.#incoming = incoming;
    this.#limits = limits;
    limits.onStop = (why) => incoming.destroy(why instanceof Error ? why : new Error('aborted'));
    incoming.on('error', () => {});
  }

  async *chunks(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of this.#incoming) yield chunk as Buffer;
    } catch (error) {
      if (this.#limits.stopped) throw this.#limits.reason();
      const options = { outcomeUnknown: this.#call.method !== 'GET', cause: error };
      throw new RayJobError('unreachable', `the reply was cut short while ${this.#call.doing}`, options);
    } finally {
      this.discard();
    }
  }

  async read(maxBytes: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.chunks()) {
      size += chunk.length;
      if (size > maxBytes) throw badReply(this.#call, `the reply is larger than ${maxBytes} bytes`);
      parts.push(chunk);
    }
    return Buffer.concat(parts);
  }

  async readErrorText(): Promise<string> {
    const parts: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of this.chunks()) {
        parts.push(chunk);
        size += chunk.length;
        if (size >= ERROR_TEXT_LIMIT_BYTES) break;
      }
    } catch (error) {
      // The status is known; a torn explanation only makes the message shorter. A time-out or abort still counts.
      if (this.#limits.stopped) throw error;
    }
    return Buffer.concat(parts).subarray(0, ERROR_TEXT_LIMIT_BYTES).toString('utf8');
  }

  discard(): void {
    this.#limits.end();
    if (!this.#incoming.complete) this.#incoming.destroy();
    else this.#incoming.resume();
  }
}

export function badReply(call: Pick<Call, 'method' | 'doing'>, problem: string, cause?: unknown): RayJobError {
  return new RayJobError('bad_reply', `${problem} while ${call.doing}`, {
    outcomeUnknown: call.method !== 'GET',
    cause,
  });
}

/** Codes that say the request never left this machine: the outcome is known to be nothing. */
const NEVER_SENT =
  /^(ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|CERT_\w+|ERR_TLS_\w+|\w*SELF_SIGNED\w*|UNABLE_TO_\w+)$/;

function errorOfSocket(call: Call, error: NodeJS.ErrnoException): RayJobError {
  const code = error.code ?? '';
  // HPE_*: the HTTP parser refused the reply, headers above the limit among them.
  if (code.startsWith('HPE_')) return badReply(call, `the reply is not HTTP we take (${code})`, error);
  const sent = !NEVER_SENT.test(code);
  return new RayJobError(
    'unreachable',
    `Ray is unreachable (${code === '' ? error.message : code}) while ${call.doing}`,
    {
      outcomeUnknown: sent && call.method !== 'GET',
      cause: error,
    },
  );
}
