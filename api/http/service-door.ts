import { createServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { hostInUrl } from '../../platform/loopback.ts';
import { notePeer, serverTls, type TlsMaterial } from '../../platform/mtls.ts';
import type { RotatingTls } from '../../platform/tls-rotation.ts';
import * as limits from './limits.ts';

/** Connections of services open at a time. */
const MAX_SERVICE_CONNECTIONS = 1_024;
const HANDSHAKE_TIMEOUT_MS = 10_000;

export interface ServiceDoor {
  readonly url: string;
  /** Takes no more connections, and lets what is under way end within the time. */
  close(withinMs: number): Promise<void>;
}

/**
 * The door for services: the same routes over TLS 1.3 with a client certificate. New connections are shaken with the certificate and the authorities of the
 * moment; one that was made under others is closed with its next answer, so that no request is dropped.
 */
export async function openServiceDoor(options: {
  readonly app: FastifyInstance;
  readonly tls: RotatingTls;
  readonly listen: { readonly host: string; readonly port: number };
}): Promise<ServiceDoor> {
  const { app, tls, listen } = options;
  await app.ready();
  const madeUnder = new WeakMap<object, TlsMaterial>();
  const server = createServer(
    {
      ...serverTls(tls.current()),
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      ...limits.CONNECTION_OPTIONS,
      keepAliveTimeout: limits.KEEP_ALIVE_TIMEOUT_MS,
      requestTimeout: 0,
    },
    (request, response) => {
      if (madeUnder.get(request.socket) !== tls.current()) response.setHeader('connection', 'close');
      app.routing(request, response);
    },
  );
  server.maxConnections = MAX_SERVICE_CONNECTIONS;
  server.on('secureConnection', (socket: TLSSocket) => {
    madeUnder.set(socket, tls.current());
    notePeer(socket, tls.current());
  });
  tls.onChange((material) => server.setSecureContext(serverTls(material)));
  // What the first door does with a request that never became one, and with CONNECT and Expect.
  for (const event of ['clientError', 'connect', 'checkExpectation'])
    for (const listener of app.server.listeners(event)) server.on(event, listener as (...args: unknown[]) => void);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(listen, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const at = server.address();
  const port = typeof at === 'object' && at !== null ? at.port : listen.port;
  return {
    url: `https://${hostInUrl(listen.host)}:${port}`,
    close: async (withinMs) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), withinMs);
      await closed;
      clearTimeout(timer);
    },
  };
}
