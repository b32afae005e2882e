import { Type } from '../../../core/schema.ts';
import type { RouteContext } from '../context.ts';
import { replies, text } from '../schemas.ts';

const Part = Type.Object({
  name: Type.String(),
  ok: Type.Boolean(),
  detail: Type.String(),
  mend: Type.Optional(Type.String()),
});
const Readiness = Type.Object({ ready: Type.Boolean(), parts: Type.Array(Part) }, { title: 'Readiness' });

/** Alive, ready, measured: answered without an identity, and never in the request log. */
export function healthRoutes({ app, services }: RouteContext): void {
  const config = { open: true };
  app.get(
    '/healthz',
    {
      config,
      schema: {
        summary: 'The process is up',
        tags: ['operations'],
        response: replies({ 200: Type.Object({ status: Type.String() }) }),
      },
    },
    async () => ({ status: 'ok', version: services.version }),
  );
  app.get(
    '/readyz',
    {
      config,
      schema: {
        summary: 'Every part that work needs is there; says which is not, and the mend',
        tags: ['operations'],
        response: replies({ 200: Readiness, 503: Readiness }),
      },
    },
    async (_request, reply) => {
      const parts = await services.readiness();
      const ready = parts.every((part) => part.ok);
      if (!ready) reply.header('retry-after', '1');
      return reply.code(ready ? 200 : 503).send({ ready, parts });
    },
  );
  app.get(
    '/metrics',
    { config, schema: { summary: 'Numbers for Prometheus', tags: ['operations'], response: text('text/plain') } },
    async (_request, reply) => {
      const { contentType, body } = await services.metrics.expose();
      return reply.header('content-type', contentType).send(body);
    },
  );
}
