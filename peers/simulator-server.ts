import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Json } from '../core/canonical.ts';
import { parseJsonObject } from '../core/json.ts';
import type { Refusal } from '../core/refusal.ts';
import { peerIdentity, serverTls, type TlsMaterial } from '../platform/mtls.ts';

/** What a peer's simulator serves over. Without it: plain HTTP, on loopback only in any case. */
export interface SimulatorTls {
  readonly material: TlsMaterial;
  /** SPIFFE ids of those who may call. */
  readonly callers: readonly string[];
}

export interface Answer {
  readonly status: number;
  readonly body: Json;
}

export interface Call {
  readonly params: readonly string[];
  readonly query: URLSearchParams;
  readonly body: { readonly [key: string]: Json };
}

export interface Route {
  /** Names it to `Control`. */
  readonly name: string;
  readonly method: 'GET' | 'POST';
  /** Over the whole path; its groups are `params`. */
  readonly path: RegExp;
  handle(call: Call): Answer | Promise<Answer>;
}

/** A call that stands still. */
export interface Gate {
  /** Resolves when a call has come to stand at the gate. */
  readonly reached: Promise<void>;
  /** Lets the call, and all later ones, through. */
  open(): void;
}

/** The faults a test can order, by JavaScript only: the wire has no route for them. Routes are named by `Route.name`. */
export interface Control {
  /** Calls stand still before the effect, or after it and before the answer, until the gate opens. */
  hold(route: string, when: 'before-effect' | 'before-answer'): Gate;
  /** Every later answer of the route waits this long. 0 ends it. */
  delay(route: string, delayMs: number): void;
  /** The next `times` calls take effect and their connection is cut instead of an answer. */
  dropReply(route: string, times?: number): void;
  /** The next `times` calls are answered with this, whatever the effect was. */
  answerWith(route: string, reply: RawReply, times?: number): void;
  /** Ends every order, and opens every gate. */
  clear(): void;
  /** The last MAX_CALLS calls that came in, oldest first. */
  readonly calls: readonly { readonly route: string; readonly params: readonly string[]; readonly body: Json }[];
}

export interface RawReply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

export interface PeerServer {
  readonly url: string;
  readonly control: Control;
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 64 * 1024;
const MAX_CALLS = 1000;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 256;

export function problemAnswer(status: number, code: string, detail: string): Answer {
  return { status, body: { type: 'about:blank', status, code, detail } };
}

export function refusedAnswer(refusals: readonly Refusal[]): Answer {
  const detail = refusals.map((refusal) => `${refusal.field}: ${refusal.problem}`).join('; ');
  return problemAnswer(422, refusals[0]?.code ?? 'invalid', detail.slice(0, 2000));
}

interface Orders {
  gates: {
    readonly when: 'before-effect' | 'before-answer';
    readonly opened: Promise<void>;
    reach(): void;
    readonly isOpen: () => boolean;
  }[];
  delayMs: number;
  drops: number;
  replies: { readonly reply: RawReply; times: number }[];
}

class Faults implements Control {
  readonly calls: { route: string; params: readonly string[]; body: Json }[] = [];
  readonly #orders = new Map<string, Orders>();
  readonly #openers = new Set<() => void>();
  readonly #routes: ReadonlySet<string>;

  constructor(routes: readonly Route[]) {
    this.#routes = new Set(routes.map((route) => route.name));
  }

  of(route: string): Orders {
    if (!this.#routes.has(route)) throw new TypeError(`no route ${route}; there are ${[...this.#routes].join(', ')}`);
    let orders = this.#orders.get(route);
    if (orders === undefined) {
      orders = { gates: [], delayMs: 0, drops: 0, replies: [] };
      this.#orders.set(route, orders);
    }
    return orders;
  }

  hold(route: string, when: 'before-effect' | 'before-answer'): Gate {
    const orders = this.of(route);
    const reached = Promise.withResolvers<void>();
    const opened = Promise.withResolvers<void>();
    let isOpen = false;
    const gate = { when, opened: opened.promise, reach: () => reached.resolve(), isOpen: () => isOpen };
    orders.gates.push(gate);
    const open = () => {
      isOpen = true;
      opened.resolve();
      orders.gates = orders.gates.filter((other) => other !== gate);
      this.#openers.delete(open);
    };
    this.#openers.add(open);
    return { reached: reached.promise, open };
  }

  delay(route: string, delayMs: number): void {
    this.of(route).delayMs = delayMs;
  }

  dropReply(route: string, times = 1): void {
    this.of(route).drops += times;
  }

  answerWith(route: string, reply: RawReply, times = 1): void {
    this.of(route).replies.push({ reply, times });
  }

  clear(): void {
    for (const open of [...this.#openers]) open();
    this.#orders.clear();
  }

  async stand(route: string, when: 'before-effect' | 'before-answer'): Promise<void> {
    for (const gate of [...this.of(route).gates]) {
      if (gate.when !== when || gate.isOpen()) continue;
      gate.reach();
      await gate.opened;
    }
  }

  takeDrop(route: string): boolean {
    const orders = this.of(route);
    if (orders.drops === 0) return false;
    orders.drops--;
    return true;
  }

  takeReply(route: string): RawReply | undefined {
    const orders = this.of(route);
    const first = orders.replies[0];
    if (first === undefined) return undefined;
    if (--first.times <= 0) orders.replies.shift();
    return first.reply;
  }
}

/** Serves `routes` on 127.0.0.1. JSON in and out; unknown routes, bad bodies and callers without a right get a problem. */
export async function startPeerServer(
  routes: readonly Route[],
  options: { readonly tls?: SimulatorTls | undefined; readonly port?: number },
): Promise<PeerServer> {
  const faults = new Faults(routes);
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    serve(routes, faults, options.tls, request, response).catch(() => response.destroy());
  };
  const tls = options.tls;
  const server =
    tls === undefined ? createHttpServer(onRequest) : createHttpsServer(serverTls(tls.material), onRequest);
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    control: faults,
    close: async () => {
      faults.clear();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function serve(
  routes: readonly Route[],
  faults: Faults,
  tls: SimulatorTls | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (tls !== undefined && !callerMay(tls, request))
    return send(response, problemAnswer(403, 'forbidden', 'this caller has no right here'));
  const url = new URL(request.url ?? '/', 'http://127.0.0.1');
  const found = routes
    .map((route) => ({ route, match: route.path.exec(url.pathname) }))
    .filter(({ match }) => match !== null);
  if (found.length === 0) return send(response, problemAnswer(404, 'not_found', 'no such route'));
  const hit = found.find(({ route }) => route.method === request.method);
  if (hit === undefined) return send(response, problemAnswer(405, 'method', 'this route has no such method'));
  const read: Body = request.method === 'POST' ? await readBody(request) : { ok: true, value: {} };
  if (!read.ok) {
    // The rest of the body is not read: the connection cannot be used again.
    response.shouldKeepAlive = false;
    response.once('finish', () => request.destroy());
    return send(response, problemAnswer(read.status, 'body', read.problem));
  }
  const body = read.value;
  const { name } = hit.route;
  const params = hit.match!.slice(1).map((param) => param ?? '');
  faults.calls.push({ route: name, params, body });
  if (faults.calls.length > MAX_CALLS) faults.calls.shift();
  // Orders are for the next calls to come in, whichever of them is answered first.
  const drop = faults.takeDrop(name);
  const raw = drop ? undefined : faults.takeReply(name);
  await faults.stand(name, 'before-effect');
  const answer = await hit.route.handle({ params, query: url.searchParams, body });
  await faults.stand(name, 'before-answer');
  const { delayMs } = faults.of(name);
  if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs).unref());
  if (drop) return void request.socket.destroy();
  if (raw === undefined) return send(response, answer);
  response.writeHead(raw.status ?? 200, { 'content-type': 'application/json', ...raw.headers });
  response.end(raw.body);
}

function callerMay(tls: SimulatorTls, request: IncomingMessage): boolean {
  const identity = peerIdentity(request.socket as TLSSocket);
  return identity.ok && tls.callers.includes(identity.spiffeId);
}

type Body =
  | { readonly ok: true; readonly value: Call['body'] }
  | { readonly ok: false; readonly status: 400 | 413 | 415; readonly problem: string };

async function readBody(request: IncomingMessage): Promise<Body> {
  const type = (request.headers['content-type'] ?? '').toLowerCase().replaceAll(' ', '');
  if (type !== 'application/json' && type !== 'application/json;charset=utf-8')
    return { ok: false, status: 415, problem: 'send application/json' };
  if (request.headers['content-encoding'] !== undefined)
    return { ok: false, status: 415, problem: 'send it without an encoding' };
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request.iterator({ destroyOnReturn: false })) {
    size += (part as Buffer).length;
    if (size > MAX_BODY_BYTES) return { ok: false, status: 413, problem: `is over ${MAX_BODY_BYTES} bytes` };
    parts.push(part as Buffer);
  }
  const reading = parseJsonObject(Buffer.concat(parts));
  return reading.ok ? { ok: true, value: reading.value } : { ok: false, status: 400, problem: reading.reason };
}

function send(response: ServerResponse, answer: Answer): void {
  const type = answer.status >= 400 ? 'application/problem+json' : 'application/json';
  const bytes = Buffer.from(JSON.stringify(answer.body), 'utf8');
  response.writeHead(answer.status, { 'content-type': type, 'content-length': bytes.length });
  response.end(bytes);
}
