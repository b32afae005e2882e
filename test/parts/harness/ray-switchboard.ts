/**
 * `node ray-switchboard.ts PORT`: a proxy for plain HTTP on loopback. What is asked of `SERVICE.NAMESPACE.svc…` goes to where the namespace's target is, as
 * `/SERVICE/PATH`; without one it is refused as by an empty service. `PUT /targets/NAMESPACE` with an address sets a target, `DELETE` takes it away.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';

const targets = new Map<string, string>();

async function manage(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const namespace = (incoming.url ?? '').split('/')[2] ?? '';
  if (incoming.method === 'PUT') targets.set(namespace, (await text(incoming)).replace(/\/$/, ''));
  if (incoming.method === 'DELETE') targets.delete(namespace);
  outgoing.end();
}

function forward(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const url = new URL(incoming.url ?? '');
  const [service = '', namespace = ''] = url.hostname.split('.');
  const target = targets.get(namespace);
  if (target === undefined) return void outgoing.writeHead(502).end();
  const { 'proxy-connection': _, ...headers } = incoming.headers;
  const onward = request(`${target}/${service}${url.pathname}${url.search}`, { method: incoming.method, headers });
  onward.on('error', () => incoming.socket.destroy());
  onward.on('response', (reply) => {
    outgoing.writeHead(reply.statusCode ?? 502, reply.headers);
    reply.pipe(outgoing);
  });
  incoming.pipe(onward);
}

const server = createServer((incoming, outgoing) => {
  if (incoming.url?.startsWith('/') === true) manage(incoming, outgoing).catch(() => incoming.socket.destroy());
  else forward(incoming, outgoing);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
