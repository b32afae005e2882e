import type { ConnectionOptions } from 'node:tls';
import { Agent, type buildConnector, type Dispatcher } from 'undici';
import { assert } from '../core/assert.ts';
import { canonicalBytes, type Json } from '../core/canonical.ts';
import { parseJson } from '../core/json.ts';
import { OperatingError } from '../core/operating-error.ts';
import { isLoopbackHost } from './loopback.ts';
import type { Secret } from './secret.ts';
import { currentTraceparent } from './trace.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With the query; begins with one `/`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** For the whole exchange, from connecting to the body's last byte. */
  readonly timeoutMs: number;
  /** The exchange fails past this; MAX_REPLY_BYTES where absent. */
  readonly maxReplyBytes?: number;
  readonly signal?: AbortSignal;
}

export interface HttpReply {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Uint8Array;
}

export interface JsonReply {
  readonly status: number;
  readonly headers: HttpReply['headers'];
  /** Read strictly (no duplicate keys, no deep nesting); undefined where the body was empty. */
  readonly body: Json | undefined;
}

/**
 * One service at one origin. One try, no redirect followed (a 3xx is a reply), no encoding accepted. Throws OperatingError
 * `unreachable`, `timeout`, `auth`, `bad-reply`, `aborted`; `retry` is `safe` where nothing can have reached the service, else
 * `look-first`. Any complete reply, whatever its status, is returned.
 */
export interface HttpClient {
  readonly origin: string;
  send(request: HttpRequest): Promise<HttpReply>;
  json(request: Omit<HttpRequest, 'body'> & { readonly body?: Json | undefined }): Promise<JsonReply>;
  close(): Promise<void>;
}

export interface HttpClientOptions {
  /** `https://host:port`; `http://` for loopback only. */
  readonly origin: string;
  /** As `clientTls` makes it, or what gives it: with another object than before new connections are made, and the old ones end with their requests. */
  readonly tls?: ConnectionOptions | (() => ConnectionOptions);
  /** Asked at each request, so that a rotated token is used; sent to this origin only. */
  readonly token?: () => Secret | undefined;
  readonly maxConnections?: number;
}

export const MAX_REPLY_BYTES = 1024 * 1024;
const MAX_HEADER_BYTES = 16 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
const DEFAULT_MAX_CONNECTIONS = 16;
export function openHttpClient(options: HttpClientOptions): HttpClient {
  const base = new URL(options.origin);
  assert(base.username === '' && base.password === '' && base.pathname === '/', 'an origin has no user and no path');
  assert(base.protocol === 'https:' || isLoopbackHost(base.hostname), 'plain http is for loopback only');
  const agents = agentsOf(options);
  const send = (request: HttpRequest) => exchange(agents.now(), base, options, request);
  return {
    origin: base.origin,
    send,
    json: async (request) => {
      const { body, ...rest } = request;
      const reply = await send({
        ...rest,
        headers: {
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...request.headers,
        },
        body: body === undefined ? undefined : canonicalBytes(body),
      });
      return { status: reply.status, headers: reply.headers, body: readJson(reply, doingOf(base, request)) };
    },
    close: () => agents.close(),
  };
}

function agentOf(options: HttpClientOptions, tls: ConnectionOptions | undefined): Agent {
  return new Agent({
    connect: { timeout: CONNECT_TIMEOUT_MS, maxCachedSessions: 0, ...tls } as buildConnector.BuildOptions,
    connections: options.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
    maxHeaderSize: MAX_HEADER_BYTES,
    pipelining: 1,
    allowH2: false,
    // The request's own limit rules; these only stand behind it.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
}

/** The agent whose connections show the certificate of today; one of yesterday ends when what was asked over it is answered. */
function agentsOf(options: HttpClientOptions): { now(): Agent; close(): Promise<void> } {
  const { tls } = options;
  if (typeof tls !== 'function') {
    const agent = agentOf(options, tls);
    return { now: () => agent, close: () => agent.destroy() };
  }
  let shown = tls();
  let agent = agentOf(options, shown);
  const ending = new Set<Agent>();
  return {
    now: () => {
      const today = tls();
      if (today !== shown) {
        const old = agent;
        ending.add(old);
        void old.close().finally(() => ending.delete(old));
        [shown, agent] = [today, agentOf(options, today)];
      }
      return agent;
    },
    close: async () => {
      await Promise.all([agent, ...ending].map((one) => one.destroy()));
    },
  };
}

function doingOf(base: URL, request: Pick<HttpRequest, 'method' | 'path'>): string {
  // The query is left out: it may name tenants' things.
  return `calling ${request.method} ${base.origin}${request.path.split('?')[0]}`;
}

function readJson(reply: HttpReply, doing: string): Json | undefined {
  if (reply.body.byteLength === 0) return undefined;
  const reading = parseJson(reply.body);
  if (reading.ok) return reading.value;
  throw new OperatingError('bad-reply', 'look-first', doing, {
    cause: `the reply (${reply.status}) ${reading.reason}`,
  });
}

async function exchange(agent: Agent, base: URL, options: HttpClientOptions, request: HttpRequest): Promise<HttpReply> {
  const url = new URL(request.path, base);
  assert(request.path.startsWith('/') && url.origin === base.origin, 'a request stays on its origin');
  const doing = doingOf(base, request);
  const limit = AbortSignal.timeout(request.timeoutMs);
  const signal = request.signal === undefined ? limit : AbortSignal.any([request.signal, limit]);
  try {
    const reply = await agent.request({
      origin: base.origin,
      path: `${url.pathname}${url.search}`,
      method: request.method,
      headers: headersOf(options, request),
      body: request.body ?? null,
      signal,
    });
    return await readReply(reply, request.maxReplyBytes ?? MAX_REPLY_BYTES, doing);
  } catch (cause) {
    if (cause instanceof OperatingError) throw cause;
    if (request.signal?.aborted === true) throw new OperatingError('aborted', 'look-first', doing);
    if (limit.aborted) {
      throw new OperatingError('timeout', 'look-first', doing, { cause: `no answer within ${request.timeoutMs} ms` });
    }
    throw faultOf(cause, doing);
  }
}

function headersOf(options: HttpClientOptions, request: HttpRequest): Record<string, string> {
  const traceparent = currentTraceparent();
  const token = options.token?.();
  return {
    'accept-encoding': 'identity',
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }),
    ...request.headers,
  };
}

async function readReply(reply: Dispatcher.ResponseData, maxBytes: number, doing: string): Promise<HttpReply> {
  const headers: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(reply.headers)) {
    headers[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  const refuse = (problem: string) => {
    reply.body.on('error', () => {});
    reply.body.destroy();
    return new OperatingError('bad-reply', 'look-first', doing, { cause: problem });
  };
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') throw refuse('the reply is encoded, which was not asked for');
  const tooLong = `the reply is longer than ${maxBytes} bytes`;
  if (Number(headers['content-length'] ?? 0) > maxBytes) throw refuse(tooLong);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of reply.body) {
    size += (chunk as Uint8Array).byteLength;
    if (size > maxBytes) throw refuse(tooLong);
    chunks.push(chunk as Uint8Array);
  }
  return { status: reply.statusCode, headers, body: Buffer.concat(chunks) };
}

/** Codes of connections that were never made. */
const NEVER_SENT: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
]);
/** The certificate check, ours or theirs, ended the handshake before any request. */
const UNTRUSTED =
  /^(ERR_SPIFFE_ID|ERR_TLS_CERT|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_SSL_.*(CERTIFICATE|UNKNOWN_CA|WRONG_VERSION|PROTOCOL_VERSION))/;
const BROKEN_REPLY: ReadonlySet<string> = new Set([
  'UND_ERR_HEADERS_OVERFLOW',
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
  'UND_ERR_RES_EXCEEDED_MAX_SIZE',
]);

function faultOf(cause: unknown, doing: string): OperatingError {
  const code = String((cause as { code?: unknown }).code);
  if (NEVER_SENT.has(code)) return new OperatingError('unreachable', 'safe', doing, { cause });
  if (UNTRUSTED.test(code)) {
    return new OperatingError('auth', 'safe', doing, {
      cause,
      mend: 'check the certificates and authorities of both sides',
    });
  }
  if (BROKEN_REPLY.has(code) || (cause as Error).name === 'HTTPParserError')
    return new OperatingError('bad-reply', 'look-first', doing, { cause });
  return new OperatingError('unreachable', 'look-first', doing, { cause });
}
