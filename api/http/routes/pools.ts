import { isBookingId } from '../../../core/ids.ts';
import { Type } from '../../../core/schema.ts';
import { BudgetFile, PoolFile } from '../../../pools/pool-file.ts';
import { filterOf, found, page, put, read, readVersioned } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { notFound } from '../problem.ts';
import { AnyView, IdParams, JobView, Literal, listOf, pageQuery, replies, Slug, SlugParams } from '../schemas.ts';

const tags = ['capacity'];

/** Pools, quotas, budgets, and the allocations that hold them. */
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
  app.put(
    '/v1/pools/:name',
    {
      config: { needs: 'operate', versioned: true },
      schema: {
        summary: 'Make a pool, or change its capacity, prices and quotas',
        tags,
        params: SlugParams,
        body: PoolFile,
        response: replies({ 200: AnyView, 201: AnyView }),
      },
    },
    (request, reply) => {
      const { name } = request.params as { name: string };
      return put(context, request, reply, (tx, caller, ifVersion) =>
        services.pools.putPool(tx, caller, name, request.body, ifVersion),
      );
    },
  );
  const QuotaQuery = Type.Object({ division: Literal, pool: Literal }, { additionalProperties: false });
  app.get(
    '/v1/quotas',
    {
      schema: {
        summary: 'Every balance: quotas and budgets with limit, held, used and free',
        tags,
        querystring: QuotaQuery,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    async (request) => {
      const filter = request.query as { division?: string; pool?: string };
      return { items: await read(context, request, (tx, caller) => services.pools.quotas(tx, caller, filter)) };
    },
  );
  const DivisionParams = Type.Object({ division: Slug }, { additionalProperties: false });
  app.put(
    '/v1/budgets/:division',
    {
      config: { needs: 'operate' },
      schema: {
        summary: 'What a division may spend',
        tags,
        params: DivisionParams,
        body: BudgetFile,
        response: replies({ 200: AnyView }),
      },
    },
    (request) => {
      const { division } = request.params as { division: string };
      return read(context, request, (tx, caller) => services.pools.putBudget(tx, caller, division, request.body));
    },
  );
  allocationRoutes(context);
}

/** An allocation is a booking by its public noun: the same rows as jobs, with their timeline. */
function allocationRoutes(context: RouteContext): void {
  const { app, services } = context;
  const AllocationQuery = Type.Object(
    { ...pageQuery, state: Literal, division: Literal, model: Literal, name: Literal },
    { additionalProperties: false },
  );
  app.get(
    '/v1/allocations',
    {
      schema: {
        summary: 'Allocations, newest first',
        tags,
        querystring: AllocationQuery,
        response: replies({ 200: listOf(JobView) }),
      },
    },
    (request) => {
      const filter = filterOf(request, ['state', 'division', 'model', 'name']);
      return page(context, request, `allocations ${JSON.stringify(filter)}`, (tx, caller, at) =>
        services.jobs.list(tx, caller, filter, at),
      );
    },
  );
  const allocationId = (params: unknown): string => {
    const { id } = params as { id: string };
    if (!isBookingId(id)) throw notFound('allocation');
    return id;
  };
  app.get(
    '/v1/allocations/:id',
    { schema: { summary: 'One allocation', tags, params: IdParams, response: replies({ 200: JobView }) } },
    async (request) => {
      const id = allocationId(request.params);
      return found(await read(context, request, (tx, caller) => services.jobs.get(tx, caller, id)), 'allocation');
    },
  );
  app.get(
    '/v1/allocations/:id/timeline',
    {
      schema: {
        summary: 'Its transitions, in order',
        tags,
        params: IdParams,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    async (request) => {
      const id = allocationId(request.params);
      return {
        items: found(await read(context, request, (tx, caller) => services.jobs.events(tx, caller, id)), 'allocation'),
      };
    },
  );
}
