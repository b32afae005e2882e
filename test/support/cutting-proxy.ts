import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface CuttingProxy {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** Bytes that clients sent, and that they were sent. */
  readonly bytes: { up: number; down: number };
  /** Each of the next `times` connections that carries `bytes` this way is cut then. */
  cutAfter(way: 'up' | 'down', bytes: number, times?: number): void;
  readonly cuts: number;
  close(): Promise<void>;
}

/** A TCP proxy to a server on loopback that cuts connections in the middle. */
export async function cuttingProxy(target: string): Promise<CuttingProxy> {
  const { hostname, port } = new URL(target);
  const bytes = { up: 0, down: 0 };
  const open = new Set<Socket>();
  let rule: { readonly way: 'up' | 'down'; readonly bytes: number; times: number } | undefined;
  let cuts = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    const seen = { up: 0, down: 0 };
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    const pass = (way: 'up' | 'down', from: Socket, to: Socket) => {
      open.add(from);
      from.on('data', (chunk) => {
        bytes[way] += chunk.length;
        seen[way] += chunk.length;
        if (rule?.way === way && seen[way] >= rule.bytes) {
          cuts++;
          if (--rule.times === 0) rule = undefined;
          return end();
        }
        if (!to.write(chunk)) {
          from.pause();
          to.once('drain', () => from.resume());
        }
      });
      from.on('error', end);
      from.on('close', () => {
        open.delete(from);
        to.end();
      });
    };
    pass('up', client, upstream);
    pass('down', upstream, client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bytes,
    cutAfter: (way, size, times = 1) => {
      rule = { way, bytes: size, times };
    },
    get cuts() {
      return cuts;
    },
    close: () => {
      for (const socket of open) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
