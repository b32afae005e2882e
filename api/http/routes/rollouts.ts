import { Type } from '../../../core/schema.ts';
import { found, mutate, put, read, readVersioned } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { AnyView, NameParams, replies } from '../schemas.ts';

const tags = ['scoring'];

const RolloutBody = Type.Object(
  {
    suite: Type.Optional(
      Type.Object(
        {},
        { title: 'Suite', additionalProperties: true, description: 'the new version; needed where none runs yet' },
      ),
    ),
    share: Type.Integer({
      minimum: 0,
      maximum: 100,
      description: 'per cent of the models that the new version decides for; 0: a shadow',
    }),
    force: Type.Optional(Type.Boolean({ description: 'the share holds before the new version’s windows are full' })),
  },
  { title: 'Rollout', additionalProperties: false },
);

/** Two versions of a suite side by side. */
export function rolloutRoutes(context: RouteContext): void {
  const { app, services } = context;
  const path = '/v1/suites/:name/rollout';
  const nameOf = (params: unknown) => (params as { name: string }).name;
  app.get(
    path,
    {
      schema: {
        summary: 'The rollout of a suite that runs, else its last one',
        tags,
        params: NameParams,
        response: replies({ 200: AnyView }),
      },
    },
    (request, reply) =>
      readVersioned(context, request, reply, 'rollout', (tx, caller) =>
        services.rollouts.rollout(tx, caller, nameOf(request.params)),
      ),
  );
  app.put(
    path,
    {
      config: { needs: 'operate', versioned: true },
      schema: {
        summary: 'Start a version beside the active one, or change its share of the models',
        tags,
        params: NameParams,
        body: RolloutBody,
        response: replies({ 200: AnyView, 201: AnyView }),
      },
    },
    (request, reply) =>
      put(context, request, reply, (tx, caller, ifVersion) =>
        services.rollouts.putRollout(
          tx,
          caller,
          nameOf(request.params),
          request.body as Type.Static<typeof RolloutBody>,
          ifVersion,
        ),
      ),
  );
  endRoutes(context);
  app.get(
    '/v1/suites/:name/diff',
    {
      schema: {
        summary: 'Both versions side by side at the last tick that both have scored, and the decisions that differ',
        tags,
        params: NameParams,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) =>
      found(
        await read(context, request, (tx, caller) => services.rollouts.diff(tx, caller, nameOf(request.params))),
        'rollout that runs',
      ),
  );
}

function endRoutes(context: RouteContext): void {
  const { app, services } = context;
  const PromoteQuery = Type.Object(
    { force: Type.Optional(Type.Enum(['true', 'false'], { description: 'though its windows are not full yet' })) },
    { additionalProperties: false },
  );
  app.post(
    '/v1/suites/:name/rollout::promote',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary: 'Make the new version the active one; it goes on with its windows as they are',
        tags,
        params: NameParams,
        querystring: PromoteQuery,
        response: replies({ 200: AnyView }),
      },
    },
    (request, reply) => {
      const { name } = request.params as { name: string };
      const { force } = request.query as { force?: string };
      return mutate(context, request, reply, async (tx, caller) => ({
        status: 200,
        body: found(await services.rollouts.promote(tx, caller, name, force === 'true'), 'rollout that runs'),
      }));
    },
  );
  app.post(
    '/v1/suites/:name/rollout::rollback',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary: 'Drop the new version; the active one decides for all models again',
        tags,
        params: NameParams,
        response: replies({ 200: AnyView }),
      },
    },
    (request, reply) => {
      const { name } = request.params as { name: string };
      return mutate(context, request, reply, async (tx, caller) => ({
        status: 200,
        body: found(await services.rollouts.rollBack(tx, caller, name), 'rollout that runs'),
      }));
    },
  );
}
