import { Readable } from 'node:stream';
import { Type } from '../../../core/schema.ts';
import { filterOf, page } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { callerOf } from '../guard.ts';
import { AnyView, Literal, listOf, pageQuery, replies, text } from '../schemas.ts';

const tags = ['audit'];

export function auditRoutes(context: RouteContext): void {
  const { app, services } = context;
  const EventQuery = Type.Object({ ...pageQuery, subject: Literal, type: Literal }, { additionalProperties: false });
  app.get(
    '/v1/audit/events',
    {
      schema: {
        summary: 'The tenant’s audit events in order of sequence',
        tags,
        querystring: EventQuery,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    (request) => {
      const filter = filterOf(request, ['subject', 'type']);
      return page(context, request, `audit ${JSON.stringify(filter)}`, (tx, caller, at) =>
        services.audit.events(tx, caller, filter, at),
      );
    },
  );
  app.get(
    '/v1/audit/roots',
    {
      schema: {
        summary: 'Public keys and checkpoints, to pin before an offline check',
        tags,
        response: replies({ 200: AnyView }),
      },
    },
    (request) => services.audit.roots(callerOf(services, request)),
  );
  app.get(
    '/v1/audit/bundle',
    {
      config: { needs: 'operate' },
      schema: { summary: 'The whole chain as one file', tags, response: text('application/jsonl') },
    },
    async (request, reply) =>
      reply
        .header('content-type', 'application/jsonl; charset=utf-8')
        .header('content-disposition', 'attachment; filename="merit-audit.jsonl"')
        .send(Readable.from(services.audit.exportBundle(callerOf(services, request)), { objectMode: false })),
  );
}
