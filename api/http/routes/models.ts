import { Type } from '../../../core/schema.ts';
import { found, mutate, page, put, read, readVersioned } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { AnyView, listOf, Name, NameParams, pageQuery, replies } from '../schemas.ts';

const tags = ['models'];
const PageQuery = Type.Object(pageQuery, { additionalProperties: false });

/** For the published document; the registry checks it. */
const ModelDocument = Type.Object(
  { division: Type.Unknown() },
  { title: 'Model', additionalProperties: true, required: [] },
);

/** The model registry: models, their versions, and the aliases that point at one. */
export function modelRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.get(
    '/v1/models',
    {
      schema: { summary: 'Models by name', tags, querystring: PageQuery, response: replies({ 200: listOf(AnyView) }) },
    },
    (request) => page(context, request, 'models', (tx, caller, at) => services.scoring.models(tx, caller, at)),
  );
  app.get(
    '/v1/models/:name',
    {
      schema: { summary: 'One model with its aliases', tags, params: NameParams, response: replies({ 200: AnyView }) },
    },
    (request, reply) => {
      const { name } = request.params as { name: string };
      return readVersioned(context, request, reply, 'model', (tx, caller) => services.scoring.model(tx, caller, name));
    },
  );
  app.put(
    '/v1/models/:name',
    {
      config: { needs: 'operate', versioned: true },
      schema: {
        summary: 'Register a model, or change it',
        tags,
        params: NameParams,
        body: ModelDocument,
        response: replies({ 200: AnyView, 201: AnyView }),
      },
    },
    (request, reply) => {
      const { name } = request.params as { name: string };
      return put(context, request, reply, (tx, caller, ifVersion) =>
        services.scoring.putModel(tx, caller, name, request.body, ifVersion),
      );
    },
  );
  versionRoutes(context);
}

function versionRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.get(
    '/v1/models/:name/versions',
    {
      schema: {
        summary: 'Versions of a model, oldest first',
        tags,
        params: NameParams,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    async (request) => {
      const { name } = request.params as { name: string };
      return {
        items: found(
          await read(context, request, (tx, caller) => services.scoring.versions(tx, caller, name)),
          'model',
        ),
      };
    },
  );
  app.post(
    '/v1/models/:name(^[^:/]+)::retrain',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary: 'Ask for a retrain; 200 where one is open already',
        tags,
        params: NameParams,
        response: replies({ 200: AnyView, 202: AnyView }),
      },
    },
    (request, reply) => {
      const { name } = request.params as { name: string };
      return mutate(context, request, reply, async (tx, caller) => {
        const { kind, view } = await services.scoring.retrain(tx, caller, name);
        return { status: kind === 'raised' ? 202 : 200, headers: { location: '/v1/retrains' }, body: view };
      });
    },
  );
  const RetrainQuery = Type.Object({ model: Type.Optional(Name) }, { additionalProperties: false });
  app.get(
    '/v1/retrains',
    {
      schema: {
        summary: 'Retrains asked for, newest first: why, what became of them, how long they waited',
        tags,
        querystring: RetrainQuery,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    async (request) => {
      const { model } = request.query as { model?: string };
      return { items: await read(context, request, (tx, caller) => services.scoring.retrains(tx, caller, model)) };
    },
  );
  const VersionParams = Type.Object({ name: Name, version: Name }, { additionalProperties: false });
  const VersionBody = Type.Object(
    { seat: Type.Optional(Type.Boolean({ description: 'make it the incumbent without a contest' })) },
    { additionalProperties: false },
  );
  app.put(
    '/v1/models/:name/versions/:version',
    {
      config: { needs: 'operate' },
      schema: {
        summary: 'Add a version by hand: a candidate of the model’s suite',
        tags,
        params: VersionParams,
        body: VersionBody,
        response: replies({ 200: AnyView }),
      },
    },
    (request) => {
      const { name, version } = request.params as { name: string; version: string };
      const { seat = false } = request.body as { seat?: boolean };
      return read(context, request, (tx, caller) => services.scoring.putVersion(tx, caller, name, version, seat));
    },
  );
  const AliasParams = Type.Object({ name: Name, alias: Name }, { additionalProperties: false });
  const AliasBody = Type.Object({ version: Name }, { additionalProperties: false });
  app.put(
    '/v1/models/:name/aliases/:alias',
    {
      config: { needs: 'operate' },
      schema: {
        summary: 'Point an alias at a version',
        tags,
        params: AliasParams,
        body: AliasBody,
        response: replies({ 200: AnyView }),
      },
    },
    (request) => {
      const { name, alias } = request.params as { name: string; alias: string };
      const { version } = request.body as { version: string };
      return read(context, request, (tx, caller) => services.scoring.putAlias(tx, caller, name, alias, version));
    },
  );
}
