import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { parseRfc3339 } from '../../../core/rfc3339.ts';
import { Type } from '../../../core/schema.ts';
import { MAX_REDRIVEN } from '../../../scoring/ingest/quarantine-place.ts';
import { filterOf, found, mutate, page, read } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { HttpProblem } from '../problem.ts';
import { AnyView, IdParams, Literal, listOf, pageQuery, replies } from '../schemas.ts';
import type { RedriveRequest } from '../scoring-services.ts';

const tags = ['reports'];

const filters = {
  reason: Literal,
  suite: Literal,
  producer: Literal,
  since: Type.Optional(Type.String({ maxLength: 40, description: 'set aside at or after this time, RFC 3339' })),
};
const Partition = Type.Integer({ minimum: 0, maximum: 1_000_000 });

const ListQuery = Type.Object(
  {
    ...pageQuery,
    ...filters,
    partition: Type.Optional(Partition),
    state: Type.Optional(Type.Enum(['open', 'any'], { description: 'open: nothing was done about it; default: any' })),
  },
  { additionalProperties: false },
);

const RedriveBody = Type.Object(
  {
    ids: Type.Optional(Type.Array(Type.String({ maxLength: 300 }), { minItems: 1, maxItems: MAX_REDRIVEN })),
    filter: Type.Optional(
      Type.Object(
        { ...filters, partition: Type.Optional(Partition) },
        { additionalProperties: false, description: 'in place of ids: the oldest lines of which all of this holds' },
      ),
    ),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_REDRIVEN, description: 'of the filter' })),
    dryRun: Type.Optional(Type.Boolean({ description: 'only tell how many' })),
  },
  { title: 'Redrive', additionalProperties: false },
);

function requireTime(since: string | undefined): void {
  if (since === undefined || parseRfc3339(since) !== undefined) return;
  throw new RefusedInput([
    refuse('time_format', 'since', 'is no RFC 3339 time with a zone', 'write 2026-11-26T08:00:00Z'),
  ]);
}

/** Lines that were set aside: why, what they were, and a second reading once what stood against them is mended. */
export function quarantineRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.get(
    '/v1/quarantine',
    {
      schema: {
        summary: 'Lines that were set aside, newest first',
        tags,
        querystring: ListQuery,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    (request) => {
      const query = request.query as { readonly partition?: number; readonly state?: 'open' | 'any' };
      const filter = {
        ...filterOf(request, ['reason', 'suite', 'producer', 'since']),
        ...(query.partition === undefined ? {} : { partition: query.partition }),
        open: query.state === 'open',
      };
      requireTime(filter.since);
      return page(context, request, `quarantine ${JSON.stringify(filter)}`, (tx, caller, at) =>
        services.quarantine.list(tx, caller, filter, at),
      );
    },
  );
  app.get(
    '/v1/quarantine/:id',
    {
      schema: {
        summary: 'One of them with its bytes; of a line past 1 MiB its size, SHA-256 and first KiB',
        tags,
        params: IdParams,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { id } = request.params as { id: string };
      const line = await read(context, request, (tx, caller) => services.quarantine.get(tx, caller, id));
      return found(line, 'line in the quarantine');
    },
  );
  app.post(
    '/v1/quarantine::redrive',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary: 'Append lines to the log once more; each at most once, however often it is asked',
        tags,
        body: RedriveBody,
        response: replies({ 202: AnyView }),
      },
    },
    (request, reply) => {
      const wanted = request.body as RedriveRequest;
      if ((wanted.ids === undefined) === (wanted.filter === undefined))
        throw new HttpProblem(422, 'required', 'name lines in ids, or what holds of them in filter: one of the two');
      requireTime(wanted.filter?.since);
      return mutate(context, request, reply, async (tx, caller) => ({
        status: 202,
        body: await services.quarantine.redrive(tx, caller, wanted),
      }));
    },
  );
}
