import type { FastifyInstance } from 'fastify';
import { LINGER_MS } from './limits.ts';

/**
 * A request that is answered before its body was read: the rest is thrown away for a moment, so that its sender gets to read the answer (a
 * socket closed on unread bytes is reset, and may take the answer with it), and then the connection is cut.
 */
export function lingerBehindAnswers(app: FastifyInstance): void {
  app.addHook('onSend', async (request, reply) => {
    const { raw } = request;
    if (raw.complete || raw.readableEnded || reply.statusCode < 400 || reply.getHeader('connection') === 'close')
      return;
    reply.raw.once('finish', () => {
      if (raw.complete || raw.destroyed) return;
      raw.unpipe();
      raw.resume();
      const timer = setTimeout(() => raw.destroy(), LINGER_MS);
      const stop = () => clearTimeout(timer);
      raw.once('end', stop);
      raw.once('close', stop);
    });
  });
}
