import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Agent as HttpsAgent, request } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { ApiFacts } from './kubelet-api.ts';

/** Objects of one page behind a proxy that makes pages small. */
export const SMALL_PAGE = 3;

/**
 * A door before an API server, with the faults of a network and of a door. What it hands on is the server's own answer. The call that starts a Job is what a submit
 * takes effect by.
 */
export class ApiProxy {
  /** Of the reply to the next start of a Job. */
  nextReply: 'lost' | 'stalled' | 'torn' | undefined;
  /** Answers instead of the server. */
  fault: ((response: ServerResponse) => void) | undefined;
  /** Answers the next watch instead of the server. */
  watchFault: ((response: ServerResponse) => void) | undefined;
  /** The first call that this names takes effect, and its connection is cut before the reply. */
  cutAfter: ((method: string, path: string) => boolean) | undefined;
  /** Lists break off after their first page. */
  tearsLists = false;
  /** Pods are shown in a phase that has this name. */
  phase: string | undefined;
  /** Lists have pages of SMALL_PAGE objects. */
  smallPages = false;
  /** Every call, as `GET /path`. */
  readonly calls: string[] = [];
  readonly #facts: ApiFacts;
  readonly #server: Server;
  readonly #agent: HttpsAgent;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  constructor(facts: ApiFacts) {
    this.#facts = facts;
    this.#agent = new HttpsAgent({ ca: readFileSync(facts.caFile), keepAlive: true });
    this.#server = createServer();
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
    });
    this.#server.on('request', (incoming, outgoing) => {
      this.#answer(incoming, outgoing).catch(() => incoming.socket.destroy());
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async listen(): Promise<void> {
    if (this.#server.listening) return;
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection, watches too; what comes next is served again. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async goAway(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }

  async close(): Promise<void> {
    if (this.#server.listening) await this.goAway();
    this.#agent.destroy();
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body: Buffer[] = [];
    for await (const chunk of incoming) body.push(chunk as Buffer);
    const sent = Buffer.concat(body);
    this.calls.push(`${incoming.method} ${incoming.url}`);
    if (this.fault !== undefined) return this.fault(outgoing);
    const url = new URL(incoming.url ?? '/', this.#facts.url);
    if (this.tearsLists && url.searchParams.has('continue')) return void incoming.socket.destroy();
    if (url.searchParams.get('watch') === 'true' && this.watchFault !== undefined) return this.watchFault(outgoing);
    const cuts = this.cutAfter?.(incoming.method ?? '', url.pathname) === true;
    if (cuts) this.cutAfter = undefined;
    if (this.smallPages && url.searchParams.has('limit')) url.searchParams.set('limit', String(SMALL_PAGE));
    const starts = incoming.method === 'PATCH' && sent.includes('"suspend":false');
    const upstream = request(url, {
      method: incoming.method,
      agent: this.#agent,
      headers: { ...incoming.headers, host: url.host, 'accept-encoding': 'identity' },
    });
    outgoing.on('close', () => upstream.destroy());
    upstream.on('error', () => incoming.socket.destroy());
    upstream.on('response', (reply) => {
      if (cuts) return void reply.resume().on('end', () => incoming.socket.destroy());
      // A start that came too late for what it was to change has no effect, and is tried again.
      const how = starts && reply.statusCode === 200 ? this.nextReply : undefined;
      if (how !== undefined) this.nextReply = undefined;
      if (how === 'stalled') return void reply.resume();
      if (how === 'lost') return void reply.resume().on('end', () => incoming.socket.destroy());
      if (how === 'torn') {
        reply.resume();
        return void outgoing.writeHead(200, { 'content-type': 'application/json' }).end('{"kind": "Jo');
      }
      const isWatch = url.searchParams.get('watch') === 'true';
      if (this.phase === undefined || isWatch) {
        outgoing.writeHead(reply.statusCode ?? 502, reply.headers);
        // A watch that has nothing to say yet has begun all the same.
        outgoing.flushHeaders();
        return void reply.pipe(outgoing);
      }
      this.#rewritten(reply, outgoing, this.phase);
    });
    upstream.end(sent);
  }

  #rewritten(reply: IncomingMessage, outgoing: ServerResponse, phase: string): void {
    const parts: Buffer[] = [];
    reply.on('data', (chunk: Buffer) => parts.push(chunk));
    reply.on('end', () => {
      const text = Buffer.concat(parts)
        .toString('utf8')
        .replaceAll(/"phase":"[A-Za-z]+"/g, `"phase":${JSON.stringify(phase)}`);
      outgoing.writeHead(reply.statusCode ?? 502, { 'content-type': 'application/json' }).end(text);
    });
  }
}
