import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** slurmrestd's Unix socket behind an address, for what needs one; and a place where its replies can be made others. */
export class SocketDoor {
  readonly url: string;
  readonly #server: Server;
  /** Of the text of a reply. */
  rewrite: ((text: string) => string) | undefined;
  /** Names of jobs that no reply tells of. */
  readonly forgotten = new Set<string>();
  /** Answers in place of Slurm, in its words. */
  refuse: { readonly method: string; readonly status: number; readonly body: object } | undefined;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async open(socketPath: string): Promise<SocketDoor> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const door = new SocketDoor(server);
    server.on('request', async (incoming, outgoing) => {
      const body = await buffer(incoming);
      const { refuse } = door;
      if (refuse !== undefined && refuse.method === incoming.method)
        return outgoing.writeHead(refuse.status).end(JSON.stringify(refuse.body));
      const { method, url: path, headers } = incoming;
      // slurmrestd 22.05 sends more after its reply where it is asked to close.
      const asked = request(
        { socketPath, method, path, headers: { ...headers, connection: 'keep-alive' } },
        async (reply) => {
          const bytes = await buffer(reply);
          asked.destroy();
          const told = door.#told(bytes);
          outgoing
            .writeHead(reply.statusCode ?? 502, { 'content-type': reply.headers['content-type'] ?? '' })
            .end(told);
        },
      );
      asked.on('error', () => outgoing.destroy());
      asked.end(body);
    });
    return door;
  }

  #told(bytes: Buffer): Buffer {
    const text = this.rewrite?.(bytes.toString('utf8')) ?? bytes.toString('utf8');
    if (this.forgotten.size === 0) return Buffer.from(text);
    const reply = JSON.parse(text) as { jobs?: readonly { name: string }[] };
    return Buffer.from(JSON.stringify({ ...reply, jobs: reply.jobs?.filter(({ name }) => !this.forgotten.has(name)) }));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
