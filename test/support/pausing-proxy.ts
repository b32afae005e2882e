import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ProxyGate {
  /** Resolves when a matching request has come to stand. */
  readonly reached: Promise<void>;
  /** Lets it, and all later ones, through. */
  open(): void;
}

/** A proxy before a real service, which can make one kind of request stand still before or after its effect, or lose its reply. */
export interface PausingProxy {
  readonly url: string;
  hold(matches: (method: string, path: string) => boolean, when: 'before-effect' | 'before-answer'): ProxyGate;
  /** The connection of the next `times` matching requests is cut instead of an answer; the effect happens. */
  dropReply(matches: (method: string, path: string) => boolean, times: number): void;
  /** Requests that went through, as `POST /api/jobs/`. */
  readonly seen: readonly string[];
  close(): Promise<void>;
}

interface Hold {
  readonly matches: (method: string, path: string) => boolean;
  readonly when: 'before-effect' | 'before-answer';
  readonly opened: Promise<void>;
  reach(): void;
}

export async function startPausingProxy(target: string): Promise<PausingProxy> {
  const holds: Hold[] = [];
  const drops: { matches: Hold['matches']; times: number }[] = [];
  const openers = new Set<() => void>();
  const seen: string[] = [];
  const stand = async (method: string, path: string, when: Hold['when']): Promise<void> => {
    for (const hold of holds) {
      if (hold.when !== when || !hold.matches(method, path)) continue;
      hold.reach();
      await hold.opened;
    }
  };
  const forward = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const method = incoming.method ?? 'GET';
    const path = incoming.url ?? '/';
    const body: Buffer[] = [];
    for await (const chunk of incoming) body.push(chunk as Buffer);
    await stand(method, path, 'before-effect');
    const reply = await new Promise<{ message: IncomingMessage; body: Buffer }>((resolve, reject) => {
      const upstream = request(
        new URL(path, target),
        { method, headers: { ...incoming.headers, host: new URL(target).host } },
        (message) => {
          const chunks: Buffer[] = [];
          message.on('data', (chunk: Buffer) => chunks.push(chunk));
          message.on('end', () => resolve({ message, body: Buffer.concat(chunks) }));
          message.on('error', reject);
        },
      );
      upstream.on('error', reject);
      upstream.end(Buffer.concat(body));
    });
    seen.push(`${method} ${path}`);
    await stand(method, path, 'before-answer');
    const drop = drops.find((order) => order.times > 0 && order.matches(method, path));
    if (drop !== undefined) {
      drop.times--;
      incoming.socket.destroy();
      return;
    }
    outgoing.writeHead(reply.message.statusCode ?? 502, reply.message.headers);
    outgoing.end(reply.body);
  };
  const server = createServer((incoming, outgoing) => {
    forward(incoming, outgoing).catch(() => incoming.socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold: (matches, when) => {
      let reach = () => {};
      const reached = new Promise<void>((resolve) => {
        reach = resolve;
      });
      let open = () => {};
      const opened = new Promise<void>((resolve) => {
        open = resolve;
      });
      openers.add(open);
      const hold: Hold = { matches, when, opened, reach };
      holds.push(hold);
      return {
        reached,
        open: () => {
          holds.splice(holds.indexOf(hold), 1);
          open();
        },
      };
    },
    dropReply: (matches, times) => {
      drops.push({ matches, times });
    },
    seen,
    close: async () => {
      for (const open of openers) open();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
