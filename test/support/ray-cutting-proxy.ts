import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Where a connection is cut: the request never arrives, its reply never leaves, or only half of the reply does. */
export type Cut = 'request' | 'reply' | 'half';

export interface CuttingProxy {
  readonly url: string;
  /** Submission ids of the POSTs that reached Ray, in order, with when they arrived here. */
  readonly posts: readonly { readonly id: string; readonly atMs: number }[];
  /** Every request as it came in, the newest 10,000. */
  readonly seen: readonly { readonly path: string; readonly atMs: number }[];
  readonly requests: number;
  /** `reply POST /api/jobs/` and so on, how often. */
  readonly cuts: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

const SEEN_LIMIT = 10_000;

/** A proxy on loopback before a real Ray that cuts some connections. `choose`: where this request's is cut, if at all; told `POST /api/jobs/` and so on. */
export async function startCuttingProxy(
  target: string,
  choose: (what: string) => Cut | undefined = () => undefined,
): Promise<CuttingProxy> {
  const posts: { id: string; atMs: number }[] = [];
  const seen: { path: string; atMs: number }[] = [];
  const cuts = new Map<string, number>();
  let requests = 0;

  const forward = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const atMs = performance.now();
    requests++;
    seen.push({ path: incoming.url ?? '/', atMs });
    if (seen.length > SEEN_LIMIT) seen.shift();
    const parts: Buffer[] = [];
    for await (const part of incoming) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const { method = 'GET', url = '/' } = incoming;
    const cut = choose(`${method} ${url}`);
    if (cut !== undefined) {
      const what = `${cut} ${method} ${url.replace(/m-[\w-]+/, ':key').replace(/merit_\w+/, ':hash')}`;
      cuts.set(what, (cuts.get(what) ?? 0) + 1);
    }
    if (cut === 'request') return void incoming.socket.destroy();
    if (method === 'POST' && url === '/api/jobs/') posts.push({ id: idOf(body), atMs });
    const reply = await answerOf(target, incoming, body);
    if (cut === 'reply') return void incoming.socket.destroy();
    outgoing.writeHead(reply.status, { ...reply.headers, 'content-length': reply.body.length });
    if (cut !== 'half') return void outgoing.end(reply.body);
    outgoing.write(reply.body.subarray(0, reply.body.length / 2));
    setImmediate(() => incoming.socket.destroy());
  };
  const server = createServer((incoming, outgoing) => {
    forward(incoming, outgoing).catch(() => incoming.socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    posts,
    seen,
    cuts,
    get requests() {
      return requests;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function idOf(body: Buffer): string {
  return String((JSON.parse(body.toString('utf8')) as { readonly submission_id?: unknown }).submission_id);
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

function answerOf(target: string, incoming: IncomingMessage, body: Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { ...incoming.headers, host: new URL(target).host };
    const options = { method: incoming.method ?? 'GET', headers, agent: false };
    const upstream = request(new URL(incoming.url ?? '/', target), options, (message) => {
      const chunks: Buffer[] = [];
      message.on('data', (chunk: Buffer) => chunks.push(chunk));
      message.on('end', () =>
        resolve({
          status: message.statusCode ?? 502,
          headers: { 'content-type': message.headers['content-type'] ?? 'text/plain' },
          body: Buffer.concat(chunks),
        }),
      );
      message.on('error', reject);
    });
    upstream.on('error', reject);
    upstream.end(body);
  });
}
