import { Type } from '../../../core/schema.ts';
import { filterOf, found, page, put, read, readVersioned } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { AnyView, IdParams, Literal, listOf, NameParams, pageQuery, replies } from '../schemas.ts';

const tags = ['scoring'];
const PageQuery = Type.Object(pageQuery, { additionalProperties: false });

/** Suites, and the decisions that follow from them. */
export function scoringRoutes(context: RouteContext): void {
  suiteRoutes(context);
  promotionRoutes(context);
}

/** For the published document; core/suite checks it, with every refusal at once. */
const SuiteDocument = Type.Object(
  { name: Type.Unknown() },
  { title: 'Suite', additionalProperties: true, required: [] },
);

function suiteRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.get(
    '/v1/suites',
    {
      schema: { summary: 'Suites by name', tags, querystring: PageQuery, response: replies({ 200: listOf(AnyView) }) },
    },
    (request) => page(context, request, 'suites', (tx, caller, at) => services.scoring.suites(tx, caller, at)),
  );
  app.get(
    '/v1/suites/:name',
    {
      schema: {
        summary: 'One suite, its newest version',
        tags,
        params: NameParams,
        response: replies({ 200: AnyView }),
      },
    },
    (request, reply) => {
      const { name } = request.params as { name: string };
      return readVersioned(context, request, reply, 'suite', (tx, caller) => services.scoring.suite(tx, caller, name));
    },
  );
  app.put(
    '/v1/suites/:name',
    {
      config: { needs: 'operate', versioned: true },
      schema: {
        summary: 'Make a suite, or its next version',
        tags,
        params: NameParams,
        body: SuiteDocument,
        response: replies({ 200: AnyView, 201: AnyView }),
      },
    },
    (request, reply) => {
      const { name } = request.params as { name: string };
      return put(context, request, reply, (tx, caller, ifVersion) =>
        services.scoring.putSuite(tx, caller, name, request.body, ifVersion),
      );
    },
  );
}

function promotionRoutes(context: RouteContext): void {
  const { app, services } = context;
  const PromotionQuery = Type.Object({ ...pageQuery, suite: Literal, model: Literal }, { additionalProperties: false });
  app.get(
    '/v1/promotions',
    {
      schema: {
        summary: 'Decisions, newest first',
        tags,
        querystring: PromotionQuery,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    (request) => {
      const filter = filterOf(request, ['suite', 'model']);
      return page(context, request, `promotions ${JSON.stringify(filter)}`, (tx, caller, at) =>
        services.scoring.promotions(tx, caller, filter, at),
      );
    },
  );
  app.get(
    '/v1/promotions/:id',
    {
      schema: {
        summary: 'One decision with its evidence and signature',
        tags,
        params: IdParams,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { id } = request.params as { id: string };
      return found(
        await read(context, request, (tx, caller) => services.scoring.promotion(tx, caller, id)),
        'promotion',
      );
    },
  );
}
