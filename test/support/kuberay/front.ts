import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Agent, request as ask } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { KubeApiserverFacts } from '../../parts/kube-apiserver.ts';

/**
 * A door on loopback before a real API server, which every call of the provider under test goes through: as its administrator, and with the faults of a
 * network and of a server that is refusing, busy or away. Watches are streamed.
 */
export class KubernetesFront {
  /** Of the next POST that makes a RayJob. */
  nextReply: 'lost' | 'stalled' | 'torn' | undefined;
  /** Answers every call in the server's place. */
  fault: ((response: ServerResponse) => void) | undefined;
  /** The state that RayJobs are shown in, but to those who watch. */
  word: string | undefined;
  /** Whether it lets anybody watch. */
  watches = true;
  /** Calls as `METHOD path`, in order. */
  readonly calls: string[] = [];
  readonly #facts: KubeApiserverFacts;
  readonly #agent: Agent;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((incoming, outgoing) => {
    this.#answer(incoming, outgoing).catch(() => incoming.socket.destroy());
  });
  #port = 0;

  constructor(facts: KubeApiserverFacts) {
    this.#facts = facts;
    this.#agent = new Agent({ ca: readFileSync(facts.caFile), keepAlive: true });
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async listen(): Promise<this> {
    if (this.#server.listening) return this;
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  async goAway(): Promise<void> {
    this.cut();
    if (this.#server.listening) await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** Ends every connection, watches too. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    await this.goAway();
    this.#agent.destroy();
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await buffer(incoming);
    const { method = 'GET', url = '/' } = incoming;
    this.calls.push(`${method} ${url}`);
    if (this.fault !== undefined) return this.fault(outgoing);
    const isWatch = url.includes('watch=true');
    if (isWatch && !this.watches) return void outgoing.writeHead(503).end();
    const makesJob = method === 'POST' && /\/rayjobs(\?|$)/.test(url);
    const how = makesJob ? this.nextReply : undefined;
    if (how !== undefined) this.nextReply = undefined;
    const reply = await this.#forward(incoming, body);
    if (isWatch) {
      outgoing.writeHead(reply.statusCode ?? 502, reply.headers);
      // A watch that has nothing to say yet has begun all the same.
      outgoing.flushHeaders();
      outgoing.on('close', () => reply.destroy());
      reply.on('error', () => outgoing.destroy());
      return void reply.pipe(outgoing);
    }
    const bytes = this.#shown(url, await buffer(reply));
    if (how === 'stalled') return;
    if (how === 'lost') return void incoming.socket.destroy();
    if (how === 'torn') return void outgoing.writeHead(201, { 'content-type': 'application/json' }).end('{"kind": "Ra');
    const { 'transfer-encoding': _, ...headers } = reply.headers;
    outgoing.writeHead(reply.statusCode ?? 502, { ...headers, 'content-length': bytes.length }).end(bytes);
  }

  #shown(url: string, bytes: Buffer): Buffer {
    if (this.word === undefined || !url.includes('/rayjobs')) return bytes;
    const told = JSON.parse(bytes.toString()) as { items?: object[]; status?: object };
    for (const one of told.items ?? [told])
      Object.assign(one, { status: { ...(one as { status?: object }).status, jobDeploymentStatus: this.word } });
    return Buffer.from(JSON.stringify(told));
  }

  #forward(incoming: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    const { host: _, connection: __, ...headers } = incoming.headers;
    const sent = { ...headers, authorization: `Bearer ${this.#facts.adminToken}` };
    return new Promise((resolve, reject) => {
      const onward = ask(
        new URL(incoming.url ?? '/', this.#facts.url),
        { method: incoming.method, headers: sent, agent: this.#agent },
        resolve,
      );
      onward.on('error', reject);
      onward.end(body);
    });
  }
}
