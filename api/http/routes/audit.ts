import { Readable } from 'node:stream';
import { Type } from '../../../core/schema.ts';
import { filterOf, mutate, page } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { callerOf } from '../guard.ts';
import { AnyView, Literal, listOf, pageQuery, replies, text } from '../schemas.ts';
import type { Caller } from '../services.ts';

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
  fileRoutes(context);
  witnessRoutes(context);
  keyRoutes(context);
}

/** What a check of the chain is given, a file each. */
function fileRoutes({ app, services }: RouteContext): void {
  const files = [
    ['bundle', 'The whole chain as one file', 'merit-audit', (caller) => services.audit.exportBundle(caller)],
    [
      'state',
      'Bookings and decisions as they are, for a chain to cover',
      'merit-state',
      (caller) => services.audit.exportState(caller),
    ],
    [
      'witness-records',
      'What the witness has seen, the newest first',
      'merit-witness',
      (caller) => services.audit.witnessRecords(caller),
    ],
  ] as const satisfies readonly (readonly [string, string, string, (caller: Caller) => AsyncIterable<Uint8Array>])[];
  for (const [path, summary, name, lines] of files) {
    app.get(
      `/v1/audit/${path}`,
      { config: { needs: 'audit' }, schema: { summary, tags, response: text('application/jsonl') } },
      async (request, reply) =>
        reply
          .header('content-type', 'application/jsonl; charset=utf-8')
          .header('content-disposition', `attachment; filename="${name}.jsonl"`)
          .send(Readable.from(lines(callerOf(services, request)), { objectMode: false })),
    );
  }
}

function witnessRoutes({ app, services }: RouteContext): void {
  app.get(
    '/v1/audit/witness',
    {
      config: { needs: 'audit' },
      schema: {
        summary: 'What the witness has seen, and whether the chain is that',
        tags,
        response: replies({ 200: AnyView }),
      },
    },
    (request) => services.audit.witness(callerOf(services, request)),
  );
  app.post(
    '/v1/audit/witness::push',
    {
      config: { needs: 'audit' },
      schema: { summary: 'Copy the newest checkpoint to the witness now', tags, response: replies({ 200: AnyView }) },
    },
    // It waits for the seal and for the witness, never in a transaction; a copy that is there already is not made again.
    (request) => services.audit.pushWitness(callerOf(services, request)),
  );
}

/** Which keys sign, and the change to another one. */
function keyRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.get(
    '/v1/audit/keys',
    {
      schema: {
        summary: 'The keys that sign the chain, the oldest first',
        tags,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    async (request) => ({ items: await services.audit.keys(callerOf(services, request)) }),
  );
  app.post(
    '/v1/audit/keys::rotate',
    {
      config: { needs: 'audit', keyed: true },
      schema: {
        summary: 'Go over to the key that signer.next names, with the next checkpoint',
        tags,
        response: replies({ 202: AnyView }),
      },
    },
    (request, reply) =>
      mutate(context, request, reply, async (_tx, caller) => ({
        status: 202,
        headers: {},
        body: await services.audit.rotateKey(caller),
      })),
  );
}
