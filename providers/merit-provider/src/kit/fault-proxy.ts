import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TestBackend, TestBackendDefinition } from '../test-backend.ts';
import type { Asks } from './run.ts';

/**
 * A backend that is reached over HTTP, with a proxy before it that shows the faults of a network and of a door: lost, late and torn
 * replies, silence, absence, refusal, throttling, credentials that are no longer taken. The next POST after a fault was asked for is
 * taken for the submit.
 */
export class FaultProxy implements TestBackend {
  readonly config: unknown;
  readonly #target: URL;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #port: number;
  /** Of the reply to the next POST. */
  #nextReply: 'lost' | 'stalled' | 'torn' | undefined;
  #fault: ((response: ServerResponse) => void) | undefined;

  private constructor(config: Readonly<Record<string, unknown>>, field: string, server: Server) {
    this.#target = new URL(String(config[field]));
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    const address = new URL(this.#target);
    address.protocol = 'http:';
    address.host = `127.0.0.1:${this.#port}`;
    this.config = { ...config, [field]: address.href.replace(/\/$/, '') };
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
    });
    server.on('request', (incoming, outgoing) => {
      this.#answer(incoming, outgoing).catch(() => incoming.socket.destroy());
    });
  }

  /** `field` of the config is the address that the provider is to find the proxy under. */
  static async start(config: Readonly<Record<string, unknown>>, field: string): Promise<FaultProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new FaultProxy(config, field, server);
  }

  loseReply(): void {
    this.#nextReply = 'lost';
  }

  stallReply(): void {
    this.#nextReply = 'stalled';
  }

  tearReply(): void {
    this.#nextReply = 'torn';
  }

  hang(): void {
    this.#fault = () => {};
  }

  async goAway(): Promise<void> {
    await this.#stopListening();
  }

  refuse(text: string): void {
    this.#fault = (response) => response.writeHead(400, { 'content-type': 'text/plain; charset=utf-8' }).end(text);
  }

  throttle(retryAfterMs: number): void {
    const headers = { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) };
    this.#fault = (response) => response.writeHead(429, headers).end('come back later');
  }

  expireAuth(): void {
    this.#fault = (response) => response.writeHead(401).end('the token is no longer taken');
  }

  async heal(): Promise<void> {
    this.#fault = undefined;
    this.#nextReply = undefined;
    if (this.#server.listening) return;
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
  }

  async close(): Promise<void> {
    await this.#stopListening();
  }

  async #stopListening(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body: Buffer[] = [];
    for await (const chunk of incoming) body.push(chunk as Buffer);
    if (this.#fault !== undefined) return this.#fault(outgoing);
    const how = incoming.method === 'POST' ? this.#nextReply : undefined;
    if (how !== undefined) this.#nextReply = undefined;
    const { status, headers, bytes } = await this.#forward(incoming, Buffer.concat(body));
    if (how === 'stalled') return;
    if (how === 'lost') return void incoming.socket.destroy();
    if (how === 'torn') return void outgoing.writeHead(200, { 'content-type': 'application/json' }).end('{"id": "cu');
    outgoing.writeHead(status, headers).end(bytes);
  }

  #forward(incoming: IncomingMessage, body: Buffer) {
    const { protocol, host, origin } = this.#target;
    const request = protocol === 'https:' ? httpsRequest : httpRequest;
    const options = { method: incoming.method, headers: { ...incoming.headers, host, connection: 'close' } };
    return new Promise<{ status: number; headers: IncomingMessage['headers']; bytes: Buffer }>((resolve, reject) => {
      const upstream = request(new URL(incoming.url ?? '/', origin), options, (reply) => {
        const bytes: Buffer[] = [];
        reply.on('data', (chunk: Buffer) => bytes.push(chunk));
        reply.on('error', reject);
        reply.on('end', () => {
          const { connection, 'transfer-encoding': encoding, ...headers } = reply.headers;
          resolve({ status: reply.statusCode ?? 502, headers, bytes: Buffer.concat(bytes) });
        });
      });
      upstream.on('error', reject);
      upstream.end(body);
    });
  }
}

/** A real backend behind such a proxy. */
export function proxiedBackend(
  config: Readonly<Record<string, unknown>>,
  field: string,
  asks: Asks = {},
): TestBackendDefinition {
  return { time: 'real', start: async () => Object.assign(await FaultProxy.start(config, field), asks) };
}
