import { Type } from '../../../core/schema.ts';
import { found, mutate, page, read, readVersioned } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { demandedVersion, etagOf, stale } from '../etag.ts';
import { callerOf } from '../guard.ts';
import { AnyView, Literal, listOf, pageQuery, replies, SlugParams } from '../schemas.ts';

const tags = ['capacity'];

/** Pools, quotas and budgets. */
export function poolRoutes(context: RouteContext): void {
  const { app, services } = context;
  const PageQuery = Type.Object(pageQuery, { additionalProperties: false });
  app.get(
    '/v1/pools',
    {
      schema: {
        summary: 'Pools by name, with what is free',
        tags,
        querystring: PageQuery,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    (request) => page(context, request, 'pools', (tx, caller, at) => services.pools.pools(tx, caller, at)),
  );
  app.get(
    '/v1/pools/:name',
    { schema: { summary: 'One pool', tags, params: SlugParams, response: replies({ 200: AnyView }) } },
    (request, reply) => {
      const { name } = request.params as { name: string };
      return readVersioned(context, request, reply, 'pool', (tx, caller) => services.pools.pool(tx, caller, name));
    },
  );
  app.get(
    '/v1/pools/:name/capacity',
    {
      schema: {
        summary: 'What a pool’s provider says is there now, beside what is declared and booked',
        tags,
        params: SlugParams,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { name } = request.params as { name: string };
      return found(await services.pools.capacity(callerOf(services, request), name), 'pool');
    },
  );
  app.get(
    '/v1/pools/:name/eta-record',
    {
      schema: {
        summary: 'How often the start times that waiting jobs were told held',
        tags,
        params: SlugParams,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { name } = request.params as { name: string };
      return found(await read(context, request, (tx, caller) => services.pools.etaRecord(tx, caller, name)), 'pool');
    },
  );
  stateRoutes(context);
  const QuotaQuery = Type.Object({ division: Literal, group: Literal, pool: Literal }, { additionalProperties: false });
  app.get(
    '/v1/quotas',
    {
      schema: {
        summary: 'Every balance: quotas of groups and divisions with what is borrowed, lent and owed, and budgets',
        tags,
        querystring: QuotaQuery,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    async (request) => {
      const filter = request.query as { division?: string; group?: string; pool?: string };
      return { items: await read(context, request, (tx, caller) => services.pools.quotas(tx, caller, filter)) };
    },
  );
}

const NodeQuery = Type.Object(
  { node: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: 'one machine of it only' })) },
  { additionalProperties: false },
);

/** Work comes in, or does not, or has to leave. */
function stateRoutes(context: RouteContext): void {
  const verbs = {
    cordon: 'Take no new work; what runs goes on',
    uncordon: 'Take work again',
    drain: 'Take no new work, and have what runs leave, with its notice',
  } as const;
  for (const [verb, summary] of Object.entries(verbs) as [keyof typeof verbs, string][]) {
    context.app.post(
      `/v1/pools/:name(^[^:/]+)::${verb}`,
      {
        config: { needs: 'operate', keyed: true, versioned: true },
        schema: { summary, tags, params: SlugParams, querystring: NodeQuery, response: replies({ 200: AnyView }) },
      },
      (request, reply) => {
        const { name } = request.params as { name: string };
        const { node } = request.query as { node?: string };
        const options = { node, ifVersion: demandedVersion(request.headers) };
        return mutate(context, request, reply, async (tx, caller) => {
          const changed = found(await context.services.pools.setPoolState(tx, caller, name, verb, options), 'pool');
          if (changed.kind === 'stale') throw stale(changed.version);
          return { status: 200, headers: { etag: etagOf(changed.version) }, body: changed.view };
        });
      },
    );
  }
}
